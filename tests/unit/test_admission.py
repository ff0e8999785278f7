"""Questions never wait for a place in the engine; a bulk import makes room while anybody asks."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest

from pipeline.llm import admission
from pipeline.llm.admission import Admission, Displaced

PLACES = 256
STAYING = 8
ENTERING = 2


class Engine:
    """Counts who is in."""

    def __init__(self) -> None:
        self.admission = Admission(PLACES)
        self.inside = 0
        self.displaced = 0
        self.begun: list[int] = []
        self.leave = asyncio.Event()

    async def caption(self, *, displaceable: bool = True) -> None:
        """As `Engine.generate` asks for one: again, where it has to make room."""
        arrival = self.admission.arrival()
        while True:
            try:
                async with self.admission.place(9, arrival, displaceable=displaceable):
                    self.begun.append(arrival)
                    await self._written()
            except Displaced:
                self.displaced += 1
            else:
                return

    def question(self) -> AbstractAsyncContextManager[None]:
        return self.admission.place(0, self.admission.arrival())

    async def _written(self) -> None:
        self.inside += 1
        try:
            await self.leave.wait()
        finally:
            self.inside -= 1


async def settle() -> None:
    """Have everything run that can run without time passing."""
    for _ in range(100):
        await asyncio.sleep(0)


def with_engine(story: Callable[[Engine], Awaitable[None]]) -> None:
    async def run() -> None:
        await story(Engine())

    asyncio.run(run())


def test_an_import_alone_has_every_place() -> None:
    async def story(engine: Engine) -> None:
        captions = [asyncio.create_task(engine.caption()) for _ in range(3 * PLACES)]
        await settle()
        assert engine.inside == PLACES
        engine.leave.set()
        await asyncio.gather(*captions)
        assert engine.inside == 0

    with_engine(story)


def test_while_somebody_asks_very_few_begin() -> None:
    async def story(engine: Engine) -> None:
        async with engine.question():
            captions = [asyncio.create_task(engine.caption()) for _ in range(PLACES)]
            await settle()
            assert engine.inside == ENTERING
        engine.leave.set()
        await asyncio.gather(*captions)

    with_engine(story)


def test_a_moment_after_the_last_question_it_has_every_place_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(engine: Engine) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        monkeypatch.setattr(loop, "time", lambda: now_s)  # it stands still: a busy machine may be away for the moment
        async with engine.question():
            captions = [asyncio.create_task(engine.caption()) for _ in range(PLACES)]
            await settle()
        await settle()
        assert engine.inside == ENTERING, "between a job's two steps nobody is let in"
        now_s += 2 * admission._LINGER_S  # noqa: SLF001  the moment itself
        await settle()
        assert engine.inside == PLACES
        engine.leave.set()
        await asyncio.gather(*captions)

    with_engine(story)


def test_who_asks_beside_a_whole_import_has_it_make_room_and_it_is_finished_later() -> None:
    async def story(engine: Engine) -> None:
        captions = [asyncio.create_task(engine.caption()) for _ in range(PLACES)]
        await settle()
        async with engine.question(), engine.question():
            await settle()
            assert engine.inside == STAYING
            assert engine.displaced == PLACES - STAYING
            assert not any(caption.done() for caption in captions)
        engine.leave.set()
        await asyncio.gather(*captions)

    with_engine(story)


def test_those_that_were_sent_away_come_again_in_their_order_and_before_those_that_never_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What they have read is in the prefix cache still."""
    monkeypatch.setattr(admission, "_LINGER_S", 0)

    async def story(engine: Engine) -> None:
        captions = [asyncio.create_task(engine.caption()) for _ in range(PLACES + 20)]
        await settle()
        async with engine.question():
            await settle()
        await settle()
        assert engine.begun == [*range(PLACES), *range(STAYING, PLACES)]
        engine.leave.set()
        await asyncio.gather(*captions)
        assert engine.begun[-20:] == [*range(PLACES, PLACES + 20)]

    with_engine(story)


def test_what_somebody_reads_along_is_not_begun_anew() -> None:
    async def story(engine: Engine) -> None:
        streams = [asyncio.create_task(engine.caption(displaceable=False)) for _ in range(PLACES)]
        await settle()
        async with engine.question():
            await settle()
            assert engine.inside == PLACES
        engine.leave.set()
        await asyncio.gather(*streams)
        assert engine.displaced == 0

    with_engine(story)


def test_a_caption_that_times_out_by_itself_is_not_begun_anew() -> None:
    async def story(engine: Engine) -> None:
        with pytest.raises(TimeoutError):
            async with engine.admission.place(9, engine.admission.arrival()):
                raise TimeoutError

    with_engine(story)


def test_questions_do_not_wait_for_places() -> None:
    async def story(engine: Engine) -> None:
        captions = [asyncio.create_task(engine.caption()) for _ in range(PLACES)]
        async with AsyncExitStack() as questions:
            for _ in range(3 * PLACES):
                await asyncio.wait_for(questions.enter_async_context(engine.question()), 1)
        engine.leave.set()
        await asyncio.gather(*captions)

    with_engine(story)


def test_one_that_is_cancelled_leaves_its_place_to_the_next() -> None:
    async def story(engine: Engine) -> None:
        captions = [asyncio.create_task(engine.caption()) for _ in range(PLACES + 2)]
        await settle()
        captions[0].cancel()  # inside
        captions[PLACES].cancel()  # waiting
        await settle()
        assert not captions[PLACES + 1].done()
        engine.leave.set()
        await asyncio.gather(*captions, return_exceptions=True)
        assert [caption.cancelled() for caption in captions].count(True) == 2
        late = asyncio.create_task(engine.caption())
        await asyncio.wait_for(late, 1)

    with_engine(story)
