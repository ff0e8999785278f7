"""The users of deploy/redis-users.acl, as which all other stories run: what they may not, and how that is said."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest
import redis

from tests.redis_users import ACL_FILE, as_admin, as_user, as_worker, password_of, redis_with_users, refused
from vidask import Client, QueueUnavailable, keys
from vidask.connection import connect
from worker.doctor.findings import Status
from worker.doctor.users import users
from worker.rights import COMMANDS, missing_rights

NOT_FOR_USERS = (
    *("CONFIG GET dir", "FLUSHALL", "KEYS *", "SCAN 0", "DEBUG SLEEP 0", "SHUTDOWN NOSAVE", "SAVE", "REPLICAOF NO ONE"),
    *("ACL LIST", "CLIENT LIST", "CLIENT KILL TYPE normal", "MONITOR", "SCRIPT FLUSH", "SET mine 1", "GET mine"),
    *("EVAL redis.call('SET','mine',1) 0", "PUBLISH news hello", "PSUBSCRIBE *"),
)
NOT_FOR_PRODUCERS = (
    *("INFO", "HGETALL vidask:video:acme:talk", "SET vidask:lock:acme:talk mine", "DEL vidask:claimed"),
    *("RPOP vidask", "PSUBSCRIBE /0.celery.pidbox", "PUBLISH /0.celeryev/worker.heartbeat {}"),
)
NOT_FOR_FLOWER = (
    "HGETALL vidask:job:1",
    "GET celery-task-meta-1",
    "GET vidask:blob:acme:0",
    "PUBLISH vidask:control -",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_with_users(tmp_path_factory.mktemp("users")) as url:
        yield url


@pytest.fixture
def url(server: str) -> Iterator[str]:
    """Redis's log of what it refused is empty again afterwards."""
    yield server
    with closing(connect(as_admin(server))) as admin:
        admin.acl_log_reset()


@pytest.mark.parametrize(
    ("user", "command"),
    [
        *((user, command) for user in ("producer", "worker", "flower") for command in NOT_FOR_USERS),
        *(("producer", command) for command in NOT_FOR_PRODUCERS),
        *(("flower", command) for command in NOT_FOR_FLOWER),
    ],
)
def test_what_is_not_theirs_is_refused(user: str, command: str, url: str) -> None:
    refusal = pytest.raises(redis.ResponseError, match=r"permission|can't access|not allowed")
    with closing(connect(as_user(url, user))) as connection, refusal:
        connection.execute_command(*command.split(" "))


def test_nobody_is_let_in_without_a_name(url: str) -> None:
    with closing(connect(url.replace("producer:", ":"))) as connection, pytest.raises(redis.AuthenticationError):
        connection.ping()


def test_the_file_gives_a_worker_what_it_is_checked_for(url: str) -> None:
    """And the right to `INFO`, for the doctor."""
    assert missing_rights(as_worker(url)) == []
    [rules] = re.findall("^user worker (.*)$", ACL_FILE.read_text(), re.MULTILINE)
    given = {rule[1:] for rule in rules.split() if rule.startswith("+") and not rule.startswith("+@")}
    listening = {"subscribe", "unsubscribe", "psubscribe", "punsubscribe"}
    wished = {re.match(r"script \w+|\w+", command)[0].replace(" ", "|") for command in COMMANDS}  # pyright: ignore[reportOptionalSubscript]
    assert given == wished | listening | {"multi", "exec", "publish", "select", "info"}


def test_a_user_without_the_rights_is_said_in_one_line(url: str) -> None:
    with Client(as_user(url, "flower")) as client, pytest.raises(QueueUnavailable) as raised:
        client.ask("Why?")
    said = str(raised.value)
    assert "does not permit this to the user" in said
    assert said.endswith("widen the user's ACL")
    assert "\n" not in said
    assert password_of("flower") not in said
    assert [entry.partition(":")[0] for entry in refused(url)] == ["flower"], "which would end any other story"


def test_the_doctor_names_what_is_missing_and_does_nothing(url: str) -> None:
    with Client(url) as client:
        client.ask("Why?")
    with closing(connect(as_admin(url))) as admin:
        before = {key: admin.dump(key) for key in admin.scan_iter()}
        missing = missing_rights(url)
        assert {key: admin.dump(key) for key in admin.scan_iter()} == before
    assert f"exists {keys.video_lock('-', '-')}" in missing
    assert "psubscribe /0.celery.pidbox" in missing
    found = users(missing, url)
    assert found.status is Status.FAILED
    assert found.said == f"user 'producer' may not: {', '.join(missing[:3])} and {len(missing) - 3} more"
    assert found.fix == "log in as the user worker of deploy/redis-users.acl, or give this one what that has"


def test_another_database_has_other_channels(url: str) -> None:
    assert missing_rights(as_worker(url).removesuffix("0") + "3") == [
        "publish /3.celery.pidbox -",
        "publish /3.celeryev/worker.heartbeat -",
        "psubscribe /3.celery.pidbox",
        "psubscribe /3.celeryev/worker.*",
    ]


@pytest.mark.parametrize(
    ("user", "password", "said"),
    [
        ("worker", "sesame", "refused the user or password"),
        ("producer", password_of("producer"), "refuses its user zcard vidask:job:-, rpush vidask:job:- 1, "),
    ],
)
def test_a_worker_that_may_not_work_ends_with_one_line(user: str, password: str, said: str, url: str) -> None:
    done = _worker(as_user(url, user).replace(password_of(user), password))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("vidask worker:")]
    assert said in line
    assert password not in line


def _worker(url: str) -> subprocess.CompletedProcess[str]:
    """Without models it starts soonest."""
    command = [sys.executable, "-m", "celery", "-A", "tests.integration.slow_app", "worker"]
    env = {**os.environ, "VIDASK_REDIS_URL": url}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)


def test_a_client_with_a_wrong_password_is_told_so(url: str) -> None:
    with Client(url.replace(password_of("producer"), "sesame")) as client, pytest.raises(QueueUnavailable) as raised:
        client.ask("Why?")
    assert "refused the user or password" in str(raised.value)
    assert "sesame" not in str(raised.value)


def test_every_password_of_the_file_is_one_to_replace() -> None:
    passwords = re.findall(r" >(\S+)", ACL_FILE.read_text())
    assert passwords == [f"{user.upper()}-PASSWORD" for user in ("admin", "producer", "worker", "flower")]
    assert ACL_FILE.read_text().startswith("user default off\n")
