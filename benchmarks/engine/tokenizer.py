"""A tokenizer for models that have a real shape and no weights: trained here, on what the prompts of the benchmark are made of.

A model without trained weights writes any id below its `vocab_size`. So every id is some text: what is not learned is filled with
pairs of words, which also reads back as about as many tokens as the model wrote.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END_OF_TEXT, TURN_BEGINS, TURN_ENDS = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VISION_BEGINS, VISION_ENDS, IMAGE, VIDEO = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"
SPECIAL = (END_OF_TEXT, TURN_BEGINS, TURN_ENDS, VISION_BEGINS, VISION_ENDS, IMAGE, VIDEO)

#: ChatML, the form of Qwen's conversations.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\\n' }}
{%- if message['content'] is string -%}
{{ message['content'] }}
{%- else -%}
{%- for part in message['content'] -%}
{{ part['text'] if part['type'] == 'text' else '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}
"""

_MAX_LEARNED = 8_000
#: Words of plain letters with the space before them, as byte-level BPE writes it.
_WORD = re.compile(r"Ġ[A-Za-z]+")


def write_tokenizer(folder: Path, vocab_size: int, said: Iterable[str]) -> dict[str, int]:
    """Write tokenizer and chat template; returns the ids of the special tokens, which are the last ones.

    Raises:
        ValueError: `said` holds too few words to fill the vocabulary with pairs of them.
    """
    learned = _learn([*said, *_prompt_templates()], min(_MAX_LEARNED, vocab_size // 2))
    vocab = _filled(learned["vocab"], vocab_size - len(SPECIAL))
    vocab |= {token: len(vocab) + position for position, token in enumerate(SPECIAL)}
    tokenizer = _byte_level(models.BPE(vocab=vocab, merges=[tuple(merge) for merge in learned["merges"]]))
    tokenizer.add_special_tokens(list(SPECIAL))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=TURN_ENDS, pad_token=END_OF_TEXT, chat_template=CHAT_TEMPLATE
    ).save_pretrained(folder)
    return {token: vocab[token] for token in SPECIAL}


def _learn(texts: list[str], vocab_size: int) -> dict:
    tokenizer = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return json.loads(tokenizer.to_str())["model"]


def _byte_level(model: models.BPE) -> Tokenizer:
    """Digits one by one, as Qwen has them."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _filled(learned: dict[str, int], size: int) -> dict[str, int]:
    words = [token for token in learned if _WORD.fullmatch(token)]
    pairs = ("".join(pair) for pair in itertools.product(words, repeat=2))
    fillers = itertools.islice((pair for pair in pairs if pair not in learned), size - len(learned))
    vocab = learned | {filler: len(learned) + position for position, filler in enumerate(fillers)}
    if len(vocab) < size:
        msg = f"{len(words)} words make {len(vocab)} tokens, and {size} are wanted; train on a longer text"
        raise ValueError(msg)
    return vocab


def _prompt_templates() -> Iterator[str]:
    """What surrounds the excerpts counts as text, too; a real tokenizer knows such words and marks."""
    folder = files("pipeline.prompts")
    texts = [path.read_text(encoding="utf-8") for path in folder.iterdir() if path.name.endswith(".txt")]
    yield from [*texts, *(f'<excerpt number="{n}" time="{n:02d}:{n:02d}-1:00:{n:02d}"></excerpt>\n' for n in range(60))]
