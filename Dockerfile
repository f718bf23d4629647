# The toolkit: docker build -t edgepress . && docker run --rm -v "$PWD:/data" -u "$(id -u):$(id -g)" edgepress demo
# docs/containers.md says what of this was built where.
ARG BASE=docker.io/library/python:3.13-slim-trixie

# hadolint ignore=DL3006
FROM ${BASE} AS build
WORKDIR /source
COPY . .
RUN python3 -I -m venv /opt/edgepress \
    && /opt/edgepress/bin/pip install --no-cache-dir --no-compile -c constraints.txt '.[toolkit]'

# hadolint ignore=DL3006
FROM ${BASE}
COPY --from=build /opt/edgepress /opt/edgepress
# HOME for any user: caches and logs are the container's, and go with it.
ENV PATH=/opt/edgepress/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 TF_CPP_MIN_LOG_LEVEL=3
WORKDIR /data
USER 1000:1000
ENTRYPOINT ["edgepress"]
CMD ["--help"]
