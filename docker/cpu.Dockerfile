# The CPU image: the whole pipeline, and Prefect's server.
#   docker build --file docker/cpu.Dockerfile --tag onpolicy-cpu:0.1.0 .
FROM python:3.11.14-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# g++ stays in the image: DeepSpeed and vLLM compile for the machine at hand at first use.
# libnuma1: vLLM's CPU kernels are linked against it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ libnuma1 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app

# The lock alone first: a change of the code does not install 2.8 GB again.
# --no-deps: the lock is complete, and no resolution satisfies every package's own pins.
COPY requirements/uv.txt requirements/cpu.txt requirements/
RUN python -m pip install --no-deps --requirement requirements/uv.txt \
    && uv pip install --system --no-cache --compile-bytecode --no-deps \
        --index-strategy unsafe-best-match \
        --extra-index-url https://download.pytorch.org/whl/cpu --requirement requirements/cpu.txt

COPY . .
RUN python -m pip install --no-deps --no-build-isolation --editable .

# /app stays root's: the code is read-only, only runs and caches can be written.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin onpolicy \
    && mkdir -p runs /cache /prefect \
    && ln -s /cache .cache \
    && chown onpolicy:onpolicy runs /cache /prefect
USER 10001:10001

# Everything compiled or downloaded goes to one volume; /tmp may be mounted noexec.
ENV XDG_CACHE_HOME=/cache \
    HF_HOME=/cache/huggingface \
    MPLCONFIGDIR=/cache/matplotlib \
    TORCHINDUCTOR_CACHE_DIR=/cache/torchinductor \
    TORCH_EXTENSIONS_DIR=/cache/torch_extensions \
    VLLM_CACHE_ROOT=/cache/vllm \
    PREFECT_HOME=/prefect \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    HF_HUB_DISABLE_TELEMETRY=1 \
    VLLM_NO_USAGE_STATS=1 \
    DO_NOT_TRACK=1

CMD ["onpolicy", "--help"]
