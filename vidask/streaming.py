"""Reading a job's answer while it is written: the stream in Redis, turned into events that can be taken up again anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import redis

from vidask import keys
from vidask.errors import InvalidJob
from vidask.ledger import resolved

#: Id of what the row adds when the job has ended; nothing comes after it.
_END = "end"
_START = "0-0"
_ID = re.compile(r"\d{1,19}-\d{1,19}")
#: Shorter than the time after which a connection counts as dead.
_LONGEST_READ_S = 1.0


@dataclass(frozen=True)
class StreamEvent:
    """A piece of an answer, or the news that it is written anew.

    Attributes:
        id: to go on behind this event, after a lost connection or in another process.
        kind: `text`, or `restart`: a worker died, or another model goes on: the answer is written anew and all text before is void.
        text: what is to be appended to the text so far; empty at a restart.
    """

    id: str
    kind: Literal["text", "restart"]
    text: str = ""


class StreamReader:
    """Reads one job's stream from a place on, and knows how much of the answer its caller has.

    Args:
        connection: to Redis.
        job_id: whose stream.
        after: id of the last event that the caller has; empty where it has none.

    Raises:
        InvalidJob: `after` is no event's id.
    """

    def __init__(self, connection: redis.Redis, job_id: str, after: str) -> None:
        if after not in ("", _END) and not _ID.fullmatch(after):
            raise InvalidJob(f"after: {after!r} is no event's id; give the id of a StreamEvent, or leave it out")
        self.ended = after == _END
        self._redis = connection
        self._key = keys.stream(job_id)
        self._given = after
        self._read_from = after or _START
        self._attempt = 0
        #: Characters of that attempt that the caller has; None where it has some and it is not known how many.
        self._has: int | None = None if after else 0

    def read(self, timeout_s: float) -> list[StreamEvent]:
        """The next events; none when nothing was written for that many seconds, or for one."""
        if self._has is None and self._read_from == self._given:
            self._find_place()
        block_ms = max(int(min(timeout_s, _LONGEST_READ_S) * 1000), 1)  # 0 would be for ever
        reply = resolved(self._redis.xread({self._key: self._read_from}, block=block_ms))
        return [event for _, entries in reply for entry_id, fields in entries for event in self._take(entry_id, fields)]

    def rest(self, attempt: int, text: str) -> Iterator[StreamEvent]:
        """What the caller lacks of a job that has ended.

        Args:
            attempt: the one that made the answer.
            text: all of the answer.
        """
        if self._given == _END:
            return
        if attempt != self._attempt:
            yield from self._start_over()
        if left := text[self._has :]:
            yield StreamEvent(_END, "text", left)

    def _find_place(self) -> None:
        """How much the caller has, from the event that it had last; where the stream has lost that, it starts over."""
        found = resolved(self._redis.xrange(self._key, self._given, self._given))
        if found:
            self._note(found[0][1])
        else:
            self._read_from = _START

    def _take(self, entry_id: str, fields: Mapping[str, str]) -> Iterator[StreamEvent]:
        self._read_from = entry_id
        if _END in fields:
            self.ended = True
            return
        if int(fields["attempt"]) != self._attempt or int(fields["at"]) != self._has:
            yield from self._start_over()
        self._note(fields)
        self._given = entry_id
        yield StreamEvent(entry_id, "text", fields["text"])

    def _start_over(self) -> Iterator[StreamEvent]:
        """The news of it, with the id of the event before: who goes on behind that one hears it again."""
        if self._has != 0:
            yield StreamEvent(self._given, "restart")
        self._has = 0

    def _note(self, fields: Mapping[str, str]) -> None:
        self._attempt, self._has = int(fields["attempt"]), int(fields["upto"])
