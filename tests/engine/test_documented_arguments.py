"""The documentation's arguments for the engine are ones that vLLM has."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Iterator

import pytest

from tests.pages import Page, english
from tests.shell import commands


def _named(page: Page) -> Iterator[str]:
    exported: dict[str, str] = {}
    for block in page.blocks:
        if block.language == "toml":
            yield from tomllib.loads(block.text).get("vllm_config", {})
        elif block.language == "sh":
            for command in commands(block.text, exported):
                yield from json.loads(command.variables.get("VLLM_CONFIG", "{}"))


@pytest.mark.parametrize("page", [page for page in english() if any(_named(page))], ids=str)
def test_every_argument_that_a_page_gives_to_the_engine_exists(page: Page) -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs

    assert {*_named(page)} <= {field.name for field in dataclasses.fields(AsyncEngineArgs)}
