"""The main job, end to end, on embedded defaults: index three lectures and some slides, then hold a conversation about them.

`make demo` runs it. Redis, the worker and Chroma are started for it, on this host alone, and are gone afterwards.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from examples.slides import DURATION_S, LECTURE, slides
from vidask import Answer, Client, JobError, Message, VidaskError, read_subtitles
from vidask.clock import place
from worker.embedded import redis_server, worker_process

LECTURES = Path(__file__).parent / "lectures"

#: The second and the fourth can only be understood together with what was asked before. What the last asks for stands on a slide.
CONVERSATION = (
    "What is a decision tree?",
    "And why does it overfit?",
    "What happens if the learning rate is too large?",
    "So which one should I start with?",
    "When do I have to hand in exercise sheet 1?",
)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="vidask-demo-") as temporary:
        folder = Path(temporary)
        log = folder / "worker.log"
        try:
            with _stack(folder, log) as url, Client(url) as client:
                states = Counter([*_index(client), *_look(client), *_converse(client)])
        except VidaskError as error:
            print(f"demo: {error}", file=sys.stderr)
            print(log.read_text() if log.exists() else "", file=sys.stderr)
            return 1
    print(
        f"demo: {states.total()} jobs, {states['succeeded']} succeeded, {states.total() - states['succeeded']} failed"
    )
    return 0 if states["succeeded"] == states.total() else 1


@contextmanager
def _stack(folder: Path, log: Path) -> Iterator[str]:
    begun = time.perf_counter()
    with redis_server(folder / "redis") as url:
        print(f"Redis is up ({_since(begun)}).")
        with worker_process(url, env={"VIDASK_CHROMA_PATH": str(folder / "chroma")}, log=log):
            print(f"The worker is ready: embedding model loaded, Chroma open ({_since(begun)}).\n")
            yield url


def _index(client: Client) -> Iterator[str]:
    begun = time.perf_counter()
    jobs = {path: client.index_transcript(path.stem, text=read_subtitles(path)) for path in sorted(LECTURES.iterdir())}
    print(f"{len(jobs)} transcripts queued ({_since(begun)}).")
    for path, job in jobs.items():
        report = job.result(timeout_s=60)
        steps = _steps(report.timings_s)
        print(f"  {path.name}: {report.segments} cues, {report.chunks} chunks ({steps})")
        yield job.status()


def _look(client: Client) -> Iterator[str]:
    begun = time.perf_counter()
    job = client.index_frames(LECTURE, slides(), duration_s=DURATION_S)
    report = job.result(timeout_s=60)
    print(f"  {LECTURE}: {report.indexed} of {report.frames} slides read ({_since(begun)})")
    for note in report.notes:
        print(f"  Note: {note}.")
    yield job.status()


def _converse(client: Client) -> Iterator[str]:
    history: list[Message] = []
    for question in CONVERSATION:
        print(f"\nAsked:     {question}")
        begun = time.perf_counter()
        job = client.ask(question, history=history)
        try:
            answer = job.result(timeout_s=60)
        except JobError as error:
            print(f"Failed:    {error}")
        else:
            _show(answer, begun)
            history += [Message("user", question), Message("assistant", answer.text)]
        yield job.status()
    print()


def _show(answer: Answer, begun: float) -> None:
    print(f"Rewritten: {answer.standalone_question}")
    print(f"Answer:    {answer.text}")
    for citation in answer.citations:
        print(f"           [{citation.number}] {place(citation)}")
    print(f"Took:      {_since(begun)} ({_steps(answer.timings_s)})")


def _steps(timings_s: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in timings_s.items())


def _since(begun: float) -> str:
    seconds = time.perf_counter() - begun
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


if __name__ == "__main__":
    sys.exit(main())
