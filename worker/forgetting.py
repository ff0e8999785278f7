"""Forgetting a video: what is said, what is shown, or both, by when each was indexed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipeline.documents import frame_ids_within, is_transcript_id
from pipeline.kept_pictures import KeptPictures
from pipeline.store import ChromaStore

_IDS_OF: Mapping[str, Callable[[str], bool]] = {
    "index_transcript": is_transcript_id,
    "index_frames": frame_ids_within(0.0, None),
}


def remove(store: ChromaStore, pictures: KeptPictures, tenant: str, video_id: str, kinds: frozenset[str]) -> int:
    """Remove what jobs of these kinds have indexed of a video; returns how many chunks and frames that were."""
    if "index_frames" in kinds:
        pictures.forget(tenant, video_id)
    if kinds == _IDS_OF.keys():
        return store.forget(tenant, video_id)
    return sum(store.replace(tenant, video_id, [], [], replaced=_IDS_OF[kind]) for kind in kinds)
