"""All checks by their names, in the order in which one builds on another. docs/troubleshooting.md has an entry for each."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import replace

from pipeline.llm.engine_arguments import card_for, check_numbers
from worker.doctor import environment, hardware, models, packages, redis, store, users
from worker.doctor.facts import Facts
from worker.doctor.findings import Finding, NotLookedAt, given, needed
from worker.rights import missing_rights


def checks_of(facts: Facts) -> Mapping[str, Callable[[], Finding]]:
    """The checks of a host. Nothing is looked at before one is called."""
    return {
        "settings": lambda: environment.settings(facts.settings_read, os.environ),
        "python": _python,
        "packages": lambda: _packages(facts),
        "vllm": lambda: _vllm(facts),
        "gpu": lambda: hardware.gpu(facts.device, wanted_by=_wants_gpu(facts)),
        "driver": lambda: hardware.driver(needed(facts.device, "no GPU is here"), packages.cuda_of_torch()),
        "model": lambda: models.model(given(facts.model)),
        "hub": lambda: models.hub(models.hub_id(facts.model_path)),
        "engine": lambda: _engine(facts),
        "memory": lambda: _memory(facts),
        "llm server": lambda: models.llm_server(facts.backends, facts.settings),
        "redis": lambda: redis.redis(given(facts.redis), facts.settings.redis_url),
        "redis eviction": lambda: redis.eviction(needed(facts.redis, "Redis does not answer")),
        "redis persistence": lambda: redis.persistence(needed(facts.redis, "Redis does not answer")),
        "redis users": lambda: _redis_users(facts),
        "chroma": lambda: store.chroma(facts.store),
        "embedding model": lambda: _embedding_model(facts),
        "index": lambda: _index(facts),
        "disk": lambda: store.disk(store.read_disks(facts.folders)),
        "ports": lambda: environment.ports(facts.settings, environment.try_port(facts.settings)),
    }


def _python() -> Finding:
    return packages.python(platform.python_version(), {name: packages.python_of(name) for name in ("vidask", "vllm")})


def _packages(facts: Facts) -> Finding:
    extras = ["worker", *(backend for backend in facts.backends if backend in ("ollama", "openai"))]
    return packages.packages(packages.wanted(extras), facts.installed)


def _vllm(facts: Facts) -> Finding:
    backend = facts.backend_with_vllm
    return packages.vllm(
        facts.installed,
        packages.vllm_range(),
        needed_by=backend,
        import_error=packages.import_vllm() if backend else None,
    )


def _wants_gpu(facts: Facts) -> str:
    return hardware.wants_gpu(
        facts.backend_with_vllm, facts.settings.embedding_device, vllm_for_cpus=packages.is_for_cpus(facts.installed)
    )


def _engine(facts: Facts) -> Finding:
    model = needed(facts.model, "the model's files are not whole")
    cards = () if packages.is_for_cpus(facts.installed) else facts.cards
    return hardware.engine(facts.settings, model, cards)


def _memory(facts: Facts) -> Finding:
    model = needed(facts.model, "the model's files are not whole")
    if packages.is_for_cpus(facts.installed):
        msg = "the vllm that is installed computes on the CPU"
        raise NotLookedAt(msg)
    device, config = needed(facts.device, "no GPU is here"), facts.settings.engine_config
    check_numbers(config)
    device = replace(device, gpu=card_for(config, facts.cards) or device.gpu)
    return hardware.memory(model, facts.engine_arguments(model, device), device)


def _redis_users(facts: Facts) -> Finding:
    needed(facts.redis, "Redis does not answer this user")
    url = facts.settings.redis_url
    return users.users(missing_rights(url), url)


def _embedding_model(facts: Facts) -> Finding:
    settings = facts.settings
    return models.embedding_model(settings.embedding_model, settings.embedding_device, facts.embedding_dimension)


def _index(facts: Facts) -> Finding:
    found = needed(facts.store, "Chroma could not be opened")
    dimension = needed(facts.embedding_dimension, "the embedding model could not be loaded")
    return store.index(found, facts.settings.embedding_model, dimension)
