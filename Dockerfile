# The image of every program of ours. Targets, each built on the layers before it:
#
#   base          system libraries and nothing else
#   dev           all dependencies and the tools of the tests
#   interception  iptables: the init container that redirects a pod's connections (root with NET_ADMIN)
#   gpu           the production image on CUDA, with onnxruntime's CUDA provider
#   production    the default: one fixed unprivileged user, nothing written to its own file system, no npm
#
# Base images are pinned by digest through build arguments; a digest is the registry's to give, so none is made up here:
#   docker build --build-arg BASE_DIGEST=@sha256:... --build-arg NODE_DIGEST=@sha256:... .
# deploy/image/assemble.ts reads this file and makes the production tree without Docker. It knows the RUN lines of the
# stages it follows and refuses others, so the two cannot drift apart.
ARG BASE_IMAGE=debian:bookworm-slim
ARG BASE_DIGEST=
ARG NODE_IMAGE=node:26-bookworm-slim
ARG NODE_DIGEST=
ARG CUDA_IMAGE=nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04
ARG CUDA_DIGEST=

# libatomic and libstdc++ are what the pinned Node and onnxruntime need beyond libc.
FROM ${BASE_IMAGE}${BASE_DIGEST} AS base
RUN apt-get update && apt-get install -y --no-install-recommends libatomic1 libstdc++6 ca-certificates && rm -rf /var/lib/apt/lists/*
WORKDIR /understudy
ENV NODE_ENV=production

# Production dependencies, the pinned Node among them, without what other platforms and compilers need.
FROM ${NODE_IMAGE}${NODE_DIGEST} AS modules
WORKDIR /understudy
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --no-audit --no-fund
COPY deploy/image/prune-modules.mjs deploy/image/
RUN node deploy/image/prune-modules.mjs /understudy

FROM modules AS gpu-modules
RUN ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node

# What we wrote that a container runs.
FROM scratch AS files
WORKDIR /understudy
COPY package.json ./
COPY base base
COPY proto proto
COPY proxy proxy
COPY inference-worker inference-worker
COPY deploy/image/entry.mjs deploy/image/probe.mjs deploy/image/
COPY deploy/injector deploy/injector
COPY deploy/helm/understudy/files/sidecars.yaml deploy/helm/understudy/files/

FROM ${NODE_IMAGE}${NODE_DIGEST} AS dev
RUN apt-get update && apt-get install -y --no-install-recommends curl git iproute2 iptables libatomic1 nghttp2-client openssl && rm -rf /var/lib/apt/lists/*
WORKDIR /understudy
COPY package.json package-lock.json .npmrc ./
RUN npm ci --no-audit --no-fund
COPY . .
CMD ["npm", "test"]

FROM base AS interception
RUN apt-get update && apt-get install -y --no-install-recommends iproute2 iptables && rm -rf /var/lib/apt/lists/*
COPY --from=modules /understudy/node_modules node_modules
COPY --from=modules /understudy/bin bin
COPY --from=files /understudy .
ENTRYPOINT ["/understudy/bin/node", "/understudy/deploy/image/entry.mjs"]
CMD ["intercept", "install"]

FROM ${CUDA_IMAGE}${CUDA_DIGEST} AS gpu
RUN apt-get update && apt-get install -y --no-install-recommends libatomic1 libstdc++6 && rm -rf /var/lib/apt/lists/*
WORKDIR /understudy
ENV NODE_ENV=production
COPY --from=gpu-modules /understudy/node_modules node_modules
COPY --from=gpu-modules /understudy/bin bin
COPY --from=files /understudy .
USER 1717:1717
ENTRYPOINT ["/understudy/bin/node", "/understudy/deploy/image/entry.mjs"]
CMD ["worker"]

FROM base AS production
COPY --from=modules /understudy/node_modules node_modules
COPY --from=modules /understudy/bin bin
COPY --from=files /understudy .
USER 1717:1717
ENTRYPOINT ["/understudy/bin/node", "/understudy/deploy/image/entry.mjs"]
CMD ["proxy"]
