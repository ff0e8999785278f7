"""What `python -m worker health` has a worker look at: that it takes jobs, and that what it works with answers."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig

from pipeline.chain import name_of
from pipeline.llm.sampling import sampling_arguments
from pipeline.prompts import answer_messages
from pipeline.store import ChromaStore
from vidask import keys
from vidask.errors import QueueUnavailable, UnknownVideo
from vidask.models import Sampling
from worker.health import Check
from worker.services import Services
from worker.transport import Channel

#: The shortest answer there is.
_ONE_TOKEN = Sampling(max_tokens=1)
#: Nobody's: a tenant's name holds no colon.
_NO_TENANT = "health:"
#: Redis answers a poll within a second, and the next follows at once.
_POLL_LIMIT_S = 5.0
_PAUSE_S = 0.05
#: An engine that writes at all has written a token after so long, seconds.
_WRITING_S = 0.5


def checks_of(services: Services, controller: Any) -> list[Check]:
    """The checks of one worker. Celery's `WorkController` knows its consumer."""
    parts = services.parts
    llm, *fallbacks = parts.llms
    return [
        Check("queue", lambda: _takes_jobs(controller), limit_s=2 * _POLL_LIMIT_S),
        Check("engine", lambda: _answers(llm), limit_s=20.0),
        *(Check(f"fallback {name_of(other)}", partial(_answers, other), limit_s=20.0) for other in fallbacks),
        Check("embeddings", lambda: _embeds(parts.embeddings), limit_s=10.0),
        Check("store", lambda: _finds(parts.store), limit_s=10.0),
    ]


def _takes_jobs(controller: Any) -> str:
    """Wait until Redis has answered a poll that was not over when this began; a worker that is full does not poll."""
    began = time.monotonic()
    while wrong := _what_is_wrong(controller.consumer.task_consumer, began):
        if time.monotonic() - began > _POLL_LIMIT_S:
            raise QueueUnavailable(wrong)
        time.sleep(_PAUSE_S)
    return "takes jobs"


def _what_is_wrong(consumer: Any, since: float) -> str:
    if consumer is None:
        return "it has no connection to Redis"
    channel: Channel = consumer.channel
    if missing := [queue for queue in (keys.QUEUE, keys.AGAIN) if queue not in channel.active_queues]:
        return f"it takes no jobs from {' and '.join(missing)}; it was told not to, or is connecting to Redis"
    if channel.polled_at < since and channel.qos.can_consume():
        return f"Redis has not answered its poll for jobs for {time.monotonic() - channel.polled_at:.0f} s"
    return ""


def _answers(llm: BaseChatModel) -> str:
    """One token of an answer, before all questions that wait. In a full engine it would wait as well, and is not needed."""
    if _is_writing(llm):
        return "is writing answers"
    messages = answer_messages("Is anybody there?", [])
    config: RunnableConfig = {"metadata": {"request_id": "health", "priority": keys.PRIORITY_QUESTION - 1}}
    llm.invoke(messages, config, **sampling_arguments(llm, _ONE_TOKEN))
    return "answers"


def _is_writing(llm: Any) -> bool:
    """Whether tokens come out of an engine in this process; what other servers do is not known."""
    if not hasattr(llm, "engine"):
        return False
    stats = llm.engine.stats
    before = stats.generated_tokens
    time.sleep(_WRITING_S)
    return stats.generated_tokens > before


def _embeds(embeddings: Embeddings) -> str:
    embeddings.embed_query("Is anybody there?")
    return "embeds"


def _finds(store: ChromaStore) -> str:
    """That there is nothing of nobody's is an answer of the store."""
    with suppress(UnknownVideo):
        store.search(_NO_TENANT, [])
    return "finds"
