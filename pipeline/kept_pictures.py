"""Small copies of the indexed frames, which a vision model is shown beside what was found.

They are files, `<tenant>/<video>/<sha256>.jpg` with digests for the first two, and no part of the index: a worker that has none, on
another host say, answers without them.
"""

from __future__ import annotations

import shutil
from collections.abc import Container
from pathlib import Path

from pipeline.documents import digest
from vidask.errors import StoreUnavailable


class KeptPictures:
    """The copies of all tenants. The copies of one video are changed under its lock.

    Args:
        root: their folder, which is made with the first one: a worker that never meets a frame needs no place for them.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def keep(self, tenant: str, video_id: str, sha256: str, jpeg: bytes) -> None:
        """Keep a copy, unless it is there.

        Args:
            tenant: whose video.
            video_id: the video.
            sha256: of the frame that it is a copy of.
            jpeg: the copy.

        Raises:
            StoreUnavailable: it cannot be written.
        """
        file = self._file(tenant, video_id, sha256)
        if file.exists():
            return
        half = file.with_suffix(
            ".half"
        )  # seen by nobody, and forgotten with the next change where this worker ends here
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            half.write_bytes(jpeg)
            half.replace(file)
        except OSError as error:
            msg = f"pictures cannot be kept in {self._root} ({error.strerror}); free space there, or set VIDASK_PICTURES_PATH"
            raise StoreUnavailable(msg) from error

    def load(self, tenant: str, video_id: str, sha256: str) -> bytes | None:
        """The copy of a frame; None where it is not here."""
        try:
            return self._file(tenant, video_id, sha256).read_bytes()
        except OSError:
            return None

    def forget_all_but(self, tenant: str, video_id: str, wanted: Container[str]) -> None:
        """Remove the copies of a video's frames but those with these SHA-256."""
        folder = self._folder(tenant, video_id)
        for file in folder.iterdir() if folder.exists() else ():
            if file.suffix != ".jpg" or file.stem not in wanted:
                file.unlink(missing_ok=True)

    def forget(self, tenant: str, video_id: str) -> None:
        """Remove all copies of a video's frames."""
        shutil.rmtree(self._folder(tenant, video_id), ignore_errors=True)

    def _file(self, tenant: str, video_id: str, sha256: str) -> Path:
        return self._folder(tenant, video_id) / f"{sha256}.jpg"

    def _folder(self, tenant: str, video_id: str) -> Path:
        """Digests, because two names that differ in their case would be one folder on some disks."""
        return self._root / digest(tenant) / digest(video_id)
