"""Model folders with a real model's shape, for engines that load no weights (`load_format="dummy"`): a real model's speed.

python -m benchmarks.engine.shapes qwen2.5-7b FOLDER
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.engine.tokenizer import (
    END_OF_TEXT,
    IMAGE,
    TURN_ENDS,
    VIDEO,
    VISION_BEGINS,
    VISION_ENDS,
    write_tokenizer,
)
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


#: What the config of Qwen2.5-VL-7B-Instruct says of its eyes; a small pair for `tiny-vl`. The rest is that of a model above.
_VISION: dict[str, tuple[str, dict[str, Any], list[int]]] = {
    "qwen2.5-vl-7b": (
        "qwen2.5-7b",
        {
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "out_hidden_size": 3584,
            "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
        [16, 24, 24],
    ),
    "tiny-vl": (
        "tiny",
        {
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "out_hidden_size": 128,
            "window_size": 112,
            "fullatt_block_indexes": [1],
        },
        [4, 6, 6],
    ),
}
_IMAGES: dict[str, Any] = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2_5_VLProcessor",
    "min_pixels": 3136,
    "max_pixels": 12845056,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}

NAMES = (*SHAPES, *_VISION)


def write_shape(name: str, folder: Path) -> None:
    """Write config and tokenizer of one of `NAMES`; there are no weights."""
    folder.mkdir(parents=True, exist_ok=True)
    text, vision, sections = _VISION.get(name, (name, None, []))
    shape = SHAPES[text]
    special = write_tokenizer(folder, shape["vocab_size"], lecture_sentences())
    ids = {"bos_token_id": special[END_OF_TEXT], "eos_token_id": special[TURN_ENDS]}
    config = _COMMON | shape | ids
    if vision is not None:
        config |= _seeing(special, vision, sections)
        _write(folder / "preprocessor_config.json", _IMAGES)
        _write(folder / "video_preprocessor_config.json", _IMAGES | {"video_processor_type": "Qwen2VLVideoProcessor"})
    _write(folder / "config.json", config)
    _write(folder / "generation_config.json", ids)


def _seeing(special: dict[str, int], vision: dict[str, Any], sections: list[int]) -> dict[str, Any]:
    """What a config says beyond that of a model which reads text alone."""
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "vision_config": {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "in_chans": 3, **vision},
        "rope_scaling": {"type": "mrope", "mrope_section": sections},
        "vision_start_token_id": special[VISION_BEGINS],
        "vision_end_token_id": special[VISION_ENDS],
        "image_token_id": special[IMAGE],
        "video_token_id": special[VIDEO],
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.shapes", description=__doc__)
    parser.add_argument("shape", choices=NAMES)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    write_shape(arguments.shape, arguments.folder)


if __name__ == "__main__":
    main()
