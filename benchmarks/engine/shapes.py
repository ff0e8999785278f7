"""Model folders with a real model's shape, for engines that load no weights (`load_format="dummy"`): a real model's speed.

python -m benchmarks.engine.shapes qwen2.5-7b FOLDER
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.engine.tokenizer import END_OF_TEXT, TURN_ENDS, write_tokenizer
from benchmarks.engine.workload import lecture_sentences

#: What the configs of Qwen2.5's Instruct models say; `tiny` is for trying the benchmark out on a CPU.
SHAPES: dict[str, dict[str, Any]] = {
    "qwen2.5-7b": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    },
    "qwen2.5-0.5b": {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    },
    "tiny": {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 8192,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
    },
}
_COMMON: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "transformers_version": "4.43.1",
    "use_cache": True,
    "use_sliding_window": False,
}


def write_shape(name: str, folder: Path) -> None:
    """Write config and tokenizer of one of `SHAPES`; there are no weights."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = SHAPES[name]
    special = write_tokenizer(folder, shape["vocab_size"], lecture_sentences())
    ids = {"bos_token_id": special[END_OF_TEXT], "eos_token_id": special[TURN_ENDS]}
    (folder / "config.json").write_text(json.dumps(_COMMON | shape | ids, indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps(ids, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.shapes", description=__doc__)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    write_shape(arguments.shape, arguments.folder)


if __name__ == "__main__":
    main()
