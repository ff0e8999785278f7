"""What the videos are called whose files were given on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vidask.errors import InvalidJob


def named(files: list[Path], video_id: str | None, *, suffixes: tuple[str, ...], kind: str) -> dict[str, Path]:
    """The files by their videos' ids: a file's name without its ending, in a folder with the folders between.

    Args:
        files: files, and folders that are searched for names with one of the suffixes.
        video_id: the id of the only file.
        suffixes: in small letters, with their dots.
        kind: what such files are, in the plural.

    Raises:
        InvalidJob: two files would be one video, and undo each other; a folder holds none; or an id was given for several.
    """
    found = [(name, path) for given in files for name, path in _find(given, suffixes, kind)]
    if video_id is not None:
        if len(found) != 1:
            raise InvalidJob(f"--video-id names one video, and {len(found)} files were given; leave it out")
        return {video_id: found[0][1]}
    by_name: dict[str, Path] = {}
    for name, path in found:
        if name in by_name:
            raise InvalidJob(
                f"{by_name[name]} and {path} would both be video {name!r}; rename one, or index its folder's parent"
            )
        by_name[name] = path
    return by_name


def _find(given: Path, suffixes: tuple[str, ...], kind: str) -> Iterator[tuple[str, Path]]:
    if not given.is_dir():
        yield given.stem, given
        return
    paths = sorted(path for path in given.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    if not paths:
        raise InvalidJob(f"{given} holds no {kind}; their names end in {', '.join(suffixes)}")
    for path in paths:
        yield str(path.relative_to(given).with_suffix("")), path
