"""Every key that vidask writes to Redis: type, fields, writer, life time.

| key | type | written by | lives |
| --- | --- | --- | --- |
| `vidask:job:<job id>` | hash | client (created), worker (claimed, finished) | QUEUED_TTL_S, from its end on RESULT_TTL_S |
| `celery-task-meta-<job id>` | string, JSON | worker, with the end of the job | RESULT_TTL_S |
| `vidask:stream:<job id>` | stream, about MAX_STREAM_ENTRIES entries | worker (text), whoever ends the job (end) | STREAM_TTL_S |
| `vidask:blob:<tenant>:<sha256>` | string: the bytes of a picture | client, before the jobs that name it | BLOB_TTL_S |
| `vidask:video:<tenant>:<video>` | hash | worker, when it has changed what is indexed of the video | QUEUED_TTL_S |
| `vidask:lock:<tenant>:<video>` | string | worker, while it changes what is indexed of the video | LOCK_TTL_S |
| `vidask:waiting:<line>` | sorted set: job id, when its message was sent | client, worker; removed by the claim | QUEUED_TTL_S |
| `vidask:claimed` | hash: line, when the newest job that was claimed of it had been sent | worker | QUEUED_TTL_S |
| `vidask:leases` | sorted set: id of a running job, until when its worker has it | worker | QUEUED_TTL_S |
| `vidask:deadlines` | sorted set: id of a job with a deadline, when that passes | client; removed by the sweep | QUEUED_TTL_S |
| `vidask:quarantine` | sorted set: id of a job in quarantine, since when | worker; removed by `replay` and `drop` | QUEUED_TTL_S |
| `vidask:swept` | string: when a worker last looked for what is lost | worker | QUEUED_TTL_S |
| `vidask:health:<nonce>` | list: what a worker found when it was asked how it is, JSON | worker | HEALTH_TTL_S |

The queue itself (`vidask`, `vidask.again` and their priorities, `_kombu…`) is Celery's: written and removed by it. A *line* is one
of its lists, whose messages are taken in the order in which they were sent: the queue's name, a slash and the priority.

Fields of a job's row (all strings; times are Unix seconds of Redis's own clock, with microseconds):

| field | meaning |
| --- | --- |
| `state` | queued, running, succeeded, failed, cancelled, expired, quarantined |
| `kind` | ask, index_transcript, index_frames, forget |
| `tenant` | who it belongs to |
| `payload` | the job, JSON (see `vidask/models.py`) |
| `created_at_s` | when it was accepted; of a question that was in quarantine, when it was replayed |
| `streamed` | 1 once somebody wants to read the answer as it is written; no stream is kept for a job without it |
| `line` | where its last message was sent to |
| `sent` | how often a message was sent again that seemed to be lost |
| `attempt` | how often it was claimed; it is the fencing token of the worker that claimed last |
| `crashes` | how often its worker ended, or fell silent, while it ran; at MAX_CRASHES it is set aside |
| `worker`, `started_at_s` | who claimed it, and when |
| `done`, `total` | of a job that indexes frames: how many the last attempt is done with, about, and how many there are |
| `finished_at_s` | when it reached its end |
| `result` | JSON of the result, when succeeded |
| `error_type`, `error` | name and text of the error, when it ended otherwise |

A video's hash holds, for each kind of change (`index_transcript`, `index_frames`, `forget`), the `created_at_s` of the newest job
that was applied: an older job that comes late (two workers, a redelivery) sees it and leaves the newer state alone. `batch` is
what the newest `index_frames` shares with the other jobs of its list, all of which are applied, in whatever order they come.

A job's stream holds the answer as it is written. An entry with `text` has beside it the `attempt` that wrote it, how many
characters (Unicode code points) of that attempt came before it (`at`), and how many there are with it (`upto`). Where `at` is 0
again, the job was started anew, and what came before is void. The entry with `end` is the last: the row says how the job ended.

On the channel `vidask:control` workers hear about jobs that are running: `cancel <job id>`, the job was cancelled;
`stream <job id>`, somebody wants to read its answer as it is written. And `health <nonce> <worker>` asks one worker how it is.

The end of a job is published on the channel `celery-task-meta-<job id>` (its message is the value of that key), which is
what both `Job.result` and Celery's `AsyncResult.get` listen to.
"""

from __future__ import annotations

from collections.abc import Mapping

#: The Celery queue that workers read. Lower priority numbers are served first.
QUEUE = "vidask"
#: And the one for jobs whose first message or worker was lost: at the same priority it is served before the other.
AGAIN = "vidask.again"
PRIORITY_QUESTION = 0
#: Changes to the index that take a second or so.
PRIORITY_CHANGE = 6
#: And those that take minutes.
PRIORITY_FRAMES = 9
PRIORITIES: Mapping[str, int] = {
    "ask": PRIORITY_QUESTION,
    "index_transcript": PRIORITY_CHANGE,
    "forget": PRIORITY_CHANGE,
    "index_frames": PRIORITY_FRAMES,
}

#: A job whose worker has ended or fallen silent so often while it ran is set aside.
MAX_CRASHES = 3

#: Life of a row that has not ended, or is in quarantine, seconds. Longer than any backlog may take.
QUEUED_TTL_S = 7 * 24 * 3600
#: Life of a row and its result after the end, seconds.
RESULT_TTL_S = 24 * 3600
#: Life of a job's stream after its last entry, seconds. The whole text outlives it, in the row.
STREAM_TTL_S = 3600
#: More than one attempt writes, as no entry is smaller than a token: what is dropped beyond it is void.
MAX_STREAM_ENTRIES = 10_000
#: Life of a picture's bytes after they were sent last, seconds. A job that is begun later does without the picture, and says so.
BLOB_TTL_S = 24 * 3600
#: Life of a video's lock when its worker dies holding it, seconds.
LOCK_TTL_S = 120
#: Life of what a worker found about its health, seconds; who asked waits less.
HEALTH_TTL_S = 60

#: The channel on which workers hear about jobs that are running, and the first words of its messages.
CONTROL = "vidask:control"
CANCEL = "cancel"
STREAM = "stream"
HEALTH = "health"

WAITING = "vidask:waiting:"
CLAIMED = "vidask:claimed"
LEASES = "vidask:leases"
DEADLINES = "vidask:deadlines"
QUARANTINE = "vidask:quarantine"
SWEPT = "vidask:swept"

TERMINAL_STATES = frozenset({"succeeded", "failed", "cancelled", "expired", "quarantined"})


def line(kind: str, *, again: bool = False) -> str:
    """The line in which a job of that kind waits."""
    return f"{AGAIN if again else QUEUE}/{PRIORITIES[kind]}"


def waiting(of_line: str) -> str:
    """Key of the jobs that wait in a line."""
    return WAITING + of_line


def job_row(job_id: str) -> str:
    """Key of a job's row."""
    return f"vidask:job:{job_id}"


def celery_result(job_id: str) -> str:
    """Key, and channel, of the result as Celery's `AsyncResult` reads it."""
    return f"celery-task-meta-{job_id}"


def stream(job_id: str) -> str:
    """Key of the stream of a job's answer."""
    return f"vidask:stream:{job_id}"


def health(nonce: str) -> str:
    """Key of what a worker found about its health for one who asked."""
    return f"vidask:health:{nonce}"


def blob(tenant: str, sha256: str) -> str:
    """Key of a picture's bytes. No tenant can have another's by their hash."""
    return f"vidask:blob:{tenant}:{sha256}"


def video(tenant: str, video_id: str) -> str:
    """Key of what was last applied to a video. A tenant's name holds no colon, so no two videos share a key."""
    return f"vidask:video:{tenant}:{video_id}"


def video_lock(tenant: str, video_id: str) -> str:
    """Key of the lock under which a video is changed."""
    return f"vidask:lock:{tenant}:{video_id}"
