"""The index page: a card for each clip, failed clips first, then by detection rate.

The page holds the figures and loads sheets as they are scrolled to; cards are made by its script, some at a
time, so that it opens at once however many there are.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from statistics import fmean
from typing import Any
from urllib.parse import quote

from .... import __version__
from ..html import Html, element, page, percent
from .facts import Subject
from .sheet import LEAST_JUMP, WIDTH, strip

SORTS = {
    "rate": "Detection rate, lowest first",
    "confidence": "Confidence, lowest first",
    "smallest": "Smallest face first",
    "jump": "Largest jump first",
    "seconds": "Duration, longest first",
    "name": "Name",
}
SHOW = {
    "all": "All clips",
    "failed": "Failed",
    "noted": "With a note",
    "faceless": "Without a face",
    "gaps": "Face lost at times",
}


def index(
    source: str, about: str, subjects: Sequence[Subject], sheets: Mapping[tuple[str, str], str], frames: int
) -> str:
    """The page.

    Args:
        source: what the clips were taken from.
        about: how their faces were found.
        subjects: all clips, in any order.
        sheets: by :attr:`.Clip.key`, the path of a clip's sheet as seen from the page; without those that
            have none.
        frames: on each sheet.
    """
    ordered = sorted(subjects, key=lambda subject: subject.rank)
    height, below = strip(frames)
    shape = f"--strip: {WIDTH} / {height}; --below: {below / height:.4f}"
    told = [element("p", f"{about} A click, or Enter, opens a clip's sheet; ← and → go on from there.")]
    missing = sum(bool(subject.track) and subject.clip.key not in sheets for subject in ordered)
    if missing:
        text = (
            f"{missing:,} of {len(ordered):,} clips have no sheet yet: they are drawn of those in which the "
            "face was found least, and --sheets says of how many."
        )
        told.append(element("p", text, class_="note"))
    body = [
        _tiles(ordered),
        *told,
        _controls(ordered),
        element("ol", id="list", style=shape),
        element("noscript", element("p", "This page needs JavaScript to list the clips.", class_="note")),
        _dialog(),
        _data(ordered, sheets),
    ]
    footer = f"avemo {__version__} preview"
    return page(
        f"Faces of {PurePath(source).name or source}",
        "avemo preview",
        body,
        footer,
        ["preview.css"],
        ["preview.js"],
    )


def _tiles(subjects: Sequence[Subject]) -> Html:
    tracks = [subject.track for subject in subjects if subject.track is not None]
    failed = sum(bool(subject.problem) for subject in subjects)
    figures = [(f"{len(subjects):,}", "clip" if len(subjects) == 1 else "clips")]
    if failed:
        figures.append((f"{failed:,}", "failed"))
    if tracks:
        figures += [
            (percent(fmean(track.rate for track in tracks)), "of frames with the face, on average"),
            (f"{sum(not track.faces for track in tracks):,}", "without any face"),
            (f"{sum(0 < track.rate < 1 for track in tracks):,}", "whose face is lost at times"),
        ]
    return element(
        "div", *(element("div", element("b", n), what, class_="tile") for n, what in figures), class_="tiles"
    )


def _controls(subjects: Sequence[Subject]) -> Html:
    splits = Counter(subject.clip.split for subject in subjects)
    labels = Counter(subject.clip.label or "" for subject in subjects)
    named = {name: f"{name or 'unlabelled'} ({count:,})" for name, count in sorted(labels.items())}
    parts = {name: f"{name} ({count:,})" for name, count in splits.items()}
    return element(
        "form",
        element("label", "Find ", element("input", id="find", type="search", placeholder="id, path, reason")),
        _choice("show", "Show ", SHOW),
        *([_choice("split", "Split ", {"*": "All splits", **parts})] if len(parts) > 1 else []),
        *([_choice("label", "Label ", {"*": "All labels", **named})] if len(named) > 1 else []),
        _choice("sort", "Sort ", SORTS),
        element("button", "Reverse", type="button", id="reverse", aria_pressed="false"),
        element("output", "", id="count", aria_live="polite"),
        id="controls",
        role="search",
    )


def _choice(name: str, title: str, options: Mapping[str, str]) -> Html:
    choices = [element("option", text, value=value) for value, text in options.items()]
    return element("label", title, element("select", *choices, id=name))


def _dialog() -> Html:
    head = element(
        "header",
        element("h2", "", id="name"),
        element("button", "←", type="button", id="previous", aria_label="previous clip"),
        element("button", "→", type="button", id="next", aria_label="next clip"),
        element("button", "Close", type="button", id="close"),
    )
    sheet = element("div", id="sheet", tabindex=0, aria_label="contact sheet")
    return element("dialog", head, element("p", "", id="told"), sheet, id="large", aria_labelledby="name")


def _data(subjects: Sequence[Subject], sheets: Mapping[tuple[str, str], str]) -> Html:
    """All clips as JSON, each an array in the order that ``preview.js`` names."""
    paths = [subject.clip.path for subject in subjects if subject.clip.path]
    root = os.path.commonpath([os.path.dirname(path) for path in paths]) if _comparable(paths) else ""  # noqa: PTH120
    rows = [_row(subject, sheets.get(subject.clip.key), root) for subject in subjects]
    text = json.dumps(
        {"root": root, "jump": LEAST_JUMP, "clips": rows}, ensure_ascii=False, separators=(",", ":")
    )
    return element("script", Html(text.replace("<", "\\u003c")), type="application/json", id="clips")


def _comparable(paths: Sequence[str]) -> bool:
    """Whether these have a folder in common: all absolute, on one drive, or all relative."""
    parts = {(PurePath(path).is_absolute(), PurePath(path).drive) for path in paths}
    return len(parts) == 1


def _row(subject: Subject, sheet: str | None, root: str) -> list[Any]:
    clip, track = subject.clip, subject.track
    figures: list[Any] = [None] * 5
    if track is not None:
        figures = [track.rate, track.seconds, track.confidence, track.smallest_face, track.largest_jump]
    path = clip.path.removeprefix(root).lstrip("/\\") if root else clip.path
    return [
        clip.id,
        clip.split,
        clip.label or "",
        path,
        *(None if figure is None else round(figure, 3) for figure in figures),
        subject.problem,
        "; ".join(subject.notes),
        quote(sheet) if sheet else "",
    ]
