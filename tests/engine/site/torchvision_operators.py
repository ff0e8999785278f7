"""Lets torchvision be imported beside a torch that its compiled half was not built for: its CUDA build beside the CPU torch.

transformers imports torchvision wherever it is installed, and Qwen2.5-VL needs it, but only its Python half, which works on torch
alone. That half's import fails where two operators of the compiled half are unknown; here they are declared, without code.

`torchvision_operators.pth` makes Python import this at every start, so it imports nothing itself until torchvision is looked for.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

SUPPRESSION = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
OPERATORS = {"torchvision::nms": SUPPRESSION, "torchvision::qnms": SUPPRESSION}


class BeforeTorchvision:
    """Looks for torchvision first, once, and leaves every other name to the finders behind it."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        if name != "torchvision":
            return None
        sys.meta_path.remove(self)
        found = PathFinder.find_spec(name)
        if found is not None and found.origin is not None and not _compiled_half_loads(Path(found.origin).parent):
            _declare_operators()
        return found


def _compiled_half_loads(folder: Path) -> bool:
    import torch

    try:
        for library in folder.glob("_C*.so"):
            torch.ops.load_library(library)
    except OSError:
        return False
    return True


def _declare_operators() -> None:
    import torch

    for name, schema in OPERATORS.items():
        torch.library.define(name, schema)


sys.meta_path.insert(0, BeforeTorchvision())
