"""An asyncio event loop on a thread of its own, for code that is not asynchronous itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_END: Any = object()


class EventLoopThread:
    """Runs coroutines of other threads, and of other loops, on one loop.

    Cancelling what `submit` returns cancels the coroutine.
    """

    def __init__(self, name: str = "event-loop") -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine; what it returns or raises is found in the future."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and wait for it. Not from a coroutine on the loop itself, which would wait for itself for ever."""
        future = self.submit(coroutine)
        try:
            return future.result()
        except BaseException:  # Ctrl-C, say: nobody waits any more
            future.cancel()
            raise

    async def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine that belongs to this loop, from any loop."""
        if asyncio.get_running_loop() is self.loop:
            return await coroutine
        return await asyncio.wrap_future(self.submit(coroutine))

    def iterate(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        """Go through an asynchronous generator of this loop; leaving early closes it."""
        try:
            while (item := self.run(_next(items))) is not _END:
                yield item
        finally:
            self.run(items.aclose())

    async def aiterate(self, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """The same from any loop."""
        try:
            while (item := await self.call(_next(items))) is not _END:
                yield item
        finally:
            await self.call(items.aclose())

    def close(self) -> None:
        """Cancel what still runs, wait until it has ended, and end the thread."""
        self.run(_cancel_others())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()


async def _next(items: AsyncGenerator[T, None]) -> T:
    return await anext(items, _END)


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
