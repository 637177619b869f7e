{{/*
The pod parts that the injector would add, from the same file: files/sidecars.yaml. A test renders both and compares them.
*/}}

{{/* A container: part without its env map, image, env as a sorted list. Takes part, env, image. */}}
{{- define "understudy.finish" -}}
{{- $list := list -}}
{{- range $name, $value := .env -}}
{{- $list = append $list (dict "name" $name "value" (toString $value | replace "$(" "$$(")) -}}
{{- end -}}
{{- toYaml (merge (dict "image" .image "env" $list) (omit .part "env")) -}}
{{- end }}

{{- define "understudy.worker" -}}
{{- $worker := .Values.workload.worker -}}
{{- $part := (fromYaml (.Files.Get "files/sidecars.yaml")).worker -}}
{{- $env := deepCopy $part.env -}}
{{- if $worker.fallbackModels -}}
{{- $_ := set $env "UNDERSTUDY_WORKER_GROUP" (printf "%s fallback:/run/understudy/fallback.sock:%s" $env.UNDERSTUDY_WORKER_GROUP (join "," $worker.fallbackModels)) -}}
{{- range $name := list "startupProbe" "readinessProbe" -}}
{{- $exec := (get $part $name).exec -}}
{{- $_ := set $exec "command" (append $exec.command "grpc:unix:/run/understudy/fallback.sock") -}}
{{- end -}}
{{- end -}}
{{- $resources := mergeOverwrite (deepCopy $part.resources) $worker.resources -}}
{{- if gt (int $worker.gpus) 0 -}}
{{- $_ := set $resources "limits" (merge (dict $worker.gpuResource (toString $worker.gpus)) $resources.limits) -}}
{{- end -}}
{{- $_ := set $part "resources" $resources -}}
{{- if $worker.models -}}
{{- $_ := set $part "volumeMounts" (append $part.volumeMounts (dict "name" "understudy-models" "mountPath" "/models" "readOnly" true)) -}}
{{- end -}}
{{- $_ := set $part "volumeMounts" (concat $part.volumeMounts $worker.volumeMounts) -}}
{{- include "understudy.finish" (dict "part" $part "env" (mergeOverwrite $env $worker.env) "image" (default .Values.images.proxy .Values.images.worker)) -}}
{{- end }}

{{- define "understudy.proxy" -}}
{{- $workload := .Values.workload -}}
{{- $parts := fromYaml (.Files.Get "files/sidecars.yaml") -}}
{{- $part := $parts.proxy -}}
{{- $env := mergeOverwrite (deepCopy $part.env) (get $parts.shapes $workload.shape).proxy.env -}}
{{- $everywhere := ternary "0.0.0.0" "[::]" (eq $workload.ipFamilies "ipv4") -}}
{{- $outbound := get (dict "dual" "127.0.0.1:15001,[::1]:15001" "ipv4" "127.0.0.1:15001" "ipv6" "[::1]:15001") $workload.ipFamilies -}}
{{- $_ := set $env "UNDERSTUDY_OUTBOUND_LISTEN" $outbound -}}
{{- $_ := set $env "UNDERSTUDY_SHUTDOWN_GRACE_PERIOD" (printf "%ds" (max 1 (sub $workload.terminationGracePeriodSeconds 5))) -}}
{{- if eq $workload.shape "model-server" -}}
{{- $_ := set $env "UNDERSTUDY_INBOUND_LISTEN" (printf "%s:15006" $everywhere) -}}
{{- end -}}
{{- if not $workload.worker.enabled -}}
{{- $_ := set $env "UNDERSTUDY_OUTBOUND_OTHER_MODELS" "upstream" -}}
{{- else if $workload.worker.fallbackModels -}}
{{- $_ := set $env "UNDERSTUDY_OUTBOUND_FALLBACK_WORKER_ADDRESS" "unix:/run/understudy/fallback.sock" -}}
{{- end -}}
{{- if eq $workload.interception.mode "none" -}}
{{- $_ := set $env "UNDERSTUDY_OUTBOUND_EXPLICIT_PORTS" "8500,8501" -}}
{{- end -}}
{{- if $workload.mesh -}}
{{- $_ := set $env "UNDERSTUDY_CONFIG_FILE" "/etc/understudy/mesh.yaml" -}}
{{- $_ := set $part "volumeMounts" (append $part.volumeMounts (dict "name" "understudy-config" "mountPath" "/etc/understudy" "readOnly" true)) -}}
{{- end -}}
{{- if $workload.metrics -}}
{{- $_ := set $env "UNDERSTUDY_METRICS_LISTEN" (printf "%s:15020" $everywhere) -}}
{{- $_ := set $part "ports" (list (dict "name" "understudy-http" "containerPort" 15020)) -}}
{{- range $name := list "startupProbe" "livenessProbe" "readinessProbe" -}}
{{- $probe := get $part $name -}}
{{- $path := last $probe.exec.command | regexFind "/[a-z]+$" -}}
{{- $_ := set $part $name (merge (dict "httpGet" (dict "path" $path "port" 15020)) (omit $probe "exec")) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $part "volumeMounts" (concat $part.volumeMounts $workload.proxy.volumeMounts) -}}
{{- $_ := set $part "resources" (mergeOverwrite (deepCopy $part.resources) $workload.proxy.resources) -}}
{{- include "understudy.finish" (dict "part" $part "env" (mergeOverwrite $env $workload.proxy.env) "image" .Values.images.proxy) -}}
{{- end }}

{{- define "understudy.interception" -}}
{{- $workload := .Values.workload -}}
{{- $parts := fromYaml (.Files.Get "files/sidecars.yaml") -}}
{{- $part := $parts.interception -}}
{{- $env := mergeOverwrite (deepCopy $part.env) (get $parts.shapes $workload.shape).interception.env -}}
{{- $_ := set $env "UNDERSTUDY_INTERCEPT_FAMILIES" (get (dict "dual" "auto" "ipv4" "4" "ipv6" "6") $workload.ipFamilies) -}}
{{- $env = mergeOverwrite $env $workload.interception.env -}}
{{- if $workload.metrics -}}
{{- $own := default "none" $env.UNDERSTUDY_INTERCEPT_EXCLUDE_INBOUND_PORTS -}}
{{- $_ := set $env "UNDERSTUDY_INTERCEPT_EXCLUDE_INBOUND_PORTS" (ternary "15020" (printf "%s,15020" $own) (eq $own "none")) -}}
{{- end -}}
{{- include "understudy.finish" (dict "part" $part "env" $env "image" .Values.images.interception) -}}
{{- end }}

{{/* The pod's own container; in front of a model server it pauses before it stops. Takes container and root. */}}
{{- define "understudy.ownContainer" -}}
{{- $container := deepCopy .container -}}
{{- $workload := .root.Values.workload -}}
{{- $lifecycle := default dict $container.lifecycle -}}
{{- if and (eq $workload.shape "model-server") (gt (int $workload.drainDelaySeconds) 0) (not (hasKey $lifecycle "preStop")) -}}
{{- $_ := set $container "lifecycle" (merge (dict "preStop" (dict "sleep" (dict "seconds" (int $workload.drainDelaySeconds)))) $lifecycle) -}}
{{- end -}}
{{- toYaml $container -}}
{{- end }}
