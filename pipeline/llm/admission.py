"""Who may be in the engine at the same time, so that a bulk import is not felt by a person who asks.

vLLM's priorities order what waits for a place. What has one already shares every step with the others, so a question beside 200
captions is decoded as slowly as they are. Therefore less urgent requests make room when somebody asks, and have all places when
nobody does: the first question sends away the newest of them, to come again in their old order. What they have read is in the
prefix cache then. The oldest stay, since what they still do, decoding, costs a step little. What costs much is to read another
picture: while somebody asks, only very few may begin.

A place is taken before the prompt is prepared, which vLLM does on one thread in the order of asking. Text takes that thread a
millisecond, a picture many: who is sent away leaves its queue, too, and nobody waits for a place with a prepared picture in memory.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

#: Requests of this priority or a lower number are urgent: they never wait here.
URGENT = 0
#: When somebody asks, one in so many of the engine's places is left to the others that are in it.
_STAYING = 32
#: And while somebody asks, another one comes in where fewer than one in so many are left.
_ENTERING = 128
#: So long after an urgent request somebody is still taken to be asking: a job's rewriting is followed by its answer, and a
#: person's question by the next.
_LINGER_S = 1.0


class Displaced(Exception):
    """A request has to make room for somebody who asks; it is to wait for a place again."""


class Admission:
    """Lets requests into one engine. For one event loop.

    Args:
        places: requests that the engine works on at the same time (`max_num_seqs`).
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._staying = max(1, places // _STAYING)
        self._entering = max(1, places // _ENTERING)
        self._urgent = 0
        self._others = 0
        self._quiet_at_s = 0.0
        self._inside: list[asyncio.Timeout] = []
        self._arrivals = itertools.count()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []  # a heap

    def arrival(self) -> int:
        """A number for a request, by which it keeps its turn where it has to come again."""
        return next(self._arrivals)

    def place(self, priority: int, arrival: int, *, displaceable: bool = True) -> AbstractAsyncContextManager[None]:
        """A place in the engine for the length of the block; waits for one where the request is not urgent.

        Args:
            priority: lower is more urgent.
            arrival: whose turn comes first, of those that wait.
            displaceable: whether it can be begun anew. What somebody has read the beginning of cannot.

        Raises:
            Displaced: out of the block of one that is neither urgent nor to stay; what it awaits is cancelled.
        """
        return self._urgent_place() if priority <= URGENT else self._other_place(arrival, displaceable=displaceable)

    @asynccontextmanager
    async def _urgent_place(self) -> AsyncGenerator[None]:
        self._urgent += 1
        self._make_room()
        try:
            yield
        finally:
            self._urgent -= 1
            loop = asyncio.get_running_loop()
            self._quiet_at_s = loop.time() + _LINGER_S
            loop.call_later(_LINGER_S, self._let_in)

    @asynccontextmanager
    async def _other_place(self, arrival: int, *, displaceable: bool) -> AsyncGenerator[None]:
        await self._turn(arrival)
        try:
            if displaceable:
                async with self._for_now():
                    yield
            else:
                yield
        finally:
            self._others -= 1
            self._let_in()

    @asynccontextmanager
    async def _for_now(self) -> AsyncGenerator[None]:
        """The block, until `_make_room` ends it."""
        stay = asyncio.timeout(None)
        self._inside.append(stay)
        try:
            async with stay:
                yield
        except TimeoutError:
            if stay.expired():
                raise Displaced from None
            raise
        finally:
            self._inside.remove(stay)

    def _make_room(self) -> None:
        """Those who came first stay, so that somebody always gets to the end."""
        for stay in self._inside[self._staying :]:
            if stay.when() is None:
                stay.reschedule(asyncio.get_running_loop().time())

    async def _turn(self, arrival: int) -> None:
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (arrival, turn))
        self._let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was let in at the same moment, and does not come
                self._others -= 1
                self._let_in()
            raise

    def _let_in(self) -> None:
        """Those who wait, in their order, as far as there are places."""
        while self._waiting and self._others < self._limit():
            _, turn = heapq.heappop(self._waiting)
            if not turn.done():  # not cancelled meanwhile
                self._others += 1
                turn.set_result(None)

    def _limit(self) -> int:
        asked = self._urgent or asyncio.get_running_loop().time() < self._quiet_at_s
        return self._entering if asked else self._places
