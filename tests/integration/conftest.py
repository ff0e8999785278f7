import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis_users import as_worker, redis_with_users
from tests.support import keys_without_ttl
from vidask import Client
from worker.embedded import worker_process


@pytest.fixture(scope="session")
def worker_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worker") / "worker.log"


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Redis that the worker reads; this and all other addresses are the producer's."""
    with redis_with_users(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def worker(redis_url: str, worker_log: Path) -> Iterator[str]:
    """A real worker, ready for jobs; gives the address of its queue."""
    env = {"VIDASK_CHROMA_PATH": str(worker_log.parent / "chroma")}
    with worker_process(as_worker(redis_url), env=env, log=worker_log) as process:
        yield redis_url
        assert process.poll() is None, f"the worker died; its log: {worker_log.read_text()[-3000:]}"


@pytest.fixture(scope="session")
def idle_redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis that nobody works for: what is queued there stays queued."""
    with redis_with_users(tmp_path_factory.mktemp("idle-redis")) as url:
        yield url


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test has."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def client(worker: str, tenant: str) -> Iterator[Client]:
    """A producer whose jobs a real worker does."""
    with Client(worker, tenant=tenant) as client:
        yield client
    assert keys_without_ttl(worker) == []


@pytest.fixture
def idle_client(idle_redis_url: str, tenant: str) -> Iterator[Client]:
    """A producer whose jobs stay queued."""
    with Client(idle_redis_url, tenant=tenant) as client:
        yield client
    assert keys_without_ttl(idle_redis_url) == []


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("VIDASK_")]:
        monkeypatch.delenv(name)
