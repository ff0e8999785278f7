"""A model small enough to be made in seconds: Qwen2.5-VL with two layers, 0.8 million parameters and nothing to say.

Everything around the weights is real: the architecture with its image path, a tokenizer, a chat template. Its answers are nonsense,
the same each time at temperature 0. They are printable ASCII and never end by themselves, so a test chooses their length with
`max_tokens`.

    python -m tests.engine.tiny_model FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)
from transformers.utils.logging import disable_progress_bar

LECTURES = Path(__file__).parents[2] / "examples" / "lectures"

VOCABULARY = 1024
CONTEXT = 32768
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
LOUDNESS = 0.3  # standard deviation of the weights; at the usual 0.02 a model this small says one token for ever

CHAT_TEMPLATE = """
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type in ('image', 'image_url') -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- else -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
""".strip()

IMAGES = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2_5_VLProcessor",
    "size": {"shortest_edge": 56 * 56, "longest_edge": 256 * 28 * 28},
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


def make_tiny_model(folder: Path) -> Path:
    """Write the model, its tokenizer and what belongs to them; the same bytes each time. Gives the folder back."""
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    model = _model(tokenizer)
    model.save_pretrained(folder)
    _write_json(folder / "preprocessor_config.json", IMAGES)
    _write_json(folder / "video_preprocessor_config.json", IMAGES | {"video_processor_type": "Qwen2VLVideoProcessor"})
    return folder


def _tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, trained on the example lectures; any text can be written with it."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator((path.read_text(encoding="utf-8") for path in sorted(LECTURES.iterdir())), trainer)
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
    )


def _model(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLForConditionalGeneration:
    torch.manual_seed(20)
    model = Qwen2_5_VLForConditionalGeneration(_config(tokenizer))
    model.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]),
        pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    )
    _silence(model, _not_to_be_said(tokenizer))
    return model


def _config(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLConfig:
    ids = tokenizer.get_vocab()
    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "initializer_range": LOUDNESS,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]},
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 2,
        "out_hidden_size": 128,
        "fullatt_block_indexes": [1],
        "initializer_range": LOUDNESS,
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
        dtype="float32",
    )


def _not_to_be_said(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Tokens that end an answer, mean nothing in one, or cannot be printed as ASCII."""
    texts = dict(enumerate(tokenizer.batch_decode([[token_id] for token_id in range(VOCABULARY)])))
    return [token_id for token_id, text in texts.items() if text in SPECIAL_TOKENS or not _plain(text)]


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


@torch.no_grad()
def _silence(model: Qwen2_5_VLForConditionalGeneration, token_ids: list[int]) -> None:
    """Take these tokens out of the model's mouth.

    The first number of each token's state is made to be 1 all the way through the layers, so that a token can be made unlikely by
    what the last layer multiplies it with.
    """
    for name, weight in model.state_dict().items():
        if name.endswith("embed_tokens.weight"):
            weight[:, 0] = 1.0
        elif "language_model" in name and name.endswith(("o_proj.weight", "down_proj.weight")):
            weight[0] = 0.0
        elif name == "lm_head.weight":
            weight[:, 0] = 0.0
            weight[token_ids, 0] = -1000.0


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    disable_progress_bar()
    make_tiny_model(Path(sys.argv[1]))
