"""The Redis transport, with a door: what is no Celery message is dropped with a line in the log. And with a clock: it is known when
Redis last answered.

Without it anything else that somebody pushes onto the queue's key (not JSON, no headers, a body of another shape) raises in the
middle of Celery's event loop, ends the worker, and ends it again when the message is delivered again.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from queue import Empty
from typing import Any

from celery.utils.log import get_logger
from kombu.exceptions import DecodeError
from pydantic import BaseModel, Field, JsonValue, TypeAdapter, ValidationError

from vidask import keys, transport
from vidask.validation import describe

log = get_logger(__name__)

_JSON = "application/json"
#: Jobs that change the index and run at the same time. So many frame jobs keep any engine full; more would only hold more pictures.
_MOST_CHANGES = 16
#: So soon Redis is asked for those again when as many run, seconds: one may end any moment, and Celery's own second is long for it.
_AGAIN_S = 0.05


class _Headers(BaseModel):
    """The headers of Celery's message protocol 2 that its worker takes for granted."""

    task: str
    id: str
    eta: str | None = None
    expires: str | float | None = None
    timelimit: tuple[float | None, float | None] = (None, None)
    retries: int | None = 0


class _DeliveryInfo(BaseModel):
    exchange: str = ""
    routing_key: str


class _Properties(BaseModel):
    delivery_tag: str
    delivery_info: _DeliveryInfo


class _Envelope(BaseModel):
    """A message as kombu leaves it in Redis."""

    body: str
    headers: _Headers
    properties: _Properties
    content_type: str = Field(alias="content-type")
    content_encoding: str = Field(alias="content-encoding")


#: args, kwargs and the options of Celery's canvas.
_BODY: TypeAdapter[Any] = TypeAdapter(tuple[list[JsonValue], dict[str, JsonValue], dict[str, JsonValue] | None])


class Channel(transport.Channel):
    """Reads messages; one that is not even JSON ends here.

    Attributes:
        polled_at: when Redis last answered a poll for messages, be it that there is none; on the monotonic clock.
    """

    polled_at = 0.0

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Ask Redis for the next message, of those that there is a place for."""
        steps, full_from = self.priority_steps, self._full_from()
        if full_from is not None:
            self.priority_steps = [step for step in steps if step < full_from]
            timeout = _AGAIN_S
        try:
            super()._brpop_start(timeout)  # pyright: ignore[reportAttributeAccessIssue]  not in the stubs
        finally:
            self.priority_steps = steps

    def _full_from(self) -> int | None:
        """The priority from which on as much is being worked on as may be.

        Half of the worker's places, and at most 16, are for changes to the index, and all but one of these for frames.
        """
        qos: Any = self.qos
        if not qos.prefetch_count:  # the channel on which workers are spoken to has no such limit
            return None
        working = [message for tag, message in list(qos._delivered.items()) if tag not in qos._dirty]  # noqa: SLF001
        priorities = [message.properties.get("priority") or 0 for message in working]
        changes = [priority for priority in priorities if priority >= keys.PRIORITY_CHANGE]
        places = max(1, min(qos.prefetch_count // 2, _MOST_CHANGES))
        if len(changes) >= places:
            return keys.PRIORITY_CHANGE
        frames = sum(priority >= keys.PRIORITY_FRAMES for priority in changes)
        return keys.PRIORITY_FRAMES if frames >= max(1, places - 1) else None

    def _brpop_read(self, **options: Any) -> Any:
        try:
            read = super()._brpop_read(**options)  # pyright: ignore[reportAttributeAccessIssue]  not in the stubs
        except (json.JSONDecodeError, UnicodeDecodeError, DecodeError) as error:
            log.warning("dropped from the queue: not a Celery message (%s)", error)
            read = True
        except Empty:
            self.polled_at = time.monotonic()
            raise
        self.polled_at = time.monotonic()
        return read


class Transport(transport.Transport):
    """Hands messages to the worker, those that are some."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str | None) -> None:
        try:
            if queue in (keys.QUEUE, keys.AGAIN):  # Celery's own talk between workers comes this way as well
                _check(message)
        except ValueError as error:  # pydantic's is one as well
            reason = describe(error) if isinstance(error, ValidationError) else error
            log.warning("dropped from the queue: not a Celery task (%s)", reason)
        else:
            super()._deliver(message, queue)


def _check(message: Any) -> None:
    """Raise where Celery would stumble. Content that is not JSON is left to Celery, which refuses it unopened."""
    envelope = _Envelope.model_validate(message)
    if envelope.content_type != _JSON:
        return
    try:
        body = base64.b64decode(envelope.body, validate=True)
    except binascii.Error:
        msg = "body: is not base64"
        raise ValueError(msg) from None
    _BODY.validate_json(body)
