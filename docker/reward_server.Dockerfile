# The reward server. Slim by default: format rules and math, no torch.
#
#   docker build -f docker/reward_server.Dockerfile -t touchstone-reward-server .
#   docker build -f docker/reward_server.Dockerfile --build-arg EXTRAS=server,neural … .   # with models
#
# Wheels laid into docker/wheels are preferred; PIP_NO_INDEX=1 uses nothing else.
ARG PYTHON_IMAGE=python:3.11-slim
FROM ${PYTHON_IMAGE} AS build
ARG EXTRAS=server
# pip reads these from its environment; an empty one means nothing to it.
ARG PIP_NO_INDEX=
ARG PIP_INDEX_URL=
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_FIND_LINKS=/wheels PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY docker/wheels /wheels
COPY docker/locks /locks
RUN python3 -m venv /opt/touchstone
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
COPY clients clients
COPY reward_server reward_server
COPY trainer trainer
# Where docker/locks has the set of extras, every version has its hash; torch is apart, because which
# build it is depends on the index, and so does its hash.
RUN pip="/opt/touchstone/bin/pip install -q"; lock="/locks/$EXTRAS.txt" \
 && if [ -f "$lock" ]; then $pip --no-deps --require-hashes -r "$lock"; fi \
 && case ",$EXTRAS," in *,neural,*) $pip -c constraints.txt torch ;; esac \
 && if [ -f "$lock" ]; then $pip --no-deps .; else $pip -c constraints.txt ".[$EXTRAS]"; fi \
 && find /opt/touchstone -name __pycache__ -prune -exec rm -rf {} + \
 && rm -rf /opt/touchstone/lib/python*/site-packages/pip*

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin touchstone \
 && install -d -o touchstone -g touchstone /models /profiles /plugins /logs /state
COPY --from=build /opt/touchstone /opt/touchstone
ENV PATH=/opt/touchstone/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp HF_HOME=/models/hub REWARD_HOST=0.0.0.0 REWARD_PORT=8700
USER 10001:10001
EXPOSE 8700
HEALTHCHECK --interval=5s --timeout=3s --start-period=120s --retries=3 \
  CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8700/ready', timeout=2)"]
# A server beyond loopback refuses to start without REWARD_API_KEY.
CMD ["reward-server", "serve"]
