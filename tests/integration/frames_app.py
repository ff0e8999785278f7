"""A worker that reads pictures when a test lets it: texts stand for pictures. The store is real; there are no models.

celery -A tests.integration.frames_app worker
"""

from __future__ import annotations

import asyncio

from config import Settings
from pipeline.pictures import ReadPicture
from tests.redis_users import as_admin
from tests.services import with_a_store
from vidask.connection import connect
from vidask.errors import InvalidFrame
from worker.factory import create_app

#: How many pictures this worker has begun to read, and how many it may; as many as it likes where nothing is said.
BEGUN = "frames:begun"
MAY = "frames:may"
#: A picture that cannot be used.
BROKEN = b"broken"

_settings = Settings.from_environment()
#: For what is the test's own, which the worker's user may not touch.
_redis = connect(as_admin(_settings.redis_url))


class PatientReaders:
    """Reads pictures that are texts, each in its turn."""

    async def read(self, data: bytes, *, asked: bool = False) -> ReadPicture:  # noqa: ARG002  all wait alike
        number = int(str(_redis.incr(BEGUN)))
        while (may := _redis.get(MAY)) is not None and number > int(str(may)):  # noqa: ASYNC110  another process says so
            await asyncio.sleep(0.05)
        if data == BROKEN:
            raise InvalidFrame("it is broken; draw another")  # noqa: EM101
        return ReadPicture(text=data.decode(), jpeg=b"", small=data, width=1, height=1)


app = create_app(_settings, lambda settings: with_a_store(settings, lambda _: PatientReaders()))
