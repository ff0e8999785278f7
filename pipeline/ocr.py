"""The text on a picture, English and Chinese, read with the models of PP-OCRv4 that rapidocr-onnxruntime brings along.

OpenVINO computes them in its place: in bfloat16 where the CPU has it, and on one core in a third of the time and less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import Any, Final

import numpy as np
from PIL import Image

from vidask.errors import InvalidSettings

#: Lines that the model is less sure of are patterns and noise more often than text.
_SURE: Final = 0.6
#: How much likelier than the model says a space is. It was trained on Chinese, which has none, and leaves out every fifth space of
#: small English text: of 5,000 words on drawn slides 81 % were found as they stand, with this 99.9 %.
_SPACE: Final = 50.0
#: The model sees lines this high, and wide as a multiple of this: OpenVINO prepares itself anew where the width changes.
_LINE_HEIGHT: Final = 48
_WIDTHS: Final = 128
#: One thread that goes where there is room: OpenVINO would bind it to a core, and those of all processes that read pictures to the
#: same one. It would also keep what it has prepared for each size of a picture, 4 MB each; the slides of a lecture, which have one
#: size, are read no faster for that.
_SETTINGS: Final = {"INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False, "CPU_RUNTIME_CACHE_CAPACITY": 0}

#: A batch of pictures, and what a model makes of it.
_Model = Callable[[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class _Piece:
    """Some text in a row, and where it stands, in pixels."""

    text: str
    left: float
    top: float
    bottom: float

    def beside(self, other: _Piece) -> bool:
        """Whether the two stand in one row: they share more than half of the lower one's height."""
        shared = min(self.bottom, other.bottom) - max(self.top, other.top)
        return shared > min(self.bottom - self.top, other.bottom - other.top) / 2


def read_text(image: Image.Image) -> str:
    """What is written on a picture in RGB, a row a line from top to bottom, each from left to right; `""` where nothing is.

    Raises:
        InvalidSettings: rapidocr-onnxruntime or OpenVINO is not installed.
    """
    found, _ = _engine()(image, use_cls=False)  # pictures stand upright; it would turn short words round
    pieces = (_piece(corners, text) for corners, text, _score in found or ())
    return "\n".join(_rows([piece for piece in pieces if any(map(str.isalnum, piece.text))]))


@cache
def _engine() -> Callable[..., Any]:
    """With one thread: other processes use the other cores, and two threads need half as much CPU again for a picture."""
    try:
        import cv2  # noqa: PLC0415  half a second and 100 MB, for processes that read pictures alone
        import openvino  # noqa: PLC0415  likewise
        from rapidocr_onnxruntime import RapidOCR  # noqa: PLC0415
    except ModuleNotFoundError as error:
        msg = (
            f"{error.name} is not installed, so pictures cannot be read; run pip install 'vidask[worker]' and "
            "pip install --no-deps rapidocr-onnxruntime"
        )
        raise InvalidSettings(msg) from None
    cv2.setNumThreads(1)
    # "max": pictures come in a size that fits, and are not to be made larger.
    ocr: Any = RapidOCR(
        text_score=_SURE, intra_op_num_threads=1, inter_op_num_threads=1, det_limit_type="max", det_model_path=None
    )
    ocr.text_det.infer = _model("ch_PP-OCRv4_det_infer.onnx", openvino.compile_model)
    ocr.text_rec.session = _model("ch_PP-OCRv4_rec_infer.onnx", openvino.compile_model)
    ocr.text_rec.postprocess_op = _with_spaces(ocr.text_rec.postprocess_op)
    ocr.text_rec.rec_batch_num = 1  # the lines of a batch would all be made as wide as the longest
    ocr.text_rec.resize_norm_img = _widened(ocr.text_rec.resize_norm_img)
    return ocr


def _model(name: str, compile_model: Callable[..., Any]) -> _Model:
    with as_file(files("rapidocr_onnxruntime") / "models" / name) as path:
        model = compile_model(path, "CPU", _SETTINGS)
    request = model.create_infer_request()
    return lambda batch: [request.infer([batch])[0]]


def _widened(resize: Callable[[np.ndarray, float], np.ndarray]) -> Callable[[np.ndarray, float], np.ndarray]:
    def resize_widened(line: np.ndarray, ratio: float) -> np.ndarray:
        width = math.ceil(ratio * _LINE_HEIGHT / _WIDTHS) * _WIDTHS
        return resize(line, (width + 0.5) / _LINE_HEIGHT)  # it cuts off what is less than a pixel

    return resize_widened


def _with_spaces(decode: Callable[..., Any]) -> Callable[..., Any]:
    def decode_with_spaces(likelihoods: np.ndarray, *args: Any, **options: Any) -> Any:
        spaces = likelihoods[..., -1]  # the last character that the model knows
        np.minimum(spaces * _SPACE, 1.0, out=spaces)
        return decode(likelihoods, *args, **options)

    return decode_with_spaces


def _piece(corners: Sequence[tuple[float, float]], text: str) -> _Piece:
    lefts, tops = zip(*corners, strict=True)
    return _Piece(" ".join(text.split()), min(lefts), min(tops), max(tops))


def _rows(pieces: Sequence[_Piece]) -> list[str]:
    rows: list[list[_Piece]] = []
    for piece in sorted(pieces, key=lambda piece: piece.top + piece.bottom):
        if rows and piece.beside(rows[-1][0]):
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return [" ".join(piece.text for piece in sorted(row, key=lambda piece: piece.left)) for row in rows]
