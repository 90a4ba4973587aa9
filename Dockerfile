# bertsmith in a container.
#
#   docker build -t bertsmith .
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD/data:/data" bertsmith doctor
#
# BASE_IMAGE may be any Debian or Ubuntu, with or without Python; TORCH_INDEX points pip at another build of torch, as
# in the Makefile. A tag moves; for an image that can be built again as it was, name the base by its digest:
#
#   docker buildx imagetools inspect python:3.11-slim --format '{{.Manifest.Digest}}'
#   docker build --build-arg BASE_IMAGE=python:3.11-slim@sha256:… -t bertsmith .
#
# pip's own torch carries CUDA: of NVIDIA, the host needs the driver and its container toolkit only.

ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}
ARG TORCH_INDEX=""

# torch.compile and Triton compile C++ and link it against Python while training: g++ and Python's headers stay.
RUN python3 -c 'import ensurepip, os, sys, sysconfig; \
        sys.exit(sys.version_info < (3, 11) or not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
        2>/dev/null || packages="python3 python3-dev python3-venv" \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends g++ ${packages:-} \
    && rm -rf /var/lib/apt/lists/* \
    && { python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
        || { echo "BASE_IMAGE has, and its apt gives, no Python 3.11 or later" >&2; exit 1; }; } \
    && python3 -m venv /opt/bertsmith \
    && useradd --create-home --home-dir /home/bertsmith bertsmith \
    && install --directory --mode 1777 /home/bertsmith /home/bertsmith/.cache /data

# Places that any `--user` can write to; such a user has no home of their own in here.
ENV PATH=/opt/bertsmith/bin:$PATH \
    HOME=/home/bertsmith \
    TORCHINDUCTOR_CACHE_DIR=/home/bertsmith/.cache/torchinductor \
    TRITON_CACHE_DIR=/home/bertsmith/.cache/triton \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

# What changes seldom comes first: torch, then the other libraries, then the package.
WORKDIR /opt/bertsmith/source
COPY constraints.txt pyproject.toml ./
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} --constraint constraints.txt torch \
    && python -c 'import tomllib; \
        print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' > requirements.txt \
    && pip install --constraint constraints.txt --requirement requirements.txt
COPY . .
RUN pip install --no-deps .

USER bertsmith
WORKDIR /data
ENTRYPOINT ["bertsmith"]
CMD ["--help"]
