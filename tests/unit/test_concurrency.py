"""How much a worker has in hand at once, by what it is set to."""

from pathlib import Path

from config import Settings
from worker.concurrency import jobs_in_flight, pictures_in_flight


def engine(**given: object) -> Settings:
    return Settings(model_path="/models/qwen", engine_config=given)


def test_an_engine_has_half_as_many_jobs_and_pictures_again_as_it_answers_at_once() -> None:
    assert jobs_in_flight(engine(max_num_seqs=64)) == pictures_in_flight(engine(max_num_seqs=64)) == 96
    assert jobs_in_flight(engine(max_num_seqs=1)) == 2


def test_where_the_model_is_elsewhere_or_there_is_none_sixteen_jobs_are_in_flight(tmp_path: Path) -> None:
    assert jobs_in_flight(Settings(chroma_path=tmp_path)) == 16
    assert pictures_in_flight(Settings(llm_backend="ollama", llm_model="qwen")) == 64


def test_the_setting_counts_for_jobs_not_for_pictures() -> None:
    settings = Settings(model_path="/models/qwen", engine_config={"max_num_seqs": 8}, concurrency=3)
    assert (jobs_in_flight(settings), pictures_in_flight(settings)) == (3, 12)
