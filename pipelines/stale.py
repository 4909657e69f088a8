"""Stored clips that a data set no longer has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .cli.framework import keep_result
from .corpora.clips.found import count_of

if TYPE_CHECKING:
    from ..cache.clips import Clip
    from ..cache.store import FeatureStore
    from .corpora.clips.find import Found

SHOWN = 3


def stale(store: FeatureStore, found: Found, root: Path) -> list[Clip]:
    """Clips of files below ``root`` that are stored, and not among ``found``.

    Clips from elsewhere are another data set's, which may share the store.
    """
    folder = os.path.join(os.path.abspath(root), "")  # noqa: PTH100, PTH118  links are left as they are
    keys = {clip.key for clip in found.clips}
    clips = (row.clip for row in store.rows if row.clip.path and row.clip.key not in keys)
    return [clip for clip in clips if os.path.abspath(clip.path).startswith(folder)]  # noqa: PTH100


def settle_stale(store: FeatureStore, found: Found, root: Path, prune: bool) -> None:
    """Say which stored clips are no longer in ``root``; with ``prune`` take them out of the store."""
    clips = stale(store, found, root)
    keep_result(no_longer_there=[str(clip) for clip in clips], pruned=prune)
    if not clips:
        return
    if prune:
        with store.writer() as writer:
            for clip in clips:
                writer.remove(clip)
        store.refresh()
    what = f"{count_of(len(clips), 'stored clip')} no longer in {root}: {named(clips)}"
    remedy = "removed from the store" if prune else "kept, and trained on; --prune removes them"
    click.echo(f"{what}; {remedy}", err=not prune)


def named(clips: Sequence[Clip]) -> str:
    """The first of some clips."""
    more = f", and {len(clips) - SHOWN} more" if len(clips) > SHOWN else ""
    return ", ".join(map(str, clips[:SHOWN])) + more
