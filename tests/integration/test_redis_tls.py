"""Redis is reached over TLS by all that vidask does, and a certificate that nobody vouches for is not believed.

The Redis of the tests speaks no TLS itself; a proxy before it does.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
import trustme

from tests.integration.slow_app import WHILE
from tests.support import health, plain_celery, wait_for
from vidask import Client, JobCancelled, QueueUnavailable
from worker.doctor.findings import Status
from worker.doctor.redis import read_info
from worker.doctor.redis import redis as redis_finding
from worker.embedded import redis_server, worker_process

HELD = "slow:held"


@dataclass
class Authority:
    """Signs certificates; its own is in `file`."""

    ca: trustme.CA
    file: Path

    def server(self, *, host: str = "127.0.0.1", ends: datetime | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert(host, not_after=ends).configure_cert(context)
        return context

    def client(self, folder: Path) -> str:
        """The options by which a client shows a certificate."""
        certificate, files = self.ca.issue_cert("producer@example.org"), (folder / "client.pem", folder / "client.key")
        certificate.cert_chain_pems[0].write_to_path(files[0])
        certificate.private_key_pem.write_to_path(files[1])
        return f"ssl_certfile={files[0]}&ssl_keyfile={files[1]}"


@contextmanager
def tls_before(redis_url: str, context: ssl.SSLContext) -> Iterator[str]:
    """A proxy that speaks TLS before a Redis; gives host, port and database of its address."""
    to_redis: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):  # it is closed
            while True:
                near, _ = server.accept()
                to_redis.append(far := socket.create_connection(("127.0.0.1", urlsplit(redis_url).port)))
                threading.Thread(target=_pass_on, args=(near, far, context)).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        accepting = threading.Thread(target=accept)
        accepting.start()
        yield f"127.0.0.1:{server.getsockname()[1]}/0"
        server.shutdown(socket.SHUT_RDWR)
        accepting.join()
        for far in to_redis:
            with suppress(OSError):  # it is closed already
                far.shutdown(socket.SHUT_RDWR)


def _pass_on(plain: socket.socket, far: socket.socket, context: ssl.SSLContext) -> None:
    """Both ways on one thread: an SSL socket is not for two."""
    with plain, far, suppress(OSError):  # either side is gone, or their TLS is not ours
        plain.settimeout(5)  # who begins no handshake
        with context.wrap_socket(plain, server_side=True) as near:
            near.settimeout(None)
            other: dict[socket.socket, socket.socket] = {near: far, far: near}
            while True:
                for source in [near] if near.pending() else select.select([near, far], [], [])[0]:
                    if not (data := source.recv(1 << 16)):
                        return
                    other[source].sendall(data)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    ca, file = trustme.CA(), tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(file)
    return Authority(ca, file)


@pytest.fixture(scope="module")
def plain_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="module")
def tls_url(plain_url: str, authority: Authority) -> Iterator[str]:
    """What is set for a Redis whose certificate an authority of one's own has signed."""
    with tls_before(plain_url, authority.server()) as address:
        yield f"rediss://{address}?ssl_ca_certs={authority.file}"


@pytest.fixture(scope="module")
def mutual_url(plain_url: str, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """And for one that wants to see a certificate of who comes."""
    context = authority.server()
    context.verify_mode = ssl.CERT_REQUIRED
    authority.ca.configure_trust(context)
    with tls_before(plain_url, context) as address:
        shown = authority.client(tmp_path_factory.mktemp("client"))
        yield f"rediss://{address}?ssl_ca_certs={authority.file}&{shown}"


@pytest.fixture(scope="module")
def worker(mutual_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Overrides the usual one; it shows its certificate."""
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    with worker_process(mutual_url, log=log, app="tests.integration.slow_app") as process:
        yield f"by {process.pid}"
        assert process.poll() is None, f"the worker died; its log: {log.read_text()[-3000:]}"


@pytest.mark.parametrize("address", ["tls_url", "mutual_url"])
def test_everything_goes_over_tls(address: str, worker: str, plain_url: str, request: pytest.FixtureRequest) -> None:
    url: str = request.getfixturevalue(address)
    with Client(url) as client, redis.Redis.from_url(plain_url) as connection:
        job = client.ask("Who answers?")
        assert "".join(event.text for event in job.stream()) == job.result(10).text == worker
        connection.set(HELD, 1)
        held = client.ask(WHILE + HELD)
        wait_for("it is running", lambda: held.status() == "running")
        assert held.cancel()
        connection.delete(HELD)
        with pytest.raises(JobCancelled):
            held.result(10)
    assert health(url).stdout.startswith("queue: ok")
    finding = redis_finding(read_info(url), url)
    assert (finding.status, finding.said[-8:]) == (Status.OK, "over TLS")


def test_plain_celery_is_told_to_look_at_the_certificate(tls_url: str, worker: str) -> None:
    with plain_celery(f"{tls_url}&ssl_cert_reqs=required") as celery:
        answer = celery.send_task("vidask.ask", kwargs={"question": "Who answers?"}, queue="vidask").get(timeout=10)
        assert answer["text"] == worker


def refusal(url: str) -> str:
    """What is said of an address, without the address."""
    with Client(url) as client, pytest.raises(QueueUnavailable) as raised:
        client.ask("Who answers?")
    return str(raised.value).replace(url, "URL")


def test_a_certificate_that_nobody_vouches_for_is_refused(tls_url: str) -> None:
    assert refusal(tls_url.partition("?")[0]) == (
        "Redis at URL shows a certificate that is not trusted (unable to get local issuer certificate); "
        "name the file of who signed it with ?ssl_ca_certs=FILE"
    )
    with Client(f"{tls_url.partition('?')[0]}?ssl_cert_reqs=none") as client:
        assert client.ask("Who answers?").id, "unless one asks for that"


def test_a_certificate_that_is_over_or_for_another_host_is_refused(plain_url: str, authority: Authority) -> None:
    over = authority.server(ends=datetime.now(UTC) - timedelta(days=1))
    for context, said in [
        (over, "(certificate has expired); renew it there"),
        (
            authority.server(host="queue.example.org"),
            "(IP address mismatch, certificate is not valid for '127.0.0.1'); write the host that it is for",
        ),
    ]:
        with tls_before(plain_url, context) as address:
            url = f"rediss://{address}?ssl_ca_certs={authority.file}"
            assert refusal(url) == f"Redis at URL shows a certificate that is not trusted {said}"


def test_a_redis_that_wants_a_certificate_says_so(mutual_url: str) -> None:
    assert "?ssl_certfile=FILE&ssl_keyfile=FILE" in refusal(mutual_url.partition("&")[0])


def test_tls_is_spoken_to_whom_it_is_strange(plain_url: str) -> None:
    assert "redis:// where it has no" in refusal(plain_url.replace("redis://", "rediss://"))


def test_a_redis_with_tls_is_spoken_to_without(tls_url: str) -> None:
    assert refusal(tls_url.partition("?")[0].replace("rediss://", "redis://")).endswith("rediss:// where it speaks TLS")
