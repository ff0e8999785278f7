"""What a real engine shows to Prometheus."""

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from config import Settings
from pipeline.llm import open_llm
from pipeline.loop import EventLoopThread
from tests.engine.conftest import VLLM_CONFIG
from tests.support import wait_for
from vidask.connection import connect
from worker.embedded import free_port
from worker.prometheus import PrometheusMetrics

QUESTION = "Why does a deep tree overfit? " * 20


def test_what_the_engine_does_is_seen_while_it_does_it_and_in_sum(tiny_model: Path) -> None:
    settings = Settings(model_path=str(tiny_model), engine_config=VLLM_CONFIG)
    with (
        connect(f"redis://127.0.0.1:{free_port()}/0") as connection,
        closing(EventLoopThread("answers")) as loop,
        open_llm(settings, loop) as llm,
    ):
        metrics = PrometheusMetrics(connection)
        nobody: Any = SimpleNamespace(held=list)
        metrics.watch(nobody, [llm])
        value = metrics.registry.get_sample_value

        said = [llm.invoke(QUESTION, max_tokens=8).usage_metadata for _ in range(2)]
        written = sum(usage["output_tokens"] for usage in said if usage)
        read = sum(usage["input_tokens"] for usage in said if usage)
        wait_for("all is counted", lambda: value("vidask_engine_generated_tokens_total") == written > 0)
        assert value("vidask_engine_prefix_cache_queries_total") == read
        assert 0 < (value("vidask_engine_prefix_cache_hits_total") or 0) < read / 2, (
            "the second one's, and that not whole"
        )

        running = loop.submit(llm.ainvoke(QUESTION, max_tokens=4_000))
        wait_for("one runs", lambda: value("vidask_engine_running_requests") == 1)
        assert 0 < (value("vidask_engine_kv_cache_usage_ratio") or 0) < 1
        assert value("vidask_engine_waiting_requests") == 0
        running.cancel()
        wait_for("none runs", lambda: value("vidask_engine_running_requests") == 0)
