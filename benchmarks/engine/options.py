"""What all parts of a run share, written once to `options.json`, and what each part found, in `<part>.json` beside it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

#: The same for everyone; that goes for what vLLM would choose by how it is called (offline, server), too.
ENGINE: dict[str, Any] = {
    "load_format": "dummy",
    "max_model_len": 8192,
    "max_num_seqs": 256,
    "max_num_batched_tokens": 8192,
    "gpu_memory_utilization": 0.85,
    "enable_prefix_caching": True,
}

_INDEXING_REQUESTS = 200

#: Where the workers of a part find the run's folder.
FOLDER_VARIABLE = "VIDASK_BENCHMARK_FOLDER"


class NotMeasured(LookupError):
    """What another part was to find is not there. One line."""


@dataclass(frozen=True)
class Options:
    """One run.

    Attributes:
        model: folder of the model.
        out: folder of what is found, and of the logs.
        library: folder of the index; it can be shared by runs with different models.
        jobs: questions that are measured.
        rounds: how often the whole system answers all of them.
        engine: vLLM's engine arguments.
        embedding_device: where MiniLM runs, for everyone.
    """

    model: str
    out: str
    library: str
    jobs: int
    rounds: int
    engine: dict[str, Any]
    embedding_device: str

    @property
    def folder(self) -> Path:
        """`out` as a path."""
        return Path(self.out)

    @property
    def chroma(self) -> Path:
        """`library` as a path."""
        return Path(self.library)

    @property
    def running(self) -> Path:
        """Folder of what belongs to one part alone."""
        return self.folder / "running"

    @property
    def slides(self) -> Path:
        """Folder of the pictures that parts about frames share."""
        return self.folder / "slides"

    @property
    def in_flight(self) -> int:
        """Jobs that a worker holds at a time: half as many again as the engine runs, so that it never waits for the next."""
        return self.engine["max_num_seqs"] * 3 // 2

    @property
    def indexing_requests(self) -> int:
        """Indexing jobs that need the model at a time; fewer for a small engine, which has no threads for so many."""
        return min(_INDEXING_REQUESTS, self.engine["max_num_seqs"])

    def save(self) -> None:
        """Write them for the parts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "options.json").write_text(json.dumps(asdict(self), indent=2))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote."""
        return cls(**json.loads((folder / "options.json").read_text()))

    @classmethod
    def from_environment(cls) -> Self:
        """Inside a part's worker."""
        return cls.load(Path(os.environ[FOLDER_VARIABLE]))

    def write(self, part: str, found: Any) -> None:
        """Keep what a part found."""
        (self.folder / f"{part}.json").write_text(json.dumps(found, indent=1))

    def found(self, part: str) -> Any:
        """What a part found earlier.

        Raises:
            NotMeasured: it has not run, or failed.
        """
        try:
            return json.loads((self.folder / f"{part}.json").read_text())
        except FileNotFoundError:
            msg = f"{self.out} holds nothing of part {part!r}; run it first, with the same --out"
            raise NotMeasured(msg) from None
