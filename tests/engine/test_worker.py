"""A worker with a real engine in it: what people see of it, and what happens when something is killed."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.engine.conftest import VLLM_CONFIG
from tests.processes import below, gone
from tests.support import keys_without_ttl, wait_for
from vidask import Answer, Client, Job, JobCancelled, JobExpired, JobFailed, Message, Sampling, read_subtitles
from worker.embedded import child_process, redis_server, worker_process

LECTURE = Path(__file__).parents[2] / "examples" / "lectures" / "01-decision-trees.srt"
WORKER = [sys.executable, "-m", "celery", "-A", "worker.app", "worker"]
HISTORY = [Message("user", "What is a decision tree?"), Message("assistant", "A model that asks questions.")]
#: For workers whose jobs are to end in order however slow the machine is, seconds.
PATIENT_S = 600
SHORT = Sampling(max_tokens=16)
LONG = Sampling(max_tokens=4_096)


@dataclass(frozen=True)
class Running:
    """A worker that is ready, and a producer whose video it has indexed."""

    process: subprocess.Popen[bytes]
    client: Client
    log: Path

    def ask(self, question: str, sampling: Sampling = SHORT, deadline_s: float | None = None) -> Job[Answer]:
        return self.client.ask(question, video_ids=["trees"], sampling=sampling, deadline_s=deadline_s)

    def ask_for_long(self, n: int, sampling: Sampling = LONG) -> list[Job[Answer]]:
        """Questions whose answers take a while, being answered."""
        jobs = [self.ask(f"Tell all there is to tell. ({number})", sampling) for number in range(n)]
        wait_for("they are being answered", lambda: {job.status() for job in jobs} == {"running"})
        return jobs

    def children(self) -> list[psutil.Process]:
        """The engine's processes, and the embedding model's."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def engine(self) -> psutil.Process:
        [core] = engines(self.process)
        return core


def engines(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The process of a worker's engine, from the moment on when it makes the engine."""
    return below(worker.pid, "EngineCore")


@contextmanager
def started(url: str, folder: Path, env: dict[str, str]) -> Iterator[Running]:
    with working(url, folder, env) as running:
        running.client.index_transcript("trees", text=read_subtitles(LECTURE)).result(timeout_s=300)
        yield running


@contextmanager
def working(url: str, folder: Path, env: dict[str, str]) -> Iterator[Running]:
    """A worker that finds the index as another one has left it in the folder."""
    log = folder / "worker.log"
    with (
        worker_process(url, env={**env, "VIDASK_CHROMA_PATH": str(folder / "chroma")}, log=log) as process,
        Client(url) as client,
    ):
        yield Running(process, client, log)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url
        assert keys_without_ttl(url) == []


@pytest.fixture(scope="module")
def running(redis_url: str, tmp_path_factory: pytest.TempPathFactory, engine_env: dict[str, str]) -> Iterator[Running]:
    with started(redis_url, tmp_path_factory.mktemp("worker"), engine_env) as running:
        yield running
        assert running.process.poll() in (None, 0), running.log.read_text()[-3000:]


def is_idle(running: Running) -> bool:
    """Whether the engine's processes stand still, which they do not while they decode."""
    return sum(child.cpu_percent(interval=0.2) for child in [running.engine(), *running.engine().children()]) < 20


def test_a_follow_up_is_rewritten_and_answered_by_the_model(running: Running) -> None:
    job = running.client.ask("And why does it overfit?", video_ids=["trees"], history=HISTORY, sampling=SHORT)
    answer = job.result(timeout_s=120)
    assert answer.text
    assert answer.standalone_question not in ("", "And why does it overfit?"), "the model's words, nonsense as they are"
    assert answer.usage.completion_tokens > SHORT.max_tokens, "both steps are counted"
    assert set(answer.timings_s) == {"queued", "contextualize", "retrieve", "respond"}


def test_what_is_read_while_it_is_written_is_the_answer(running: Running) -> None:
    # It takes seconds: pieces that wait for one another on a busy machine are sent as one.
    job = running.ask("Why does a deep tree overfit?", Sampling(max_tokens=2_000))
    events = list(job.stream())
    assert "".join(event.text for event in events) == job.result(timeout_s=120).text
    assert len(events) > 1, "it came in pieces"
    assert {event.kind for event in events} == {"text"}


def test_among_sixty_four_the_answer_is_the_same_as_alone(running: Running) -> None:
    alone = running.ask("Why does a deep tree overfit?").result(timeout_s=120).text
    with ThreadPoolExecutor(8) as people:
        crowd = [people.submit(running.ask, f"What is pruning? ({number})") for number in range(63)]
        among = running.ask("Why does a deep tree overfit?").result(timeout_s=120).text
    assert {job.result().result(timeout_s=120).model for job in crowd} == {"tiny"}
    assert among == alone


def test_cancelling_frees_the_engine_at_once(running: Running) -> None:
    [job] = running.ask_for_long(1)
    wait_for("the engine decodes", lambda: not is_idle(running))
    assert job.cancel()
    with pytest.raises(JobCancelled):
        job.result(timeout_s=30)
    wait_for("the engine stands still, long before 4,096 tokens", lambda: is_idle(running), limit_s=10)


def test_a_deadline_stops_the_engine(running: Running) -> None:
    job = running.ask("Tell all there is to tell.", LONG, deadline_s=3)
    with pytest.raises(JobExpired, match="within its deadline of 3 s"):
        job.result(timeout_s=30)
    assert job.status() == "expired"
    wait_for("the engine stands still", lambda: is_idle(running), limit_s=10)


def test_a_question_of_twenty_thousand_tokens_is_refused_and_its_neighbours_are_answered(running: Running) -> None:
    neighbours = [running.ask(f"What is pruning? ({number})") for number in range(4)]
    with pytest.raises(
        JobFailed, match=r"the prompt has 2\d,\d{3} tokens, the model takes 8,192; shorten the question"
    ):
        running.ask("漢" * 7_500).result(timeout_s=120)
    assert all(job.result(timeout_s=120).text for job in neighbours)


def test_its_health_is_proven_with_a_token_and_when_it_is_full_with_those_it_writes(
    running: Running, redis_url: str
) -> None:
    assert health(redis_url) == (0, "engine: ok, answers")
    jobs = running.ask_for_long(VLLM_CONFIG["max_num_seqs"])
    wait_for("the engine decodes", lambda: not is_idle(running))
    assert health(redis_url) == (0, "engine: ok, is writing answers")
    assert all(job.cancel() for job in jobs)


def health(url: str) -> tuple[int, str]:
    """The exit status, and the line about the engine."""
    command = [sys.executable, "-m", "worker", "health"]
    done = subprocess.run(
        command, env={**os.environ, "VIDASK_REDIS_URL": url}, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, next(line for line in done.stdout.splitlines() if line.startswith("engine"))


def test_a_second_sigterm_gives_the_jobs_back_and_leaves(running: Running) -> None:
    """The last one for this worker, which the stories above have shared."""
    jobs = running.ask_for_long(2)
    running.process.send_signal(signal.SIGTERM)
    wait_for("it has heard it", lambda: "Warm shutdown" in running.log.read_text())
    running.process.send_signal(signal.SIGTERM)
    running.process.wait(timeout=20)
    assert [job.status() for job in jobs] == ["queued", "queued"], "neither failed nor finished: another worker's turn"


def test_the_engine_is_killed_and_the_next_worker_finishes_the_jobs_though_its_whole_group_hears_sigterm(
    tmp_path: Path, engine_env: dict[str, str]
) -> None:
    with redis_server(tmp_path / "redis") as url, started(url, tmp_path, engine_env) as first:
        # Long enough to be seen at work; and they are waited for.
        jobs = first.ask_for_long(8, Sampling(max_tokens=4_000))
        children = first.children()
        first.engine().kill()
        assert first.process.wait(timeout=60) not in (0, None), "a supervisor sees that it failed"
        wait_for("nothing of it is left", lambda: gone(children))
        said = first.log.read_text()
        assert "the engine's process has ended; it gives its jobs back and leaves" in said
        assert {job.status() for job in jobs} == {"queued"}, "none of them failed"

        with working(url, tmp_path, engine_env | {"VIDASK_GRACE_S": str(PATIENT_S)}) as second:
            children = second.children()
            wait_for("it has taken all of them", lambda: {job.status() for job in jobs} == {"running"})
            wait_for("it answers them", lambda: not is_idle(second))
            os.killpg(second.process.pid, signal.SIGTERM)  # as Ctrl-C and some supervisors do
            assert second.process.wait(timeout=PATIENT_S) == 0
            assert {job.status() for job in jobs} == {"succeeded"}
            wait_for("nothing of it is left", lambda: gone(children))
        said = second.log.read_text().removeprefix(said)
    assert re.search(r"engine: closing; .* tokens \([1-9]\d?% from the prefix cache\)", said), said[-3000:]


def test_kill_minus_nine_leaves_nothing_behind_of_an_engine_of_several_processes(
    tmp_path: Path, engine_env: dict[str, str]
) -> None:
    env = engine_env | {"VLLM_CONFIG": json.dumps({**VLLM_CONFIG, "distributed_executor_backend": "mp"})}
    with redis_server(tmp_path / "redis") as url, started(url, tmp_path, env) as own:
        own.ask_for_long(1)
        children = own.children()
        assert own.engine().children(), "the model's process is below the engine's"
        own.process.kill()
        wait_for("nothing of it is left", lambda: gone(children))


@pytest.fixture
def starting(tmp_path: Path, engine_env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that opens its models."""
    with redis_server(tmp_path / "redis") as url:
        env = engine_env | {"VIDASK_REDIS_URL": url, "VIDASK_CHROMA_PATH": str(tmp_path / "chroma")}
        with child_process(WORKER, env=env, log=tmp_path / "worker.log") as worker:
            yield worker


def test_sigterm_while_the_engine_starts_ends_the_worker_at_once(starting: subprocess.Popen[bytes]) -> None:
    wait_for("the engine is being made", lambda: engines(starting), limit_s=120)
    children = psutil.Process(starting.pid).children(recursive=True)
    starting.send_signal(signal.SIGTERM)
    assert starting.wait(timeout=15) == 128 + signal.SIGTERM
    # What was just being started looks for its parent once it has imported vLLM.
    wait_for("nothing of it is left", lambda: gone(children), limit_s=90)


def test_kill_minus_nine_leaves_nothing_behind_of_an_engine_that_is_still_imported(
    starting: subprocess.Popen[bytes],
) -> None:
    """Where nobody told it, it would wait five minutes for the worker's word."""
    spawned = "multiprocessing.spawn"
    wait_for("so are the embeddings, and the engine", lambda: len(below(starting.pid, spawned)) == 2, limit_s=120)
    children = below(starting.pid, spawned)
    starting.kill()
    wait_for("nothing of it is left", lambda: gone(children), limit_s=90)


def test_a_model_that_cannot_be_loaded_ends_the_worker_with_one_line(
    tmp_path: Path, engine_env: dict[str, str]
) -> None:
    with ExitStack() as stack:
        env = {**os.environ, **engine_env, "VLLM_MODEL_PATH": str(tmp_path / "nowhere")}
        env |= {"VIDASK_REDIS_URL": stack.enter_context(redis_server(tmp_path / "redis"))}
        env |= {"VIDASK_CHROMA_PATH": str(tmp_path / "chroma")}
        done = subprocess.run(WORKER, env=env, capture_output=True, text=True, timeout=PATIENT_S, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("vidask worker:")]
    assert "nowhere" in line
