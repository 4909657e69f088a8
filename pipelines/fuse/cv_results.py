"""Results of a cross-validation: tables on the screen, in Markdown and as CSV files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ...fusion.files import write_csv, write_text
from ..cli.table import markdown
from .notes import unscored_note, with_faces

if TYPE_CHECKING:
    from ...cache.rows import Row
    from ...fusion.evaluation.intervals import Interval, Intervals
    from ...fusion.evaluation.scores import Scores
    from ...fusion.training.crossvalidation import Design
    from ...fusion.training.selection import Choice

INTERVALS = "95 %: bootstrap intervals, drawing clips or whole subjects (too narrow with few of them)."
SPREAD = "±: standard deviation over seeds."
ECE = "ECE: expected calibration error over 15 bins."


@dataclass(frozen=True)
class ResultTable:
    """A titled table; ``name`` is that of its CSV file, ``raw`` the content of that file if it has more."""

    name: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    raw: tuple[Sequence[str], Sequence[Sequence[object]]] | None = None


@dataclass(frozen=True)
class FigureLine:
    """Figures on one set of clips: of the ensemble with intervals, or of one member with its spread.

    ``figures`` and ``spreads`` are accuracy, unweighted average recall and macro F1, 0 to 1; those of one
    member are averaged over the members.
    """

    name: str
    clips: int
    figures: Sequence[float]
    error: float
    spreads: Sequence[float] | None = None
    by_clips: Intervals | None = None
    by_subjects: Intervals | None = None

    @property
    def cells(self) -> list[object]:
        """The figures as shown under :func:`summary`'s header."""
        texts: list[object] = [self.name, self.clips]
        for place, figure in enumerate(("accuracy", "uar", "macro_f1")):
            value = f"{self.figures[place]:.3f}"
            texts.append(f"{value} ± {self.spreads[place]:.3f}" if self.spreads else value)
            if figure != "macro_f1":
                texts += [_text(getattr(own, figure, None)) for own in (self.by_clips, self.by_subjects)]
        return [*texts, self.error]

    @property
    def raw(self) -> list[object]:
        """All numbers in full, in the order of :data:`RAW`."""
        cells: list[object] = [self.name, self.clips]
        for place, figure in enumerate(("accuracy", "uar", "macro_f1")):
            cells += [self.figures[place], self.spreads and self.spreads[place]]
            for own in (self.by_clips, self.by_subjects):
                interval = getattr(own, figure, None)
                cells += [interval and interval.low, interval and interval.high]
        return [*cells, self.error]


RAW = [
    "scores",
    "clips",
    *(
        f"{figure}{ending}"
        for figure in ("accuracy", "uar", "macro_f1")
        for ending in ("", "_sd", "_low_clips", "_high_clips", "_low_subjects", "_high_subjects")
    ),
    "calibration_error",
]


@dataclass(frozen=True, eq=False)
class CrossValidated:
    """Held-out scores of each member, and how they were made.

    Attributes:
        members: scores of each member, over all held-out clips.
        design: folds, seeds and candidates.
        choices: what was chosen for each fold.
        rows: the clips.
        notes: remarks for readers of the figures.
    """

    members: Sequence[Scores]
    design: Design
    choices: Sequence[Choice]
    rows: Sequence[Row]
    notes: Sequence[str] = ()

    @cached_property
    def mean(self) -> Scores:
        """The ensemble's scores."""
        from ...fusion.evaluation.ensemble import average

        return average(self.members)

    @cached_property
    def of_folds(self) -> list[Scores]:
        """The ensemble's scores on each fold's held-out clips."""
        places = {clip: i for i, clip in enumerate(self.mean.clips)}
        return [
            self.mean.take([places[self.rows[i].clip.key] for i in fold.test]) for fold in self.design.folds
        ]

    def subjects(self, scores: Scores) -> list[str] | None:
        """Return the subject of each clip; None unless all are known and at least two differ."""
        known = {row.clip.key: row.clip.subject for row in self.rows}
        names = [known[clip] or "" for clip in scores.clips]
        return names if all(names) and len({*names}) > 1 else None


def tables(outcome: CrossValidated) -> list[ResultTable]:
    """Return all tables, in the order in which they are shown."""
    return [make(outcome) for make in (of_folds, of_members, summary, of_classes, confusion)]


def of_folds(outcome: CrossValidated) -> ResultTable:
    """Tabulate the ensemble's figures on each fold, and what was chosen for it."""
    from ...fusion.evaluation.metrics import summary as figures

    shown: dict[str, Callable[[Choice], object]] = {
        "candidate": lambda choice: outcome.design.names[choice.candidate],
        "epoch": lambda choice: choice.epochs,
        "weight": lambda choice: None if choice.weight is None else f"{choice.weight:.2f}",
    }
    chosen = outcome.design.chosen
    rows = []
    for fold, scores, choice in zip(outcome.design.folds, outcome.of_folds, outcome.choices, strict=True):
        found = figures(scores)
        row = [fold.name, len(scores.clips), found.accuracy, found.uar]
        rows.append([*row, *(shown[name](choice) for name in chosen)])
    return ResultTable(
        "folds", "Folds, members averaged", ["fold", "clips", "accuracy", "UAR", *chosen], rows
    )


def of_members(outcome: CrossValidated) -> ResultTable:
    """Tabulate each member's figures on all held-out clips."""
    from ...fusion.evaluation.metrics import summary as figures

    found = [figures(scores) for scores in outcome.members]
    rows = [
        [str(seed), each.accuracy, each.uar, each.macro_f1]
        for seed, each in zip(outcome.design.seeds, found, strict=True)
    ]
    header = ["seed", "accuracy", "UAR", "macro F1"]
    return ResultTable("members", "Members", header, rows, (["seed", "accuracy", "uar", "macro_f1"], rows))


def summary(outcome: CrossValidated) -> ResultTable:
    """Tabulate one member and the ensemble, over all clips and over those with a face."""
    sets: list[tuple[str, list[Scores]]] = [("", list(outcome.members))]
    seen = [with_faces(scores, outcome.rows) for scores in outcome.members]
    if all(seen):
        sets.append((", clips with a face", [scores for scores in seen if scores]))
    lines = [line for ending, members in sets for line in _lines(outcome, members, ending)]
    header = ["scores", "clips"]
    for figure in ("accuracy", "UAR"):
        header += [figure, "95 % clips", "95 % subjects"]
    raw = (RAW, [line.raw for line in lines])
    return ResultTable(
        "summary", "Summary", [*header, "macro F1", "ECE"], [line.cells for line in lines], raw
    )


def of_classes(outcome: CrossValidated) -> ResultTable:
    """Tabulate the ensemble's figures on each class."""
    from ...fusion.evaluation.metrics import of_classes as figures
    from ...fusion.evaluation.metrics import summary as counted

    found = figures(counted(outcome.mean))
    rows = [[each.name, each.clips, each.recall, each.precision, each.f1] for each in found]
    header = ["class", "clips", "recall", "precision", "F1"]
    return ResultTable("classes", "Classes, members averaged", header, rows)


def confusion(outcome: CrossValidated) -> ResultTable:
    """Tabulate the ensemble's confusion matrix."""
    from ...fusion.evaluation.metrics import summary as counted

    found = counted(outcome.mean)
    rows = [[name, *row] for name, row in zip(found.classes, found.confusion.tolist(), strict=True)]
    title = "Confusion, members averaged: true classes down, predicted ones across"
    return ResultTable("confusion", title, ["true", *found.classes], rows)


def calibration(outcome: CrossValidated) -> str:
    """Describe the ensemble's calibration error, before and after a temperature."""
    from ...fusion.evaluation.calibration import expected_calibration_error, tempered_by_others
    from ...fusion.evaluation.scores import joined

    before = f"ECE {expected_calibration_error(outcome.mean):.3f}"
    if len(outcome.of_folds) < 2:
        return before
    found = tempered_by_others(outcome.of_folds)
    after = expected_calibration_error(joined(scores for _, scores in found))
    low, high = (limit(temperature for temperature, _ in found) for limit in (min, max))
    return f"{before}; {after:.3f} at temperatures of {low:.2f} to {high:.2f}, each fitted on the other folds"


def write(outcome: CrossValidated, out: Path, note: str | None) -> None:
    """Write the ensemble's scores, ``results.md`` and the tables as CSV.

    Raises:
        FusionError: a file cannot be written.
    """
    outcome.mean.write(out / "scores.csv")
    marks = outcome.mean.marks_cell
    parts = ["# Cross-validation" + (f" ({marks})" if marks else ""), *([note] if note else [])]
    parts += [f"Note: {told}." for told in outcome.notes]
    unscored = unscored_note(outcome.mean)
    parts += [f"{unscored.capitalize()}."] if unscored else []
    for table in tables(outcome):
        header, rows = table.raw or (table.header, table.rows)
        file = out / "results.csv" if table.name == "members" else out / "tables" / f"{table.name}.csv"
        if marks:
            header, rows = [*header, "marks"], [[*row, marks] for row in rows]
        write_csv(file, header, rows)
        parts += [f"## {titled(table, marks)}", markdown(table.header, table.rows)]
        if table.name == "summary":
            parts += [" ".join((SPREAD, INTERVALS, ECE)), f"Calibration: {calibration(outcome)}."]
    write_text(out / "results.md", "\n\n".join(parts) + "\n")


def titled(table: ResultTable, marks: str) -> str:
    """Return the title, followed by the marks."""
    return f"{table.title} ({marks})" if marks else table.title


def _lines(outcome: CrossValidated, members: Sequence[Scores], ending: str) -> list[FigureLine]:
    import numpy as np

    from ...fusion.evaluation.calibration import expected_calibration_error
    from ...fusion.evaluation.ensemble import average
    from ...fusion.evaluation.intervals import bootstrap
    from ...fusion.evaluation.metrics import summary as figures

    def three(scores: Scores) -> tuple[float, float, float]:
        found = figures(scores)
        return found.accuracy, found.uar, found.macro_f1

    mean = average(members)
    clips = len(mean.labelled.clips)
    subjects = outcome.subjects(mean)
    name = f"{len(members)} members averaged" if len(members) > 1 else "one member"
    whole = FigureLine(
        name + ending,
        clips,
        three(mean),
        expected_calibration_error(mean),
        by_clips=bootstrap(mean),
        by_subjects=bootstrap(mean, subjects) if subjects else None,
    )
    if len(members) == 1:
        return [whole]
    columns = np.array([three(scores) for scores in members])
    one = FigureLine(
        f"one member{ending}",
        clips,
        columns.mean(axis=0).tolist(),
        float(np.mean([expected_calibration_error(scores) for scores in members])),
        spreads=columns.std(axis=0, ddof=1).tolist(),
    )
    return [one, whole]


def _text(interval: Interval | None) -> str | None:
    return f"{interval.low:.3f}-{interval.high:.3f}" if interval else None
