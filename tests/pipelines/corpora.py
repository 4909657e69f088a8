"""Corpora grown for tests, and what was found in them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from avemo.pipelines.corpora.clips.found import FoundClips


def plant(root: Path, clip: Path, files: Iterable[str]) -> Path:
    """Put ``clip`` under all these names below ``root``."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(clip, path)
    return root


def said(found: FoundClips) -> set[tuple[str, str | None, str | None, str]]:
    """Split, class, subject and id of each clip."""
    return {(clip.split, clip.label, clip.subject, clip.id) for clip in found.clips}
