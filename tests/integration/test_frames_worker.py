"""Frame jobs in a worker: several at once, stopped, lost with their worker, done beside questions. Texts stand for pictures."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from celery.result import AsyncResult

from tests.integration.frames_app import BEGUN, BROKEN, MAY
from tests.redis_users import as_admin, as_worker, redis_with_users
from tests.support import keys_without_ttl, plain_celery, wait_for
from vidask import (
    Client,
    Frame,
    FrameProblem,
    InvalidFrame,
    JobCancelled,
    JobFailed,
    JobNotFound,
    Progress,
    Segment,
    keys,
)
from worker.embedded import worker_process

APP = "tests.integration.frames_app"
#: Jobs that a worker does at once, and how many of them may index frames: half, but for one that is for other changes.
PLACES, INDEXING = 16, 7
#: Pictures that it has in hand at once, of all jobs.
PICTURES = 64


class Reading:
    """What the workers' reading of pictures is told, and says."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection

    def may(self, number: int) -> None:
        """Let them read so many more."""
        self._redis.set(MAY, self.begun + number)

    def go_on(self) -> None:
        self._redis.delete(MAY)

    @property
    def begun(self) -> int:
        return int(str(self._redis.get(BEGUN) or 0))


class Workers:
    """Workers on one queue and one store, one after the other."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self._running = ExitStack()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        env = {
            "VIDASK_CHROMA_PATH": str(self.folder / "chroma"),
            "VIDASK_LEASE_S": "2",
            "VIDASK_GRACE_S": "0.2",
            "VIDASK_MEDIA_ROOT": str(self.folder / "media"),
        }
        log = self.folder / "worker.log"
        self.process = self._running.enter_context(worker_process(as_worker(self.url), env=env, log=log, app=APP))

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(60)

    def stop(self) -> None:
        self._running.close()

    @property
    def log(self) -> str:
        return (self.folder / "worker.log").read_text()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    folder = tmp_path_factory.mktemp("frames")
    (folder / "media").mkdir()
    with redis_with_users(folder / "redis") as url:
        workers = Workers(url, folder)
        workers.start()
        yield workers
        workers.stop()


@pytest.fixture
def reading(workers: Workers) -> Iterator[Reading]:
    with redis.Redis.from_url(as_admin(workers.url), decode_responses=True) as connection:
        reading = Reading(connection)
        yield reading
        reading.go_on()


@pytest.fixture
def client(workers: Workers, tenant: str) -> Iterator[Client]:
    with Client(workers.url, tenant=tenant) as client:
        yield client
    assert keys_without_ttl(workers.url) == []


def slides(number: int, said: str = "slide") -> list[Frame]:
    return [Frame(float(at), f"{said} {at} of the talk".encode()) for at in range(number)]


def test_a_long_list_is_indexed_whole(client: Client) -> None:
    report = client.index_frames("talk", slides(300), duration_s=400.0).result(60)
    assert (report.frames, report.indexed, report.empty, report.removed, report.problems) == (300, 300, 0, 0, ())
    again = client.index_frames("talk", slides(300), duration_s=400.0).result(60)
    assert (again.indexed, again.removed) == (300, 0)
    assert client.forget("talk").result(30).removed == 300


def test_progress_is_shown_while_frames_are_read(client: Client, reading: Reading, workers: Workers) -> None:
    reading.may(20)
    job = client.index_frames("talk", slides(40))
    wait_for("20 frames are done", lambda: job.progress() == Progress(20, 40))
    assert job.status() == "running"
    assert vidask(client, workers, "status", job.id) == "running, 20 of 40 frames\n"
    assert '"progress": {"done": 20, "total": 40}' in vidask(client, workers, "status", job.id, "--json")
    reading.go_on()
    assert job.result(30).indexed == 40
    assert job.progress() == Progress(40, 40)


def vidask(client: Client, workers: Workers, *arguments: str) -> str:
    command = [
        Path(sys.executable).parent / "vidask",
        "--redis-url",
        workers.url,
        "--tenant",
        client.tenant,
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_bad_frame_fails_alone_and_is_named(client: Client) -> None:
    frames = [Frame(0.0, b"The first slide"), Frame(5.0, BROKEN), Frame(9.0, b"The last slide")]
    report = client.index_frames("talk", frames).result(30)
    assert (report.frames, report.indexed) == (3, 2)
    assert report.problems == (FrameProblem(time_s=5.0, error="it is broken; draw another"),)


def test_a_picture_that_has_expired_is_named(client: Client, workers: Workers, reading: Reading) -> None:
    def expire() -> None:
        with redis.Redis.from_url(as_admin(workers.url)) as connection:
            for key in connection.scan_iter(f"vidask:blob:{client.tenant}:*"):
                connection.delete(key)

    before = reading.begun
    reading.may(16)
    job = client.index_frames("talk", slides(100))
    wait_for("some are read, others fetched", lambda: reading.begun == before + 16 + PICTURES)
    expire()
    reading.go_on()
    report = job.result(30)
    assert (report.indexed, len(report.problems)) == (16 + PICTURES, 100 - 16 - PICTURES)
    assert all("has expired; send it again" in problem.error for problem in report.problems)


def result_of(client: Client, job_id: str) -> object:
    """Of a job of plain Celery, which has no row until a worker has claimed it."""

    def known() -> bool:
        try:
            client.job(job_id).status()
        except JobNotFound:
            return False
        return True

    wait_for("a worker has the job", known)
    return client.job(job_id).result(30)


def test_a_question_about_a_picture_that_has_expired_fails(client: Client, workers: Workers) -> None:
    client.index_transcript("talk", segments=[Segment(0.0, 1.0, "So.")]).result(30)
    asked = {"question": "What is this?", "tenant": client.tenant, "frames": [{"time_s": 3.0, "sha256": "a" * 64}]}
    with plain_celery(workers.url) as celery:
        job_id = celery.send_task("vidask.ask", kwargs=asked, queue="vidask").id
    with pytest.raises(JobFailed, match=r"^picture aaaaaaaaaaaa… of 3 s has expired; send it again$") as raised:
        result_of(client, job_id)
    assert raised.value.error_type == InvalidFrame.__name__


def test_pictures_that_a_question_is_about_reach_the_chain(client: Client) -> None:
    client.index_transcript("talk", segments=[Segment(0.0, 1.0, "An axolotl is a salamander.")]).result(30)
    job = client.ask("What is it?", frames=[Frame(0.0, b"Axolotls regrow their limbs.")])
    assert "regrow" in job.result(30).text


def test_frames_on_shared_storage_are_named_by_their_paths(client: Client, workers: Workers) -> None:
    (workers.folder / "media" / "1.jpg").write_bytes(b"The only slide")
    frames = [Frame(0.0, path="1.jpg"), Frame(1.0, path="../worker.log"), Frame(2.0, path="2.jpg")]
    report = client.index_frames("talk", frames).result(30)
    assert [problem.error for problem in report.problems] == [
        "'../worker.log' leads out of the media root; name a file below it",
        "'2.jpg' cannot be read below the media root (no such file or directory); correct the path",
    ]
    assert report.indexed == 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"frames": [{"time_s": at, "path": "a"} for at in range(257)]}, "frames: 257 items, at most 256 are taken"),
        ({"frames": [{"time_s": 0, "sha256": "not a hash"}]}, "frames.0.sha256: 'not a hash' does not match"),
        ({"frames": [{"time_s": at, "path": "a"} for at in (2, 1)]}, "a frame at 1 s follows one at 2 s"),
        ({"frames": []}, "frames: "),
        ({}, "frames: is missing"),
    ],
)
def test_a_backend_without_vidask_is_told_what_is_wrong(
    client: Client, workers: Workers, fields: dict[str, object], said: str
) -> None:
    with plain_celery(workers.url) as celery:
        kwargs = {"video_id": "talk", "tenant": client.tenant, **fields}
        job_id = celery.send_task("vidask.index_frames", kwargs=kwargs, queue="vidask", priority=9).id
    with pytest.raises(JobFailed) as raised:
        result_of(client, job_id)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_backend_without_vidask_can_index_frames(client: Client, workers: Workers) -> None:
    (workers.folder / "media" / "celery.jpg").write_bytes(b"A slide of plain Celery")
    frames = [{"time_s": 0, "path": "celery.jpg"}]
    with plain_celery(workers.url) as celery:
        kwargs = {"video_id": "talk", "tenant": client.tenant, "frames": frames}
        sent = celery.send_task("vidask.index_frames", kwargs=kwargs, queue="vidask", priority=9)
        assert AsyncResult(sent.id, app=celery).get(timeout=30)["indexed"] == 1
    assert client.job(sent.id).progress() == Progress(1, 1)


def test_a_changed_list_leaves_no_frame_of_the_old_one(client: Client) -> None:
    client.index_transcript("talk", segments=[Segment(0.0, 1.0, "Said aloud.")]).result(30)
    client.index_frames("talk", slides(300, "old")).result(60)
    report = client.index_frames("talk", slides(3, "new")).result(30)
    assert (report.indexed, report.removed) == (3, 300)
    assert client.forget("talk").result(30).removed == 4, "three frames, and the chunk that was said"


def test_forgetting_removes_frames_and_their_copies(client: Client, workers: Workers) -> None:
    def copies() -> list[Path]:
        return [path for path in (workers.folder / "pictures").rglob("*.jpg") if path.read_bytes().startswith(b"mine")]

    client.index_frames("talk", slides(3, "mine")).result(30)
    assert len(copies()) == 3
    assert client.forget("talk").result(30).removed == 3
    assert copies() == []


def test_cancelling_stops_an_import_that_runs(client: Client, reading: Reading, workers: Workers) -> None:
    before = reading.begun
    reading.may(20)
    job = client.index_frames("talk", slides(300))
    wait_for("it reads", lambda: job.progress().done == 20)
    wait_for("both its parts run", lambda: all(client.job(part).status() == "running" for part in job.job_ids))
    wait_for("all that may be read at once waits", lambda: reading.begun == before + 20 + PICTURES)
    assert job.cancel()
    with pytest.raises(JobCancelled):
        job.result(10)
    stopped = [f"job {part}: index_frames cancelled" for part in job.job_ids]
    wait_for("the worker has heard of it, too", lambda: all(said in workers.log for said in stopped))
    begun = reading.begun
    reading.go_on()
    assert client.index_frames("other", slides(5)).result(30).indexed == 5
    in_hand = PICTURES  # its event loop may come to them a moment later
    assert reading.begun <= begun + 5 + in_hand, "216 frames of what was cancelled had not been begun"
    assert client.forget("talk").result(30).removed == 0


def test_a_question_is_answered_while_an_import_fills_the_queue(client: Client, reading: Reading) -> None:
    client.index_transcript("talk", segments=[Segment(0.0, 1.0, "An axolotl is a salamander.")]).result(30)
    reading.may(0)
    imports = [client.index_frames(f"talk {number}", slides(3)) for number in range(PLACES + 4)]

    def running() -> int:
        return sum(job.status() == "running" for job in imports)

    wait_for("as many of the worker's places are taken as may be", lambda: running() == INDEXING)
    questions = [client.ask("What is an axolotl?", video_ids=["talk"]) for _ in range(10)]
    assert all("salamander" in question.result(60).text for question in questions)
    assert running() == INDEXING, "the other places are kept for questions"
    reading.go_on()
    assert {job.result(60).indexed for job in imports} == {3}


def test_a_new_talk_can_be_asked_about_and_forgotten_while_an_import_fills_the_queue(
    client: Client, reading: Reading
) -> None:
    reading.may(0)
    imports = [client.index_frames(f"talk {number}", slides(3)) for number in range(PLACES + 4)]
    for number in range(3):
        said = [Segment(0.0, 1.0, f"Axolotl {number} is a salamander.")]
        assert client.index_transcript("new talk", segments=said).result(60).chunks == 1
        assert "salamander" in client.ask(f"What is axolotl {number}?", video_ids=["new talk"]).result(60).text
    assert client.forget("new talk").result(60).removed == 1
    assert any(job.status() == "queued" for job in imports), "the import still fills the queue"
    reading.go_on()
    assert {job.result(60).indexed for job in imports} == {3}


def test_frames_are_whole_after_a_worker_was_killed_among_them(
    client: Client, reading: Reading, workers: Workers
) -> None:
    reading.may(100)
    job = client.index_frames("talk", slides(300))
    wait_for("the worker is in the middle of them", lambda: job.progress().done > 50)
    workers.send(signal.SIGKILL)
    reading.go_on()
    workers.stop()
    workers.start()
    assert job.result(60).indexed == 300
    assert job.progress() == Progress(300, 300)
    assert client.forget("talk").result(30).removed == 300


def test_a_worker_that_is_told_to_stop_gives_frames_back(client: Client, reading: Reading, workers: Workers) -> None:
    reading.may(100)
    job = client.index_frames("talk", slides(256))
    wait_for("the worker is in the middle of them", lambda: job.progress().done > 50)
    workers.send(signal.SIGTERM)
    assert job.status() == "queued"
    with redis.Redis.from_url(as_admin(workers.url), decode_responses=True) as connection:
        assert connection.hget(keys.job_row(job.id), "crashes") is None, "that it had to stop was nobody's fault"
    reading.go_on()
    workers.stop()
    workers.start()
    assert job.result(60).indexed == 256
