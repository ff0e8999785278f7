"""What a vLLM engine says of itself after each of its steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vllm.v1.metrics.loggers import PrometheusStatLogger
from vllm.v1.metrics.stats import IterationStats, SchedulerStats


@dataclass
class EngineStats:
    """The engine's last step, and sums since its start.

    Attributes:
        steps: steps so far.
        running: requests in the last step.
        peak_running: most requests in one step so far.
        waiting: requests that had no place in it.
        kv_cache_usage: share of the KV cache in use, 0 to 1.
        prompt_tokens: tokens of all prompts so far.
        cached_tokens: those of them that were found in the prefix cache.
        generated_tokens: tokens written so far.
    """

    steps: int = 0
    running: int = 0
    peak_running: int = 0
    waiting: int = 0
    kv_cache_usage: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0

    @property
    def prefix_cache_hit_rate(self) -> float:
        """Share of prompt tokens that were found in the prefix cache, 0 to 1."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0

    def __str__(self) -> str:
        return (
            f"{self.running} running, {self.waiting} waiting, KV cache {self.kv_cache_usage:.0%} full, "
            f"{self.prompt_tokens:,} prompt tokens ({self.prefix_cache_hit_rate:.0%} from the prefix cache), "
            f"{self.generated_tokens:,} written"
        )


def recorder(stats: EngineStats) -> type[PrometheusStatLogger]:
    """Makes a stat logger for vLLM that keeps `stats` up to date, on the loop's thread.

    It is one of the Prometheus kind because vLLM adds its own where there is none, and its histograms take time at every step.
    """
    return type("RecordStats", (_RecordStats,), {"stats": stats})


class _RecordStats(PrometheusStatLogger):
    stats: EngineStats

    def __init__(self, vllm_config: Any, engine_indexes: list[int] | None = None) -> None:
        """Registers nothing."""

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: IterationStats | None,
        mm_cache_stats: Any = None,  # noqa: ARG002  vLLM's signature
        engine_idx: int = 0,  # noqa: ARG002
    ) -> None:
        stats = self.stats
        if scheduler_stats is not None:
            stats.steps += 1
            stats.running = scheduler_stats.num_running_reqs
            stats.peak_running = max(stats.peak_running, stats.running)
            stats.waiting = scheduler_stats.num_waiting_reqs
            stats.kv_cache_usage = scheduler_stats.kv_cache_usage
            stats.prompt_tokens += scheduler_stats.prefix_cache_stats.queries
            stats.cached_tokens += scheduler_stats.prefix_cache_stats.hits
        if iteration_stats is not None:
            stats.generated_tokens += iteration_stats.num_generation_tokens

    def log_engine_initialized(self) -> None:
        """The worker announces its engine itself."""

    def record_sleep_state(self, sleep: int = 0, level: int = 0) -> None:
        """It never sleeps."""
