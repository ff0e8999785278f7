"""How much a worker has in hand at once."""

from __future__ import annotations

import math

from config import Settings
from pipeline.llm.engine_arguments import max_num_seqs

_USUAL = 16
#: An engine is kept full by more than it answers at once, because the others retrieve, or are read, meanwhile.
_ENGINES_SHARE = 1.5
#: A server that holds the model may answer many at once; how many is not known.
_FEWEST_PICTURES = 64


def jobs_in_flight(settings: Settings) -> int:
    """How many jobs the worker does at a time."""
    if settings.concurrency is not None:
        return settings.concurrency
    return _engines_fill(settings) if "vllm" in settings.llm_backends else _USUAL


def pictures_in_flight(settings: Settings) -> int:
    """How many frames, of all jobs together, are between their file and their caption.

    Each takes half a megabyte, and in an engine 25 once it is prepared for the model.
    """
    return _engines_fill(settings) if "vllm" in settings.llm_backends else _FEWEST_PICTURES


def _engines_fill(settings: Settings) -> int:
    return math.ceil(_ENGINES_SHARE * max_num_seqs(settings))
