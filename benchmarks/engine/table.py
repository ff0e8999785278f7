"""What the parts of a run found, for people: a line a part, and the figures with goals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.engine.options import Options
from benchmarks.engine.part import PARTS
from benchmarks.engine.whole import MEASUREMENTS, OF_FRAMES
from benchmarks.figures import Figure

#: Parts that answer questions as fast as they can.
_THROUGHPUT = ("bound", "system", "http", "batches", "one", "account", "alone")


def lines(options: Options) -> Iterator[str]:
    """Everything that is worth a look, of the parts that have run."""
    found = _found(options)
    bound = found.get("bound", {}).get("jobs_per_s")
    yield "part | jobs/s | of the bound | tokens read a job | written"
    for part in _THROUGHPUT:
        if part in found:
            yield _throughput(part, found[part], bound)
    if "system" in found:
        yield f"system: median of {len(found['system']['rounds_s'])} rounds, {found['system']['spread']:.1%} apart"
    for part in ("ttft", "ttft-engine"):
        if part in found:
            yield f"{part}: first token p50 {found[part]['p50_s'] * 1000:.0f} ms, p95 {found[part]['p95_s'] * 1000:.0f} ms"
    if "beside-frames" in found:
        yield f"one who asks now and then beside frames, over alone: {found['beside-frames']['seldom_ratio']:.2f}, medians"
    if "account" in found:
        yield from _account(found["account"])


def figures(options: Options, *, goal: float) -> Iterator[Figure]:
    """The figures whose parts have run. Those of the first token have no goal but to be known."""
    found = _found(options)
    if {"bound", "system"} <= found.keys():
        of_bound = found["system"]["jobs_per_s"] / found["bound"]["jobs_per_s"]
        yield Figure("engine_jobs_over_offline_bound", of_bound, ">=", goal, f"{options.jobs} jobs")
    if "priority" in found:
        note = f"p95 {found['priority']['beside_p95_s']:.2f} s over {found['priority']['alone_p95_s']:.2f} s"
        yield Figure("question_p95_beside_indexing_over_alone", found["priority"]["p95_ratio"], "<=", 1.5, note)
    if {"chat", "captions"} <= found.keys():
        ours, chat = found["captions"]["captions_per_s"], found["chat"]["captions_per_s"]
        note = f"{ours:.2f} over {chat:.2f} a second; reading alone {found['chat']['read_per_s']:.2f}"
        yield Figure("captions_over_llm_chat", ours / chat, ">=", 0.9, note)
    if "beside-frames" in found:
        beside = found["beside-frames"]
        note = f"p95 {beside['beside_p95_s']:.2f} s over {beside['alone_p95_s']:.2f} s; {beside['done_meanwhile']} frames meanwhile"
        yield Figure("question_p95_beside_frames_over_alone", beside["p95_ratio"], "<=", 1.5, note)
    if "cancel" in found:
        note = f"p50 {found['cancel']['p50_ms']:.0f} ms, {found['cancel']['cancelled']} jobs"
        yield Figure("cancel_to_abort_p95_ms", found["cancel"]["p95_ms"], "<=", 300, note)


def _found(options: Options) -> dict[str, Any]:
    return {
        part: options.found(part)
        for part in (*PARTS, *MEASUREMENTS, "chat", *OF_FRAMES)
        if (options.folder / f"{part}.json").exists()
    }


def _throughput(part: str, found: dict[str, Any], bound: float | None) -> str:
    share = f"{found['jobs_per_s'] / bound:.2f}" if bound else "?"
    return f"{part} | {found['jobs_per_s']:.2f} | {share} | {found['prompt_tokens']:.0f} | {found['completion_tokens']:.0f}"


def _account(found: dict[str, Any]) -> Iterator[str]:
    for stage, taken in found["stages_s"].items():
        yield f"stage {stage}: mean {taken['mean']:.2f} s, p50 {taken['p50']:.2f} s, p95 {taken['p95']:.2f} s"
    for name, used in found["cpu_ms_a_job"].items():
        yield f"CPU a job, {name}: {used:.1f} ms"
    for what in ("gil", "loop"):
        late = found[f"{what}_late_ms"]
        yield f"waiting for the {what}: mean {late['mean']:.1f} ms, p95 {late['p95']:.1f} ms"
    yield f"garbage collection: {found['gc_ms']['sum']:.0f} ms in all, {found['gc_ms']['longest']:.0f} ms the longest"
    steps, running = found["engine_steps"], found["engine_running_mean"]
    yield f"engine: {steps} steps, {running:.0f} requests a step, idle {found['engine_idle_share']:.0%} of the time"
    if found["gpu_idle_share"] is not None:
        yield f"GPU: idle {found['gpu_idle_share']:.0%} of the time"
