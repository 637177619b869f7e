{{- define "understudy.labels" -}}
app.kubernetes.io/name: understudy
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "understudy.injector.name" -}}
{{ printf "%s-injector" .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "understudy.injector.selector" -}}
app.kubernetes.io/name: understudy-injector
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "understudy.injector.secret" -}}
{{ if eq .Values.injector.tls.source "secret" }}{{ required "injector.tls.secretName: needed when injector.tls.source is secret" .Values.injector.tls.secretName }}{{ else }}{{ include "understudy.injector.name" . }}-tls{{ end }}
{{- end }}

{{- define "understudy.workload.name" -}}
{{ default .Release.Name .Values.workload.name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "understudy.workload.selector" -}}
app.kubernetes.io/name: {{ include "understudy.workload.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
