"""One URL says where Redis is, to the client, the worker and Celery alike; one that cannot be meant is refused in a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu.exceptions import OperationalError
from kombu.utils.json import dumps
from redis.connection import SSLConnection
from redis.exceptions import AuthenticationError, BusyLoadingError, NoPermissionError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.sentinel import MasterNotFoundError

from tests.unit.test_doctor import REDIS
from vidask import InvalidSettings, QueueUnavailable
from vidask.addresses import read_address
from vidask.connection import celery_settings, connect, passes, queue_errors
from vidask.sentinels import PrimaryPool
from worker.doctor import redis as doctor
from worker.doctor.command import shown
from worker.doctor.findings import look

SENTINEL = "redis+sentinel://HOST:26379,HOST:26379/MASTER/DB"
DOCS = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://", {"host": "localhost", "port": 6379, "db": 0}),
        ("redis://queue:6380/2", {"host": "queue", "port": 6380, "db": 2}),
        ("redis://u:p%40w@queue?socket_timeout=9", {"username": "u", "password": "p@w", "socket_timeout": 9.0}),
        ("unix:///run/redis.sock?db=3", {"path": "/run/redis.sock", "db": 3}),
    ],
)
def test_celery_goes_where_the_client_goes(url: str, options: Mapping[str, Any]) -> None:
    made = connect(url).connection_pool.make_connection()
    assert {name: getattr(made, name) for name in options} == options
    channel = _channel(url)
    assert {name: getattr(channel._get_pool(True).make_connection(), name) for name in options} == options  # noqa: SLF001
    results: Any = _celery(url).backend
    assert {name: getattr(results.client.connection_pool.make_connection(), name) for name in options} == options


def _celery(url: str) -> Celery:
    return Celery(set_as_current=False, changes=celery_settings(url))


def _channel(url: str) -> Any:
    """A channel of Celery's that has not looked whether Redis is there."""
    connection: Any = _celery(url).connection_for_write()
    channel = connection.transport.Channel.__new__(connection.transport.Channel)
    channel.__dict__.update(connection.transport_options, connection=connection.transport, _registered=False)
    return channel


def test_a_certificate_is_looked_at_unless_one_says_otherwise(tmp_path: Path) -> None:
    (authority := tmp_path / "ca.pem").touch()
    for url, verified in [
        ("rediss://queue", True),
        (f"rediss://queue?ssl_ca_certs={authority}", True),
        ("rediss://queue?ssl_cert_reqs=none", False),
    ]:
        for pool in (connect(url).connection_pool, _channel(url)._get_pool(True)):  # noqa: SLF001
            made: Any = pool.make_connection()
            assert isinstance(made, SSLConnection)
            assert (bool(made.cert_reqs), made.check_hostname) == (verified, verified)


def test_sentinels_are_asked_over_tls_where_redis_is_with_a_password_of_their_own(tmp_path: Path) -> None:
    (authority := tmp_path / "ca.pem").touch()
    url = f"rediss+sentinel://u:pw@a,[::1]:5/lectures/3?sentinel_password=other&ssl_ca_certs={authority}"
    pool: Any = connect(url).connection_pool
    assert isinstance(pool, PrimaryPool)
    assert pool.service_name == "lectures"
    made: Any = [pool.make_connection()]
    made += [sentinel.connection_pool.make_connection() for sentinel in pool.sentinel_manager.sentinels]
    assert [(each.username, each.password, each.db) for each in made] == [("u", "pw", 3), *[(None, "other", 0)] * 2]
    assert [(each.host, each.port) for each in made[1:]] == [("a", 26379), ("::1", 5)]
    assert {(isinstance(each, SSLConnection), bool(each.cert_reqs), each.ca_certs) for each in made} == {
        (True, True, str(authority))
    }


@pytest.mark.parametrize(
    ("url", "why", "form"),
    [
        (
            "nonsense",
            "it begins with none of redis, rediss, unix, redis+sentinel, rediss+sentinel",
            "redis://HOST:PORT/DB",
        ),
        ("redis://queue/lectures", "behind the host stands a database's number", "redis://HOST:PORT/DB"),
        ("redis://queue?ssl_cert_reqs=none", "ssl_cert_reqs is for rediss://, TLS", "redis://HOST:PORT/DB"),
        ("redis://queue?retires=3", "retires is no option of it", "redis://HOST:PORT/DB"),
        ("rediss://queue?ssl_ca_certs=/no.pem", "ssl_ca_certs '/no.pem' is no file", "rediss://HOST:PORT/DB"),
        ("sentinel://a:26379;sentinel://b:26379", "that is Celery's way", SENTINEL),
        ("redis+sentinel://a:26379", "behind the sentinels stand the master's name and a database's number", SENTINEL),
        ("redis+sentinel://a/m/one", "behind the sentinels stand the master's name and a database's number", SENTINEL),
        ("redis+sentinel://a,,b/m", "a sentinel has no host", SENTINEL),
        ("redis+sentinel://a/m?sentinel_pasword=x", "pasword is no option of it", SENTINEL),
    ],
)
def test_what_is_no_address_is_refused_with_the_form_of_one(url: str, why: str, form: str) -> None:
    with pytest.raises(
        InvalidSettings, match=f"^{re.escape(f'{url!r} is not a Redis address ({why}); write {form}')}$"
    ):
        connect(url)


def test_no_password_is_shown_to_whoever_asks_celery() -> None:
    url = "redis+sentinel://u:swordfish@a,b/lectures/0?sentinel_password=swordfish"
    with _celery(url) as celery:
        told = celery.connection_for_read().info()
        del told["password"]  # as Celery does
        assert json.loads(dumps(told))["transport_options"]["address"] == str(read_address(url))
        for shown_to in (
            dumps(told),
            celery.conf.humanize(),
            celery.backend.as_uri(),
            str(celery.connection_for_read()),
        ):
            assert "swordfish" not in shown_to


def test_two_users_of_a_redis_do_not_share_celery_s_connections() -> None:
    one, other = (_celery(f"redis://{user}:pw@queue/0").connection_for_write() for user in ("one", "other"))
    assert hash(one) != hash(other) or one != other


READ_ONLY = ResponseError(
    "Error running script: @user_script: 14: -READONLY You can't write against a read only replica."
)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MasterNotFoundError("'m' is down, and no replica of it leads yet"), "is not to be found ('m' is down, "),
        (READ_ONLY, "is a replica and takes no writes (READONLY You can't write"),
        (
            ResponseError("NOREPLICAS Not enough good replicas to write."),
            "refuses writes as long as no replica has them, too (NOREPLICAS Not enough good replicas to write); start",
        ),
        (BusyLoadingError("loading"), "is still loading its data; try again in a moment"),
        (RedisConnectionError("Error 111"), "does not answer (Error 111); start it, or correct VIDASK_REDIS_URL"),
    ],
)
def test_what_a_failover_brings_passes_and_is_said_in_a_sentence(error: Any, said: str) -> None:
    assert passes(error)
    wrapped = OperationalError(str(error))
    wrapped.__cause__ = error
    for each in (error, wrapped):
        with (
            pytest.raises(QueueUnavailable, match=rf"^Redis at redis://queue {re.escape(said)}"),
            queue_errors("redis://queue"),
        ):
            raise each


@pytest.mark.parametrize("error", [AuthenticationError("WRONGPASS"), NoPermissionError("no"), ResponseError("ERR")])
def test_what_does_not_pass_is_not_waited_for(error: Any) -> None:
    assert not passes(error)


def test_sentinels_that_want_a_password_of_their_own_say_so() -> None:
    refused = MasterNotFoundError("no sentinel answers")
    refused.__cause__ = AuthenticationError("Authentication required.")
    url = "redis+sentinel://a/m/0"
    with (
        pytest.raises(QueueUnavailable, match=r"sentinels that refuse .*; give it as \?sentinel_password="),
        queue_errors(url),
    ):
        raise refused


LED = {**REDIS, "role": "master", "connected_slaves": 1, "leader": ("10.0.0.5", 6379)}
FOLLOWS = {**REDIS, "role": "slave", "master_host": "10.0.0.5", "master_port": 6379}


@pytest.mark.parametrize(
    ("info", "url"),
    [
        (FOLLOWS, "redis://queue"),
        (REDIS, "redis://:secret@queue.example.org:6379/0"),
        ({**LED, "connected_slaves": 0}, "redis+sentinel://a/lectures/0"),
    ],
)
def test_a_redis_that_cannot_be_relied_on_is_named_and_stands_in_the_guide(info: Mapping[str, Any], url: str) -> None:
    [(name, finding)] = look({"redis": lambda: doctor.redis(info, url)})
    entry = DOCS.partition("\n## redis\n")[2].partition("\n## ")[0]
    assert f"\n{shown(name, finding)}\n" in entry


@pytest.mark.parametrize(
    ("url", "how"),
    [
        ("redis://:secret@127.0.0.1", ""),
        ("redis://:secret@redis", ""),
        ("unix:///run/redis.sock?password=secret", ""),
        ("redis://queue.example.org", ""),
        ("rediss://:secret@queue.example.org", " over TLS"),
        ("redis+sentinel://a,b/lectures/0", " at 10.0.0.5:6379, which the sentinels name as 'lectures'"),
    ],
)
def test_a_redis_that_can_be_relied_on(url: str, how: str) -> None:
    [(name, finding)] = look({"redis": lambda: doctor.redis(LED, url)})
    assert shown(name, finding) == f"✓ redis: Redis 7.4.1 answers{how}"
