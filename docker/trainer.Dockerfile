# The trainers. EXTRAS=train for CPU and single GPUs, train,vllm for rollouts with vLLM.
#
#   docker build -f docker/trainer.Dockerfile -t touchstone-trainer .
#
# Wheels laid into docker/wheels are preferred; PIP_NO_INDEX=1 uses nothing else.
# torch is installed first, constrained: left to itself pip may take the newest CUDA build of several GB.
ARG PYTHON_IMAGE=python:3.11-slim
FROM ${PYTHON_IMAGE} AS build
ARG EXTRAS=train
ARG PIP_NO_INDEX=
ARG PIP_INDEX_URL=
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_FIND_LINKS=/wheels PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY docker/wheels /wheels
COPY docker/locks /locks
RUN python3 -m venv /opt/touchstone
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
# Where docker/locks has the set of extras, every version has its hash; torch is apart, because which
# build it is depends on the index, and so does its hash.
RUN pip="/opt/touchstone/bin/pip install -q"; lock="/locks/$EXTRAS.txt" \
 && if [ -f "$lock" ]; then $pip --no-deps --require-hashes -r "$lock"; fi \
 && $pip -c constraints.txt torch
COPY src src
COPY clients clients
COPY reward_server reward_server
COPY trainer trainer
RUN pip="/opt/touchstone/bin/pip install -q" \
 && if [ -f "/locks/$EXTRAS.txt" ]; then $pip --no-deps .; \
    else $pip -c constraints.txt ".[$EXTRAS]"; fi \
 && find /opt/touchstone -name __pycache__ -prune -exec rm -rf {} + \
 && rm -rf /opt/touchstone/lib/python*/site-packages/pip*

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin touchstone \
 && install -d -o touchstone -g touchstone /models /data /runs
COPY --from=build /opt/touchstone /opt/touchstone
COPY trainer/configs /configs
ENV PATH=/opt/touchstone/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp HF_HOME=/models/hub MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
WORKDIR /runs
CMD ["trainer", "--help"]
