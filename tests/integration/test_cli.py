"""The command `vidask`, run as a process the way a person or a script runs it."""

import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
import redis

from tests.by_hand import WorkerByHand, worker_by_hand
from tests.drawing import png, slide
from tests.redis_users import as_admin
from tests.support import LECTURE, wait_for
from tests.terminal import VIDASK, Terminal
from vidask import Client, keys
from worker.claims import Claim

LECTURES = Path(__file__).parents[2] / "examples" / "lectures"


@pytest.fixture
def vidask(worker: str, tenant: str, tmp_path: Path) -> Terminal:
    return Terminal(worker, tenant, tmp_path)


@pytest.fixture
def idle_vidask(idle_redis_url: str, tenant: str, tmp_path: Path) -> Terminal:
    return Terminal(idle_redis_url, tenant, tmp_path)


@pytest.fixture
def hand(idle_redis_url: str) -> Iterator[WorkerByHand]:
    with worker_by_hand(idle_redis_url) as hand:
        wait_for("the worker listens", lambda: hand.connected)
        yield hand


def test_a_folder_of_subtitles_is_indexed_one_job_a_file(vidask: Terminal) -> None:
    done = vidask("index", str(LECTURES), "--wait")
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [(name, report) for _, name, report in lines] == [
        ("01-decision-trees", "109 cues, 13 chunks"),
        ("02-gradient-descent", "109 cues, 13 chunks"),
        ("03-neural-networks", "108 cues, 13 chunks"),
    ]
    assert done.stderr == ""


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_indexed(vidask: Terminal) -> None:
    folder = vidask.folder / "subs"
    (folder / "week1").mkdir(parents=True)
    (folder / "week1" / "good.vtt").write_text(LECTURE)
    (folder / "picture.srt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20)
    (folder / "empty.srt").write_text("")
    (folder / "utf16.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nGrüße\n", encoding="utf-16")
    (folder / "notes.docx").write_text("not a subtitle")

    done = vidask("index", "subs", "--wait", "--json")

    assert done.returncode == 1
    indexed = {entry["video_id"]: entry["status"] for entry in map(json.loads, done.stdout.splitlines())}
    assert indexed == {"utf16": "succeeded", "week1/good": "succeeded"}
    complaints = done.stderr.splitlines()
    assert len(complaints) == 2
    assert any("picture.srt" in line for line in complaints)
    assert any("empty.srt" in line for line in complaints)


def test_a_transcript_that_fails_in_the_worker_is_named(vidask: Terminal) -> None:
    (vidask.folder / "prose.srt").write_text("no times at all")
    done = vidask("index", "prose.srt", "--wait")
    assert done.returncode == 1
    assert re.fullmatch(r"vidask: prose: .*SRT.*\n", done.stderr)


def test_two_files_for_one_video_are_refused(vidask: Terminal) -> None:
    for folder in ("a", "b"):
        (vidask.folder / folder).mkdir()
        (vidask.folder / folder / "intro.vtt").write_text(LECTURE)
    done = vidask("index", "a", "b")
    assert done.returncode == 1
    assert "would both be video 'intro'" in done.stderr


def test_a_conversation_is_kept_in_a_file(vidask: Terminal) -> None:
    vidask("index", str(LECTURES), "--wait")
    first = vidask("ask", "What is a decision tree?", "--history", "talk.json")
    second = vidask("ask", "And why does it overfit?", "--history", "talk.json")
    assert "is a model that predicts" in first.stdout
    assert "every leaf holds a single example" in second.stdout
    assert re.search(r"^\[\d\]\t\[01-decision-trees 03:\d\d–03:\d\d\]\t", second.stdout, re.MULTILINE)
    turns = json.loads((vidask.folder / "talk.json").read_text())
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user", "assistant"]


def test_a_question_may_be_limited_to_a_stretch_of_a_video(vidask: Terminal) -> None:
    (vidask.folder / "talk.vtt").write_text(LECTURE)
    vidask("index", "talk.vtt", "--wait")
    done = vidask("ask", "Why does a tree overfit?", "--video", "talk", "--from", "2:00", "--to", "0:04:00", "--json")
    answer = json.loads(done.stdout)
    assert [citation["start_s"] for citation in answer["citations"]] == [180.0]


def test_a_question_may_be_about_a_picture(vidask: Terminal) -> None:
    (vidask.folder / "slide.png").write_bytes(png(slide("Cost complexity pruning", ["The penalty alpha is 0.015"])))
    done = vidask("ask", "What is the penalty?", "--picture", "slide.png")
    assert "0.015" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ask", ""], "question: is empty"),
        (["ask", "What?", "--from", "soon"], "'soon' is not a time; write 90, 1:30 or 1:02:03"),
        (["ask", "What?", "--from", "5:00", "--to", "1:00"], "the time range ends at 60 s before it starts at 300 s"),
        (["ask", "What?", "--video", "tlak"], "video 'tlak' is not indexed"),
        (["ask", "What?", "--history", "broken.json"], "broken.json: "),
        (["ask", "What?", "--picture", "lost.png"], "lost.png: no such file or directory; name an image file"),
        (["ask", "What?", "--picture", "broken.json"], "picture 1: "),
        (["status", "nope"], "job 'nope' is not known to tenant"),
        (["cancel", "nope"], "job 'nope' is not known to tenant"),
        (["index", "missing.srt"], "missing.srt"),
        (["index", "empty-folder"], "empty-folder holds no subtitles"),
        (["batch", "missing.jsonl", "--out", "x"], "missing.jsonl cannot be read"),
        (["--tenant", "a b", "status", "x"], "tenant: 'a b' does not match"),
        (["--redis-url", "nonsense", "status", "x"], "'nonsense' is not a Redis address"),
    ],
)
def test_what_is_wrong_is_one_line_on_stderr(arguments: list[str], said: str, vidask: Terminal) -> None:
    (vidask.folder / "broken.json").write_text('[{"role": "wizard", "content": "x"}]')
    (vidask.folder / "empty-folder").mkdir()
    done = vidask(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def _questions(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n")


def test_a_batch_names_the_line_that_does_not_parse_and_answers_the_others(vidask: Terminal) -> None:
    (vidask.folder / "talk.vtt").write_text(LECTURE)
    vidask("index", "talk.vtt", "--wait")
    _questions(
        vidask.folder / "questions.jsonl",
        [
            json.dumps({"question": "What is pruning?", "video_ids": ["talk"]}),
            '{"question": "cut off',
            json.dumps({"question": "Why does it overfit?", "history": [{"role": "user", "content": "And a tree?"}]}),
            json.dumps({"question": "What?", "video_ids": ["nowhere"]}),
        ],
    )
    done = vidask("batch", "questions.jsonl", "--out", "answers.jsonl")
    assert done.returncode == 1
    assert done.stdout == "4 questions, 4 asked now, 2 failed\n"
    assert "line 2" in done.stderr
    assert "line 4: video 'nowhere' is not indexed" in done.stderr
    answers = [json.loads(line) for line in (vidask.folder / "answers.jsonl").read_text().splitlines()]
    assert [answer["status"] for answer in answers] == ["succeeded", "invalid", "succeeded", "failed"]
    assert "Pruning removes" in answers[0]["answer"]["text"]


def test_a_batch_that_was_killed_goes_on_where_it_stopped(vidask: Terminal, worker: str) -> None:
    (vidask.folder / "talk.vtt").write_text(LECTURE)
    vidask("index", "talk.vtt", "--wait")
    questions = [json.dumps({"question": f"What is pruning, number {number}?"}) for number in range(300)]
    _questions(vidask.folder / "questions.jsonl", questions)
    command = [VIDASK, "batch", "questions.jsonl", "--out", "answers.jsonl"]
    out = vidask.folder / "answers.jsonl"

    with subprocess.Popen(command, env=vidask.env, cwd=vidask.folder) as run:
        wait_for("some questions are answered", lambda: out.exists() and out.read_text().count("\n") >= 20)
        run.kill()
    with out.open("a") as cut_off:
        cut_off.write('{"line": 999, "ques')
    answered = out.read_text().count("\n")
    done = vidask("batch", "questions.jsonl", "--out", "answers.jsonl", "--json")

    assert json.loads(done.stdout) == {"questions": 300, "asked_now": 300 - answered, "failed": 0}
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    assert [answer["line"] for answer in answers] == list(range(1, 301))
    with redis.Redis.from_url(as_admin(worker), decode_responses=True) as connection:
        attempts = {connection.hget(f"vidask:job:{answer['job_id']}", "attempt") for answer in answers}
    assert attempts == {"1"}, "no question was asked twice"
    assert vidask("batch", "questions.jsonl", "--out", "answers.jsonl").returncode == 1, (
        "a finished run is not overwritten"
    )


def test_status_and_cancel_of_a_queued_job(idle_vidask: Terminal, idle_client: Client) -> None:
    job = idle_client.ask("Never answered?")
    assert idle_vidask("status", job.id).stdout == "queued\n"
    assert json.loads(idle_vidask("cancel", job.id, "--json").stdout) == {
        "job_id": job.id,
        "cancelled": True,
        "status": "cancelled",
    }
    late = idle_vidask("cancel", job.id)
    assert late.returncode == 1
    assert "is cancelled already; only a job that has not ended can be cancelled" in late.stderr


def test_cancel_of_a_running_job(idle_vidask: Terminal, idle_client: Client, hand: WorkerByHand) -> None:
    job = idle_client.ask("Never answered?")
    claim = hand.claim(job)
    assert idle_vidask("cancel", job.id).stdout == "cancelled\n"
    assert not hand.answer(claim, "Too late.")


def test_ask_with_a_deadline(idle_vidask: Terminal, idle_redis_url: str) -> None:
    done = idle_vidask("ask", "Never answered?", "--deadline", "7.5", "--timeout", "0.1")
    assert "was still queued after 0.1 s" in done.stderr
    with redis.Redis.from_url(as_admin(idle_redis_url), decode_responses=True) as connection:
        row = connection.hgetall(keys.job_row(_job_of(connection, idle_vidask.env["VIDASK_TENANT"])))
    assert isinstance(row, dict)
    assert json.loads(row["payload"])["deadline_s"] == 7.5
    refused = idle_vidask("ask", "Never answered?", "--deadline", "0")
    assert refused.stderr == "vidask: deadline_s: 0.0: input should be greater than 0\n"


def _job_of(connection: redis.Redis, tenant: str) -> str:
    """The id of the tenant's only job, once there is one."""

    def ids() -> set[str]:
        rows = connection.scan_iter("vidask:job:*", count=1000)  # which may give a key twice
        return {row.removeprefix("vidask:job:") for row in rows if connection.hget(row, "tenant") == tenant}

    wait_for("the job is queued", ids)
    (job_id,) = ids()
    return job_id


def test_forget(vidask: Terminal) -> None:
    (vidask.folder / "talk.vtt").write_text(LECTURE)
    vidask("index", "talk.vtt", "--wait")
    assert re.fullmatch(r"talk: \d+ chunks removed\n", vidask("forget", "talk").stdout)
    assert vidask("forget", "talk").stdout == "talk: 0 chunks removed\n"


def test_without_redis_it_says_so(vidask: Terminal) -> None:
    done = vidask("--redis-url", "redis://127.0.0.1:1/0", "ask", "Anybody?")
    assert done.returncode == 1
    assert re.fullmatch(
        r"vidask: Redis at redis://127\.0\.0\.1:1/0 does not answer \(.*\); start it, .*\n", done.stderr
    )


def test_on_a_terminal_people_see_places_and_a_progress_bar(vidask: Terminal) -> None:
    shutil.copytree(LECTURES, vidask.folder / "lectures")
    seen = vidask.on_a_terminal("index", "lectures", "--wait")
    assert "Indexing" in seen
    assert "3/3" in seen
    seen = vidask.on_a_terminal("ask", "Why does a deep tree overfit?")
    assert "[01-decision-trees 03:21–03:31]" in seen


def test_on_a_terminal_people_read_the_answer_while_it_is_written(
    idle_vidask: Terminal, idle_client: Client, hand: WorkerByHand
) -> None:
    answered: list[Claim] = []

    def answer() -> None:
        claim = hand.claim(idle_client.job(_job_of(hand.admin, idle_client.tenant)))
        answered.append(claim)
        hand.streams.open(claim).write("A deep :tree: [b]over")

    worker = Thread(target=answer)
    worker.start()
    seen = ""
    for seen in idle_vidask.growing_on_a_terminal("ask", "Why?"):
        if "A deep :tree: [b]over" in seen and answered:
            hand.answer(answered.pop(), "A deep :tree: [b]overfits.")
    worker.join()
    assert seen.partition("A deep")[2].splitlines() == [" :tree: [b]overfits.", "Understood as: ?"]


def test_on_a_terminal_people_are_told_that_nobody_takes_the_job(
    idle_vidask: Terminal, idle_client: Client, hand: WorkerByHand
) -> None:
    told = "Still queued after 5 s; is a worker running?"
    seen = ""
    for seen in idle_vidask.growing_on_a_terminal("ask", "Anybody?", "--timeout", "60", fails=True):
        if told in seen:
            idle_client.job(_job_of(hand.admin, idle_client.tenant)).cancel()
    assert "Waiting for the answer" in seen
    assert told in seen


def test_ids_are_not_invented_twice(idle_client: Client) -> None:
    assert len({idle_client.ask("Same?").id for _ in range(100)}) == 100
    assert uuid.UUID(idle_client.ask("Same?").id).version == 7
