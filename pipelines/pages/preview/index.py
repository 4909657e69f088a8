"""The index page: a card for each clip, failed clips first, then by detection rate.

The page contains the statistics. Its script makes the cards in batches and loads sheets as the user scrolls,
so the page opens at once with any number of clips.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from statistics import fmean
from typing import Any
from urllib.parse import quote

from ..html import render
from .facts import Subject
from .sheet import LEAST_JUMP, WIDTH, strip


def index(
    source: str, how: str, subjects: Sequence[Subject], sheets: Mapping[tuple[str, str], str], frames: int
) -> str:
    """Return the HTML of the page.

    Args:
        source: source of the clips.
        how: sentence that says how faces were found.
        subjects: all clips, in any order.
        sheets: :attr:`.Clip.key` → path of the clip's sheet, relative to the page.
        frames: frames per sheet.
    """
    ordered = sorted(subjects, key=lambda subject: subject.rank)
    paths = [subject.clip.path for subject in ordered if subject.clip.path]
    roots = {(PurePath(path).is_absolute(), PurePath(path).drive) for path in paths}
    root = os.path.commonpath([os.path.dirname(path) for path in paths]) if len(roots) == 1 else ""  # noqa: PTH120
    clips = [_row(subject, sheets.get(subject.clip.key, ""), root) for subject in ordered]
    labels = Counter(
        subject.clip.label or "" for subject in sorted(ordered, key=lambda s: s.clip.label or "")
    )
    return render(
        "preview.html",
        title=f"Faces of {PurePath(source).name or source}",
        about="avemo preview",
        how=how,
        total=len(ordered),
        failed=sum(bool(subject.problem) for subject in ordered),
        rates=[subject.track.rate for subject in ordered if subject.track],
        mean=fmean,
        missing=sum(bool(subject.track) and subject.clip.key not in sheets for subject in ordered),
        splits=_options("All splits", Counter(subject.clip.split for subject in ordered).items()),
        labels=_options("All labels", sorted(labels.items())),
        width=WIDTH,
        strip=strip(frames),
        data={"root": root, "jump": LEAST_JUMP, "clips": clips},
    )


def _options(every: str, counts: Iterable[tuple[str, int]]) -> dict[str, str]:
    return {"*": every, **{name: f"{name or 'unlabelled'} ({count:,})" for name, count in counts}}


def _row(subject: Subject, sheet: str, root: str) -> list[Any]:
    """Return a clip's values in the order of ``FIELDS`` in ``preview.js``."""
    clip, track = subject.clip, subject.track
    figures: list[float | None] = [None] * 5
    if track is not None:
        figures = [track.rate, track.seconds, track.confidence, track.smallest_face, track.largest_jump]
    return [
        clip.id,
        clip.split,
        clip.label or "",
        clip.path.removeprefix(root).lstrip("/\\") if root else clip.path,
        *(None if figure is None else round(figure, 3) for figure in figures),
        subject.problem,
        "; ".join(subject.notes),
        quote(sheet),
    ]
