"""The tiny model in GPTQ's format: the layers of its text part as packed numbers of 4 bits, with a scale for each 32 of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

GROUP = 32
_BITS = 4
_ZERO = 8  # of the packed numbers, 0 to 15
_PACKED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def make_gptq_model(tiny_model: Path, folder: Path) -> Path:
    """Write the model `folder`, and beside it `folder`-plain: the same numbers, unpacked. Gives the first back."""
    plain, packed = {}, {}
    for name, weight in load_file(tiny_model / "model.safetensors").items():
        layer, _, kind = name.rpartition(".")
        if kind == "weight" and layer.endswith(_PACKED) and "visual" not in layer:
            numbers, scales = _quantized(weight)
            packed |= {f"{layer}.{key}": value for key, value in _tensors(numbers, scales).items()}
            plain[name] = ((numbers - _ZERO) * scales.repeat_interleave(GROUP, 0)).T.to(torch.bfloat16).contiguous()
        else:
            packed[name] = plain[name] = weight.to(torch.bfloat16)
    _write(tiny_model, folder.with_name(f"{folder.name}-plain"), plain, {})
    method = {"quant_method": "gptq", "bits": _BITS, "group_size": GROUP, "sym": True, "desc_act": False}
    return _write(tiny_model, folder, packed, {"quantization_config": method})


def _quantized(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers from 0 to 15, inputs first, and a scale for each group of inputs and each output."""
    groups = weight.T.unflatten(0, (-1, GROUP))
    scales = (groups.abs().amax(1) / (_ZERO - 1)).clamp(min=1e-6).to(torch.bfloat16).float()
    numbers = (groups / scales[:, None]).round().clamp(-_ZERO, _ZERO - 1) + _ZERO
    return numbers.flatten(0, 1), scales


def _tensors(numbers: torch.Tensor, scales: torch.Tensor) -> dict[str, torch.Tensor]:
    zeros = torch.full_like(scales, _ZERO - 1)  # the format adds 1
    return {
        "qweight": _pack(numbers),
        "qzeros": _pack(zeros.T).T.contiguous(),
        "scales": scales.to(torch.bfloat16),
        "g_idx": torch.arange(len(numbers), dtype=torch.int32) // GROUP,
    }


def _pack(numbers: torch.Tensor) -> torch.Tensor:
    """Eight rows become one of 32 bits, the first in the lowest bits."""
    rows = numbers.to(torch.int64).unflatten(0, (-1, 32 // _BITS))
    shifts = torch.arange(0, 32, _BITS).view(1, -1, 1)
    return (rows << shifts).sum(1).to(torch.uint32).view(torch.int32)


def _write(tiny_model: Path, folder: Path, weights: dict[str, torch.Tensor], config: dict[str, object]) -> Path:
    shutil.copytree(tiny_model, folder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    said = json.loads((folder / "config.json").read_text()) | {"dtype": "bfloat16"} | config
    (folder / "config.json").write_text(json.dumps(said))
    return folder
