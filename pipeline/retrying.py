"""Trying again, with growing pauses, what is away and may be back in a moment: the store, the language model."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_before_delay,
    wait_exponential,
    wait_random,
)

from vidask.errors import Unavailable

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """For how long something is tried that fails with an `Unavailable` that passes. Any other error is raised at once.

    Attributes:
        for_s: no attempt begins later than this after the first, seconds.
        pause_s: the first pause, seconds; each is twice as long as the one before, and up to so much longer by chance, so that
            jobs that failed together do not come again together.
        longest_s: what the doubling ends at, seconds.
    """

    for_s: float
    pause_s: float = 0.5
    longest_s: float = 5.0

    def call(self, work: Callable[[], T]) -> T:
        """What `work` returns, in whichever attempt. The calling thread waits in the pauses.

        Raises:
            Unavailable: of the class that the last attempt raised, and saying how long it was tried.
        """
        return Retrying(**self._rules())(work)

    async def acall(self, work: Callable[[], Awaitable[T]]) -> T:
        """`call` on an event loop, which goes on in the pauses; a deadline or a cancellation ends them.

        The first attempt is made without tenacity, which takes longer than many a search; it is told of the failure of one.
        """
        try:
            return await work()
        except Unavailable as error:
            failed = [error]

        async def attempt() -> T:
            if failed:
                raise failed.pop()
            return await work()

        return await AsyncRetrying(**self._rules())(attempt)

    def _rules(self) -> dict[str, Any]:
        return {
            "retry": retry_if_exception(lambda error: isinstance(error, Unavailable) and error.passes),
            "wait": wait_exponential(self.pause_s, max=self.longest_s) + wait_random(0, self.pause_s),
            "stop": stop_before_delay(self.for_s),
            "before_sleep": _note,
            "retry_error_callback": _give_up,
        }


#: Chroma: as long as its server takes to start again. A video's lock (`keys.LOCK_TTL_S`) is held meanwhile.
STORE = Patience(for_s=30.0)
#: A request that the engine failed, a server that has too much to do: three attempts, where each fails at once.
MODEL = Patience(for_s=6.0, pause_s=1.0)


def _note(state: RetryCallState) -> None:
    """Once for each call, and not for each attempt: many jobs wait at the same time."""
    if state.attempt_number == 1:
        log.warning("trying again: %s", _error(state))


def _give_up(state: RetryCallState) -> None:
    error = _error(state)
    raise type(error)(f"{error}; tried for {state.seconds_since_start:.0f} s") from error


def _error(state: RetryCallState) -> Unavailable:
    """What the last attempt raised; tenacity asks after such attempts alone."""
    return cast("Any", state.outcome).exception()
