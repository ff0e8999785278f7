"""What a worker starts the engine with where nobody said anything, and whether the model fits on the card."""

from __future__ import annotations

import pytest

from config import Settings
from pipeline.llm.engine_arguments import card_for, check_cards, max_num_seqs, preset_arguments
from pipeline.llm.gpu import GIB, Gpu, find_gpu
from pipeline.llm.memory import check_memory, memory_needed
from pipeline.llm.model_folder import ModelFiles
from pipeline.llm.presets import CPU, PRESETS, describe_preset, preset_for
from vidask.errors import InvalidSettings

#: As the driver names and counts them.
H100 = Gpu("NVIDIA H100 80GB HBM3", 81559 * 1024**2, 80 * GIB)
L40S = Gpu("NVIDIA L40S", 46068 * 1024**2, 44 * GIB)
RTX_4090 = Gpu("NVIDIA GeForce RTX 4090", 24564 * 1024**2, 23 * GIB)
A10 = Gpu("NVIDIA A10", 23028 * 1024**2, 22 * GIB)
RTX_A4500 = Gpu("NVIDIA RTX A4500", 20470 * 1024**2, 19 * GIB)
T4 = Gpu("Tesla T4", 15360 * 1024**2, 15 * GIB)
RTX_3060 = Gpu("NVIDIA GeForce RTX 3060", 12288 * 1024**2, 12 * GIB)

QWEN_7B = {
    "text_config": {"num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584},
}
BF16 = ModelFiles("Qwen2.5-VL-7B", QWEN_7B, {"BF16": int(15.4 * GIB)})
AWQ = ModelFiles("Qwen2.5-VL-7B-AWQ", QWEN_7B | {"quantization_config": {}}, {"I32": 5 * GIB, "F16": int(1.4 * GIB)})


@pytest.mark.parametrize(
    ("gpu", "name"),
    [
        (H100, "80gb"),
        (L40S, "40gb"),
        (RTX_4090, "24gb"),
        (A10, "24gb"),
        (RTX_A4500, "20gb"),
        (T4, "16gb"),
        (RTX_3060, "16gb"),
        (None, "cpu"),
    ],
)
def test_the_preset_follows_the_card(gpu: Gpu | None, name: str) -> None:
    assert preset_for("auto", gpu).name == name


def test_a_profile_that_is_named_is_taken_whatever_the_card() -> None:
    for preset in PRESETS:
        assert preset_for(preset.name, H100) == preset


def test_every_profile_of_the_settings_has_a_preset() -> None:
    profiles = {"auto", *(preset.name for preset in PRESETS)}
    assert all(Settings(gpu_profile=profile).gpu_profile == profile for profile in profiles)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("model", "gpu"), [(BF16, H100), (BF16, A10), (BF16, RTX_A4500), (AWQ, T4)])
def test_the_model_that_a_preset_is_made_for_fits_on_its_cards(model: ModelFiles, gpu: Gpu) -> None:
    preset = preset_for("auto", gpu)
    check_memory(model, memory_needed(model, preset.arguments), gpu, preset.arguments["gpu_memory_utilization"])


def test_the_log_says_in_one_line_what_the_preset_set_what_it_did_not_and_why() -> None:
    given = {"max_num_seqs": 8, "dtype": "auto"}
    arguments = preset_arguments(Settings(model_path="/m"), {"max_position_embeddings": 4096}, A10) | given
    assert describe_preset(preset_for("auto", A10), A10, arguments, given) == (
        "preset 24gb (NVIDIA A10, 22.5 GiB): max_model_len=4096, gpu_memory_utilization=0.9; from VLLM_CONFIG: max_num_seqs=8; "
        "why: a 7B in bf16 leaves 3.3 GiB of KV cache, about 23 questions at once"
    )


def test_on_a_cpu_the_log_says_what_fits_into_its_share_of_memory() -> None:
    assert describe_preset(CPU, None, CPU.arguments, {}) == (
        "preset cpu (no GPU): max_model_len=4096, max_num_seqs=16; why: short, to fit into VLLM_CPU_KVCACHE_SPACE=1"
    )


@pytest.mark.parametrize(
    ("gpu", "model", "questions"),
    [(H100, BF16, 380), (L40S, BF16, 160), (A10, BF16, 23), (RTX_A4500, BF16, 10), (T4, AWQ, 39)],
)
def test_the_number_of_questions_that_a_preset_names_is_what_the_sum_of_the_memory_gives(
    gpu: Gpu, model: ModelFiles, questions: int
) -> None:
    """A question with its passages is about 2,700 tokens; a step needs about 1.5 GiB for itself."""
    preset = preset_for("auto", gpu)
    needed = memory_needed(model, preset.arguments)
    room = gpu.total_bytes * preset.arguments["gpu_memory_utilization"] - needed.weights_bytes - 1.5 * GIB
    assert (
        f"{room / GIB:.{0 if room > 10 * GIB else 1}f} GiB of KV cache, about {questions} questions at once"
        in preset.why
    )
    assert room / needed.token_bytes / 2700 == pytest.approx(questions, rel=0.05)


def test_how_many_questions_run_at_once_is_known_before_vllm_is_loaded() -> None:
    assert max_num_seqs(Settings(model_path="/m")) == preset_for("auto", find_gpu()).arguments["max_num_seqs"]
    assert max_num_seqs(Settings(model_path="/m", engine_config={"max_num_seqs": 5})) == 5


@pytest.mark.parametrize("number", ["8", 0, 2.5, True, None])
def test_a_number_that_is_none_is_refused(number: object) -> None:
    with pytest.raises(InvalidSettings, match=r"VLLM_CONFIG: max_num_seqs .* is not a whole number from 1"):
        max_num_seqs(Settings(model_path="/m", engine_config={"max_num_seqs": number}))


def test_the_kv_cache_of_a_token_is_the_sum_of_the_models_own_numbers() -> None:
    needed = memory_needed(BF16, {"max_model_len": 16384})
    assert needed.token_bytes == 56 * 1024
    assert needed.total_bytes == int(15.4 * GIB) + 896 * 1024**2
    assert memory_needed(BF16, {"max_model_len": 1, "kv_cache_dtype": "fp8"}).token_bytes == 28 * 1024


def test_weights_are_counted_in_the_type_that_they_are_loaded_in() -> None:
    stored_long = ModelFiles("old", {}, {"F32": 8 * GIB, "I64": 10})
    assert memory_needed(stored_long, {}).weights_bytes == 4 * GIB + 10
    assert memory_needed(stored_long, {"dtype": "float32"}).weights_bytes == 8 * GIB + 10
    assert memory_needed(BF16, {"quantization": "fp8"}).weights_bytes < 8 * GIB
    assert memory_needed(AWQ, {"quantization": "awq"}).weights_bytes == memory_needed(AWQ, {}).weights_bytes
    assert memory_needed(ModelFiles("made up", {}, None), {}).weights_bytes == 0


def test_several_cards_share_the_weights() -> None:
    needed = memory_needed(BF16, {"tensor_parallel_size": 2, "max_model_len": 1024})
    assert (needed.weights_bytes, needed.token_bytes) == (int(15.4 * GIB) // 2, 28 * 1024)


@pytest.mark.parametrize(
    "attention",
    [{"sliding_window": 4096}, {"layer_types": ["full_attention", "linear_attention"]}, {"kv_lora_rank": 512}],
)
def test_attention_that_needs_less_is_not_counted_as_the_usual_kind(attention: dict[str, object]) -> None:
    model = ModelFiles("other", QWEN_7B["text_config"] | attention, {})
    assert memory_needed(model, {"max_model_len": 131072}).total_bytes == 0


def test_a_7b_in_16_bits_on_a_small_card_says_what_it_needs_and_that_a_quantized_one_would_fit() -> None:
    with pytest.raises(InvalidSettings) as error:
        check_memory(BF16, memory_needed(BF16, {"max_model_len": 8192}), T4, 0.9)
    assert str(error.value) == (
        "model_path: 'Qwen2.5-VL-7B' needs at least 15.8 GiB of GPU memory (weights 15.4 GiB, one sequence of max_model_len 8,192 "
        "tokens 0.4 GiB), but gpu_memory_utilization 0.9 of Tesla T4 (15.0 GiB) is 13.5 GiB; name a quantized model (AWQ, GPTQ: a "
        "7B takes about 7 GiB) or a smaller one, or set tensor_parallel_size"
    )


def test_too_long_a_sequence_says_how_long_one_may_be_and_that_length_fits() -> None:
    with pytest.raises(InvalidSettings, match=r"lower max_model_len in VLLM_CONFIG to at most 90,368$") as error:
        check_memory(BF16, memory_needed(BF16, {"max_model_len": 131072}), A10, 0.9)
    fits = int(str(error.value).rpartition(" ")[2].replace(",", ""))
    check_memory(BF16, memory_needed(BF16, {"max_model_len": fits}), A10, 0.9)


def test_a_card_that_others_use_says_how_much_is_free_and_which_share_that_is() -> None:
    shared = Gpu("NVIDIA A10", A10.total_bytes, 18 * GIB)
    needed = memory_needed(BF16, {"max_model_len": 8192})
    with pytest.raises(
        InvalidSettings, match=r"only 18.0 GiB of 22.5 GiB are free; .* lower gpu_memory_utilization .* 0.8$"
    ):
        check_memory(BF16, needed, shared, 0.9)
    check_memory(BF16, needed, shared, 0.8)


def test_a_model_that_is_spread_over_cards_is_measured_by_the_smallest_of_them() -> None:
    cards = (H100, A10, T4)
    assert card_for({}, cards) == H100
    assert card_for({"tensor_parallel_size": 2}, cards) == A10
    assert card_for({"tensor_parallel_size": 2, "pipeline_parallel_size": 2}, cards) == T4
    assert card_for({"tensor_parallel_size": 2}, ()) is None


@pytest.mark.parametrize(
    ("given", "visible", "said"),
    [
        (
            {"tensor_parallel_size": 2},
            "0",
            "tensor_parallel_size 2 needs 2 cards, 1 is visible (CUDA_VISIBLE_DEVICES is '0'); make 2 visible, or lower it",
        ),
        (
            {"tensor_parallel_size": 2, "pipeline_parallel_size": 2},
            None,
            (
                "tensor_parallel_size 2 × pipeline_parallel_size 2 needs 4 cards, 1 is visible (CUDA_VISIBLE_DEVICES is not set); "
                "make 4 visible, or lower it"
            ),
        ),
    ],
)
def test_more_cards_than_are_visible_is_said_with_both_numbers(
    given: dict[str, object], visible: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(InvalidSettings) as error:
        check_cards(given, [A10])
    assert str(error.value) == f"VLLM_CONFIG: {said}"


@pytest.mark.parametrize(
    "given",
    [
        {"tensor_parallel_size": 2},
        {"tensor_parallel_size": 4, "distributed_executor_backend": "ray"},
        {"tensor_parallel_size": 4, "nnodes": 2},
    ],
)
def test_cards_that_are_here_or_on_other_hosts_are_not_missed(given: dict[str, object]) -> None:
    check_cards(given, [A10, A10])


def test_without_a_card_nothing_is_said_of_their_number() -> None:
    check_cards({"tensor_parallel_size": 2}, ())  # vllm-cpu spreads over parts of the machine
