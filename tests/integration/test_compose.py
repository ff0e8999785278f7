"""docker-compose.yml: its three commands, the very ones, started here on free ports, and asked a question."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from tests.support import LECTURE
from vidask import Client, StoreUnavailable
from worker.embedded import child_process, free_port, redis_server_path, wait_until

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()

_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::-([^}]*))?\}")


def _interpolated(text: str, variables: dict[str, str]) -> dict[str, Any]:
    """What `docker compose` makes of the file."""

    def value(match: re.Match[str]) -> str:
        return "$" if match[1] is None else variables.get(match[1]) or match[2] or ""

    return yaml.safe_load(_VARIABLE.sub(value, text))


@dataclass(frozen=True)
class _Stack:
    services: dict[str, Any]
    env: dict[str, str]
    folder: Path

    @property
    def redis_url(self) -> str:
        return self.env["VIDASK_REDIS_URL"]

    @contextmanager
    def started(self, service: str, *arguments: str) -> Iterator[None]:
        """The service's command with our arguments behind it, once it is healthy."""
        log = self.folder / f"{service}{''.join(arguments)}.log"
        command = [*shlex.split(self.services[service]["command"]), *arguments]
        with child_process(command, env=self.env, cwd=self.folder, log=log) as process:
            broken = StoreUnavailable(f"{shlex.join(command)} did not start; its log is {log}")
            wait_until(lambda: self.healthy(service), process, broken)
            yield
            assert process.poll() is None, f"{shlex.join(command)} died; its log: {log.read_text()[-3000:]}"

    def healthy(self, service: str, **env: str) -> bool:
        kind, *test = self.services[service]["healthcheck"]["test"]
        command = test if kind == "CMD" else ["sh", "-c", *test]
        return subprocess.run(command, env=self.env | env, capture_output=True, timeout=60, check=False).returncode == 0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Stack]:
    folder = tmp_path_factory.mktemp("compose")
    variables = {
        "VIDASK_BIND": "127.0.0.1",
        "VIDASK_REDIS_HOST": "127.0.0.1",
        "VIDASK_REDIS_PORT": str(free_port()),
        "VIDASK_REDIS_DATA": str(folder / "redis"),
        "VIDASK_CHROMA_HOST": "127.0.0.1",
        "VIDASK_CHROMA_PORT": str(free_port()),
        "VIDASK_CHROMA_DATA": str(folder / "chroma"),
        "VIDASK_PICTURES_DATA": str(folder / "pictures"),
    }
    (folder / "redis").mkdir()
    services = _interpolated(COMPOSE, variables)["services"]
    # Where an image has its programs: of this environment, then Redis's.
    path = [str(Path(sys.executable).parent), str(Path(redis_server_path()).parent), os.environ["PATH"]]
    env = {**os.environ, **services["worker"]["environment"], "PATH": os.pathsep.join(path), "HOSTNAME": "first"}
    first = _Stack(services, env, folder)
    second = _Stack(services, {**env, "HOSTNAME": "second"}, folder)
    # In containers the host's name tells two workers apart.
    with (
        first.started("redis"),
        first.started("chroma"),
        first.started("worker", "-n", "celery@first"),
        second.started("worker", "-n", "celery@second"),
    ):
        yield first


def test_redis_keeps_what_it_was_given(stack: _Stack) -> None:
    with redis.Redis.from_url(stack.redis_url, decode_responses=True) as connection:
        assert connection.config_get("appendonly") == {"appendonly": "yes"}
        assert connection.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_an_indexed_transcript_is_asked(stack: _Stack) -> None:
    with Client(stack.redis_url) as client:
        assert client.index_transcript("talk", text=LECTURE).result(60).segments == 5
        answer = client.ask("Why does a deep tree overfit?", video_ids=["talk"]).result(60)
    assert "every leaf holds a single example" in answer.text
    assert (answer.citations[0].start_s, answer.citations[0].end_s) == (70.0, 76.0)


def test_two_workers_share_the_jobs_and_the_store(stack: _Stack) -> None:
    with Client(stack.redis_url, tenant="two-workers") as client:
        indexing = [client.index_transcript(f"talk-{n}", text=LECTURE) for n in range(20)]
        assert {job.result(60).segments for job in indexing} == {5}
        asking = [client.ask("What is pruning?", video_ids=[f"talk-{n}"]) for n in range(20) for _ in range(10)]
        assert {job.result(60).citations[0].start_s for job in asking} == {180.0}
    with redis.Redis.from_url(stack.redis_url, decode_responses=True) as connection:
        rows = [f"vidask:job:{job.id}" for job in (*indexing, *asking)]
        assert {connection.hget(row, "worker") for row in rows} == {"celery@first", "celery@second"}
        assert {connection.hget(row, "attempt") for row in rows} == {"1"}


@pytest.mark.parametrize(("service", "elsewhere"), [("redis", {}), ("chroma", {}), ("worker", {"HOSTNAME": "third"})])
def test_the_health_check_tells_life_from_death(service: str, elsewhere: dict[str, str], stack: _Stack) -> None:
    assert stack.healthy(service)
    dead = {name: str(free_port()) for name in ("VIDASK_REDIS_PORT", "VIDASK_CHROMA_PORT")}
    services = _interpolated(COMPOSE, dead)["services"]
    assert not _Stack(services, stack.env, stack.folder).healthy(service, **elsewhere)


def test_the_defaults_fit_the_containers() -> None:
    services = _interpolated(COMPOSE, {})["services"]
    assert services["worker"]["environment"] == {
        "VIDASK_REDIS_URL": "redis://redis:6379/0",
        "VIDASK_CHROMA_URL": "http://chroma:8000",
        "VIDASK_PICTURES_PATH": "/home/vidask/pictures",
    }
    assert services["worker"]["volumes"] == ["pictures:/home/vidask/pictures"]
    assert services["redis"]["volumes"] == ["redis-data:/data"]
    assert services["chroma"]["volumes"] == ["chroma-data:/data"]
    assert "--dir /data" in services["redis"]["command"]
    assert "--path /data" in services["chroma"]["command"]
    assert services["redis"]["ports"] == ["127.0.0.1:6379:6379"]


def test_only_this_host_can_reach_it_and_everything_starts_again() -> None:
    services = _interpolated(COMPOSE, {})["services"]
    assert set(services) == {"redis", "chroma", "worker"}
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["retries"] > 0


def test_the_server_has_the_version_of_the_client() -> None:
    image = _interpolated(COMPOSE, {})["services"]["chroma"]["image"]
    pinned = re.search(r"^chromadb==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert image == f"chromadb/chroma:{pinned[1]}"


def test_the_dockerfile_copies_what_exists_and_is_not_ignored() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    ignored, *kept = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert ignored == "*"
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in kept


def test_the_image_runs_the_same_worker() -> None:
    command = (ROOT / "Dockerfile").read_text().rpartition("\nCMD ")[2]
    assert shlex.join(yaml.safe_load(command)) == _interpolated(COMPOSE, {})["services"]["worker"]["command"]
