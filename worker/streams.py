"""The answers that somebody reads while they are written: text from the chain, into the jobs' streams in Redis."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence

from celery.utils.log import get_logger
from redis.exceptions import RedisError

from vidask import keys
from vidask.ledger import Ledger, load_script, resolved
from worker.claims import Claim

#: A stream, and what is sent of it: see `JobStream.unsent`.
Part = tuple["JobStream", tuple[int, int, str]]

log = get_logger(__name__)

#: In the place of how many characters Redis holds: what it holds is void.
VOID = -1
#: Between one writing and the next: all that all jobs have written meanwhile goes in one round trip.
PAUSE_S = 0.05
#: Ids that were asked for before their jobs were opened here, and those of other workers' jobs; the claim is a moment before.
_REMEMBERED = 256


class JobStream:
    """The answer of one job. Made by `Streams.open`; every method may be called from any thread.

    Attributes:
        wanted: whether somebody reads it. Text that is written before is kept, and sent once somebody does.
    """

    def __init__(self, claim: Claim, streams: Streams) -> None:
        self.claim = claim
        self.wanted = claim.streamed
        #: Held while the text is on its way.
        self.sending = threading.Lock()
        self._streams = streams
        self._tell: Callable[[], object] | None = None
        self._new: deque[str | None] = deque()  # None where the text starts over
        self._text = ""
        self._sent = 0
        self._written = False

    def when_wanted(self, tell: Callable[[], object] | None) -> None:
        """Have this called, on the loop of the streams, when somebody begins to read; None takes that back. From the loop alone."""
        self._tell = tell

    def write(self, text: str) -> None:
        """Append text; it is sent soon, by another thread."""
        self._written = True
        self._append(text)

    def start_over(self) -> None:
        """Have readers drop the text so far, by another model than the one that goes on."""
        if self._written:
            self._written = False
            self._append(None)

    def close(self) -> None:
        """Send what is left, in one round trip, and forget the job. To be called before the row ends, not from the loop."""
        self._streams.end(self)

    def want(self) -> None:
        """Somebody reads it from now on."""
        self.wanted = True
        self._streams.loop.call_soon_threadsafe(self._wake)
        self._streams.changed(self)

    def _append(self, text: str | None) -> None:
        self._new.append(text)
        if self.wanted:
            self._streams.changed(self)

    def _wake(self) -> None:
        if self._tell is not None:
            self._tell()

    def unsent(self) -> tuple[int, int, str]:
        """How many characters Redis holds, or `VOID`; how many there are with what it lacks; and that."""
        for _ in range(len(self._new)):
            text = self._new.popleft()
            self._text, self._sent = ("", VOID) if text is None else (self._text + text, self._sent)
        return self._sent, len(self._text), self._text[max(self._sent, 0) :]

    def note(self, held: int) -> None:
        """Redis holds that many characters; below 0 the job is not this worker's any more, and nothing is sent again."""
        self._sent = len(self._text) if held < 0 else held
        if held < 0:
            self.wanted = False


class Streams:
    """Writes the streams of one worker's jobs, on a thread of its own.

    Where Redis fails, the text stays with the job and is sent with what comes next; at the end it is in the job's result anyway.

    Args:
        ledger: the rows of jobs.
        loop: the event loop on which `JobStream.when_wanted` is called, and calls.
    """

    def __init__(self, ledger: Ledger, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._append = load_script(ledger.redis, "worker", "stream")
        self._lock = threading.Lock()
        self._open: dict[str, JobStream] = {}
        self._asked_for: deque[str] = deque(maxlen=_REMEMBERED)
        self._changed: set[JobStream] = set()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)
        self._thread.start()

    def open(self, claim: Claim) -> JobStream:
        """The stream of a job that was just claimed; `JobStream.close` ends it."""
        stream = JobStream(claim, self)
        with self._lock:
            self._open[claim.job_id] = stream
            asked_for = claim.job_id in self._asked_for
        if asked_for and not stream.wanted:
            stream.want()
        return stream

    def want(self, job_id: str) -> None:
        """Somebody reads that job's answer. One that is not open here is remembered for a while: its claim may be on its way."""
        with self._lock:
            stream = self._open.get(job_id)
            if stream is None:
                self._asked_for.append(job_id)
        if stream is not None and not stream.wanted:
            stream.want()

    def close(self) -> None:
        """Stop the thread. Jobs are closed before."""
        self._closing.set()
        self._wake.set()
        self._thread.join()

    def changed(self, stream: JobStream) -> None:
        """Have a stream's text sent soon."""
        self._changed.add(stream)
        if not self._wake.is_set():
            self._wake.set()

    def end(self, stream: JobStream) -> None:
        """Send a stream's last text now, and forget it."""
        with self._lock:
            if self._open.get(stream.claim.job_id) is stream:  # not the one of a later claim
                del self._open[stream.claim.job_id]
        with stream.sending:
            if stream.wanted:
                self._send([stream])

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._wake.clear()
            self._flush()
            self._closing.wait(PAUSE_S)

    def _flush(self) -> None:
        """Send what has changed; a stream that is being closed sends its text itself."""
        streams: list[JobStream] = []
        for _ in range(len(self._changed)):  # others add to it meanwhile, and only this thread takes away
            stream = self._changed.pop()
            if stream.sending.acquire(blocking=False):
                streams.append(stream)
        try:
            self._send(streams)
        finally:
            for stream in streams:
                stream.sending.release()

    def _send(self, streams: Sequence[JobStream]) -> None:
        """One round trip for all, two where Redis holds another part of a text than was thought."""
        for _ in range(2):
            parts = [(stream, part) for stream in streams if (part := stream.unsent())[2] or part[0] == VOID]
            if not parts:
                return
            try:
                counts = self._append(keys=_keys(parts), args=_arguments(parts))
            except RedisError as error:
                self._warn(error)
                return
            self._failing = False
            for (stream, _), held in zip(parts, resolved(counts), strict=True):
                stream.note(held)

    def _warn(self, error: RedisError) -> None:
        if not self._failing:
            log.warning("answers are not streamed for now, and come whole with their results: Redis: %s", error)
        self._failing = True


def _keys(parts: Sequence[Part]) -> list[str]:
    ids = [stream.claim.job_id for stream, _ in parts]
    return [key for job_id in ids for key in (keys.job_row(job_id), keys.stream(job_id))]


def _arguments(parts: Sequence[Part]) -> list[str | int]:
    of_jobs = [item for stream, part in parts for item in (stream.claim.attempt, *part)]
    return [keys.STREAM_TTL_S * 1000, keys.MAX_STREAM_ENTRIES, *of_jobs]
