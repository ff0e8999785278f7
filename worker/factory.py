"""Makes the Celery app of a worker."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing
from typing import Any

from celery import Celery, bootsteps, signals
from kombu import Exchange, Queue

from config import Settings
from vidask import keys
from vidask.connection import celery_settings
from vidask.errors import VidaskError
from worker.checks import checks_of
from worker.concurrency import jobs_in_flight
from worker.controls import Controls
from worker.departure import take_no_more
from worker.health import Health
from worker.logs import set_up_logging, write_json_alone
from worker.revoking import on_revoked
from worker.services import Services
from worker.tasks import TASKS

#: For closing everything in order once the jobs are given back, seconds.
_LEAVING_S = 5.0

OpenServices = Callable[[Settings], AbstractContextManager[Services]]


class WorkerApp(Celery):
    """Celery's app, with what its tasks work with. `services` is there once the worker has started."""

    services: Services
    grace_s: float
    open_services: Callable[[], AbstractContextManager[Services]]


def create_app(settings: Settings, open_services: OpenServices) -> WorkerApp:
    """The app of one worker; everything `celery -A worker.app worker` would else need flags for is set here."""
    app = WorkerApp("vidask", changes=_configuration(settings))
    app.grace_s = settings.grace_s
    app.open_services = lambda: open_services(settings)
    app.steps["worker"].add(StartServices)
    for task in TASKS:
        app.register_task(task())
    signals.setup_logging.connect(lambda **_: set_up_logging(settings), weak=False)
    if settings.log_format == "json":
        signals.celeryd_init.connect(lambda instance, **_: write_json_alone(instance, settings), weak=False)
    signals.task_revoked.connect(on_revoked, weak=False)
    return app


def _configuration(settings: Settings) -> dict[str, Any]:
    return {
        **celery_settings(settings.redis_url),
        "broker_transport": "worker.transport:Transport",
        "worker_consumer": "worker.consumer:Consumer",
        "task_queues": [
            Queue(name, Exchange(name), routing_key=name) for name in (keys.AGAIN, keys.QUEUE)
        ],  # in this order
        "worker_pool": "threads",
        "worker_concurrency": jobs_in_flight(settings),
        "worker_prefetch_multiplier": 1,  # with late acks: no more messages taken than threads, the rest keeps its order
        "task_acks_late": True,
        "result_backend_thread_safe": True,  # else each thread makes one of its own at its first job, and looks for plugins
        "broker_connection_retry_on_startup": True,
        "broker_channel_error_retry": True,  # a Redis that is full just when the worker connects again does not end it
        "worker_cancel_long_running_tasks_on_connection_loss": False,  # threads cannot be cancelled; the claim keeps others away
    }


class StartServices(bootsteps.StartStopStep):
    """Builds the services before the worker consumes.

    A bootstep and not a `worker_init` signal: Celery logs what a signal's handler raises and carries on without it.
    """

    def start(self, parent: Any) -> None:
        """Build them, or end the worker with one line."""
        stack = ExitStack()
        signals.worker_shutting_down.connect(_leave_at_once, weak=False)  # nothing to finish before the first job
        try:
            parent.app.services = stack.enter_context(parent.app.open_services())
        except VidaskError as error:
            print(f"vidask worker: {error}", file=sys.stderr)  # noqa: T201  the line that the user is to read
            raise SystemExit(1) from None
        stack.enter_context(closing(_open_health(parent)))
        _leave_what_is_there_to_itself()
        signals.worker_shutting_down.disconnect(_leave_at_once)
        signals.worker_shutting_down.connect(_Shutdown(parent.app.services, parent.app.grace_s), weak=False)
        # Not closed by this step's `stop`, which comes before the pool has finished its jobs.
        signals.worker_shutdown.connect(lambda **_: stack.close(), weak=False)


def _open_health(controller: Any) -> Controls:
    """Says how this worker is, whenever somebody asks."""
    services: Services = controller.app.services
    health = Health(services.ledger.redis, controller.hostname, checks_of(services, controller))
    return Controls(services.ledger.redis, {keys.HEALTH: health.order})


class _Shutdown:
    """The first SIGTERM, or Ctrl-C, is Celery's: it waits for the jobs that run. After the grace period, or with the second, they
    are given back, and the worker leaves whatever its threads still do.
    """

    def __init__(self, services: Services, grace_s: float) -> None:
        self._services = services
        self._grace_s = grace_s
        self._asked = False

    def __call__(self, **_: object) -> None:
        again, self._asked = self._asked, True  # at once: the second signal interrupts what the first one does here
        if again:
            self._give_back()
        else:
            _later(self._grace_s, self._give_back)

    def _give_back(self) -> None:
        take_no_more()  # Celery's loop goes round once more, and would have back what is given
        self._services.give_back()
        _later(_LEAVING_S, lambda: os._exit(0))


def _later(after_s: float, call: Callable[[], object]) -> None:
    timer = threading.Timer(after_s, call)
    timer.daemon = True
    timer.start()


def _leave_what_is_there_to_itself() -> None:
    """Spare Python's garbage collector what stays anyway: 800,000 objects of torch, vLLM and the rest, which it would look through
    again and again with the interpreter's lock held, 0.5 s each time, while the engine waits for requests.
    """
    gc.collect()
    gc.freeze()


def _leave_at_once(**_: object) -> None:
    os._exit(128 + signal.SIGTERM)
