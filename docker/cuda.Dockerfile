# The CUDA image: the same pipeline on GPUs.
#   docker build --file docker/cuda.Dockerfile --tag onpolicy-cuda:0.1.0 .
# CUDA 13.0 as in requirements/gpu.txt; UBI 9 because its own packages hold Python 3.11. The devel
# image, because flash-attn is built here, and DeepSpeed and FlashInfer compile kernels at first use.
FROM nvidia/cuda:13.0.2-devel-ubi9

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PATH=/opt/venv/bin:$PATH

# hadolint ignore=DL3041
RUN dnf install --assumeyes --setopt=install_weak_deps=0 \
        gcc-c++ numactl-libs python3.11 python3.11-devel python3.11-pip \
    && dnf clean all \
    && python3.11 -m venv /opt/venv

WORKDIR /app

# The locks alone first: a change of the code does not build flash-attn again.
# --no-deps: the locks are complete, and no resolution satisfies every package's own pins.
COPY requirements/uv.txt requirements/gpu.txt requirements/gpu-flash.txt requirements/
RUN python -m pip install --no-deps --requirement requirements/uv.txt \
    && uv pip install --python /opt/venv/bin/python --no-cache --compile-bytecode --no-deps \
        --requirement requirements/gpu.txt
# Each compile job of flash-attn takes up to 6 GB of memory.
ARG MAX_JOBS=4
RUN python -m pip install --no-deps --no-build-isolation --requirement requirements/gpu-flash.txt

COPY . .
RUN python -m pip install --no-deps --no-build-isolation --editable .

# /app stays root's: the code is read-only, only runs and caches can be written.
RUN useradd --uid 10001 --create-home --shell /sbin/nologin onpolicy \
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
    TRITON_CACHE_DIR=/cache/triton \
    FLASHINFER_WORKSPACE_BASE=/cache \
    VLLM_CACHE_ROOT=/cache/vllm \
    PREFECT_HOME=/prefect \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    HF_HUB_DISABLE_TELEMETRY=1 \
    VLLM_NO_USAGE_STATS=1 \
    DO_NOT_TRACK=1

CMD ["onpolicy", "--help"]
