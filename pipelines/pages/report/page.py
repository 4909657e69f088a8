"""Renders the report page."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from ..html import render
from . import figures
from .published import published
from .results import RunResults, mean_of

if TYPE_CHECKING:
    from ....fusion.training.cards import Card


def report_page(runs: Sequence[RunResults]) -> str:
    """Return the HTML of a report on runs."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    from ....fusion.evaluation.calibration import BINS

    notes = sorted({run.card.facts.get("demo") or "" for run in runs} - {""})
    notes += [f"{run.name}: {mark}" for run in runs for mark in run.card.facts.get("marks", [])]
    return render(
        "report.html",
        title="Emotion recognition report",
        about=", ".join(run.name for run in runs),
        notes=notes,
        runs=runs,
        figures=figures,
        published=published,
        settings=settings,
        mean_of=mean_of,
        mean=mean,
        stdev=stdev,
        bins=BINS,
        plotly=Markup(get_plotlyjs()),
    )


def settings(card: Card) -> dict[str, Any]:
    """Return the settings of a run as name → value."""
    given, facts = card.settings, card.facts
    program, *options = map(str, facts.get("command") or ["?"])
    parts = {**given["head"], **given["training"]}
    own = {name: given.get(name) for name in ("seed", "fit_on", "folds", "normalise", "selection")}
    rows = {
        "made by": f"avemo {facts.get('avemo', '?')}, a {card.kind} run",
        "command": shlex.join([PurePath(program).name, *options]),
        "clips": facts.get("clips", {}),
        "training clips": facts.get("train_counts", {}),
        **{
            f"{name} feature": f"{part['name']}, {part['dimensions']} values"
            for name, part in given["features"].items()
        },
        **parts,
        **{name: value for name, value in own.items() if value not in (None, {})},
        "members": facts["members"],
        **({"calibration": facts["calibration"]} if "calibration" in facts else {}),
    }
    return {name: _pairs(value) if isinstance(value, Mapping) else value for name, value in rows.items()}


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)
