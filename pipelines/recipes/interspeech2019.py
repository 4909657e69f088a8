"""What came of the segment pipeline, in the shape of priyasad2019's tables 1 and 2 and figures 4 to 7."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ...fusion.files import write_csv, write_text
from ..cli.table import aligned, markdown, records

if TYPE_CHECKING:
    from ...fusion.evaluation.metrics import Summary
    from ...fusion.evaluation.scores import Scores

RML, ENTERFACE = "RML", "eNTERFACE'05"
CORPORA = {"rml": RML, "enterface": ENTERFACE}
"""What the paper calls the data sets that it used."""

PUBLISHED = {  # --folds, without its number → data set, whose, accuracy from 0 to 1
    "subject": (
        (RML, "Sarvestani et al.", 0.7203),
        (RML, "Zhang et al.", 0.7432),
        (RML, "Priyasad et al.", 0.7613),
        (ENTERFACE, "Sarvestani et al.", 0.7011),
        (ENTERFACE, "Bejani et al.", 0.7702),
        (ENTERFACE, "Priyasad et al.", 0.7849),
    ),
    "kfold": (
        (RML, "Wang et al.", 0.8222),
        (RML, "Seng et al.", 0.9083),
        (RML, "Priyasad et al.", 0.9870),
        (ENTERFACE, "Wang et al.", 0.7247),
        (ENTERFACE, "Seng et al.", 0.8667),
        (ENTERFACE, "Priyasad et al.", 0.9775),
    ),
}
TITLES = {"subject": "Leave one subject out (table 1)", "kfold": "{} folds (table 2)"}
OURS = "avemo"
HEADER = ("data set", "refs.", "accuracy", "UAR", "clips")
RAW = ("folds", "data_set", "reference", "accuracy", "uar", "clips", "marks")


@dataclass(frozen=True, eq=False)
class Result:
    """The held-out scores of one cross-validation.

    Attributes:
        folds: as ``--folds`` says.
        corpus: the data set, as the paper calls it where that used it.
        scores: of all members together.
    """

    folds: str
    corpus: str
    scores: Scores

    @property
    def title(self) -> str:
        """What was done, and which of the paper's tables it is."""
        kind, _, number = self.folds.partition(":")
        title = TITLES.get(kind, f"Folds: {self.folds}").format(number)
        return title + (f" ({self.scores.marks_cell})" if self.scores.marks else "")

    @property
    def name(self) -> str:
        """For files: ``kfold-6``."""
        return file_name(self.folds)

    @cached_property
    def figures(self) -> Summary:
        """Accuracy, recall and confusion."""
        from ...fusion.evaluation.metrics import summary

        return summary(self.scores)

    @property
    def lines(self) -> list[list[object]]:
        """Data set, whose, accuracy, UAR (0 to 1) and clips, None where unknown: what was published on this
        data set, or on both of the paper's where it is another, and ours."""
        published = PUBLISHED.get(self.folds.partition(":")[0], ())
        same = [line for line in published if line[0] == self.corpus] or published
        ours = self.figures
        theirs: list[list[object]] = [[*line, None, None] for line in same]
        return [*theirs, [self.corpus, OURS, ours.accuracy, ours.uar, ours.clips]]

    @property
    def cells(self) -> list[list[object]]:
        """:attr:`lines` as they are shown under :data:`HEADER`."""
        return [[*line[:2], *map(_percent, line[2:4]), line[4]] for line in self.lines]

    @property
    def confusion(self) -> tuple[list[str], list[list[object]]]:
        """Per cent of each true class (down) that are taken for each class (across), and a header."""
        counts = self.figures.confusion
        shares = 100 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)
        names = self.figures.classes
        rows: list[list[object]] = [
            [name, *(f"{share:.2f}" for share in row)]
            for name, row in zip(names, shares.tolist(), strict=True)
        ]
        return ["%", *names], rows


def file_name(folds: str) -> str:
    """``kfold:6`` as ``kfold-6``."""
    return re.sub(r"[^\w]+", "-", folds.lower())


def as_text(result: Result) -> str:
    """Both tables, for the screen."""
    return f"{result.title}\n{aligned(HEADER, result.cells)}\n\n{aligned(*result.confusion)}"


def write(results: Sequence[Result], notes: Sequence[str], folder: Path) -> list[Path]:
    """Write ``results.md``, ``results.csv`` and ``confusion-FOLDS.csv``.

    Raises:
        FusionError: they cannot be written.
    """
    page, table = folder / "results.md", folder / "results.csv"
    parts = ["# Segments, after Priyasad et al. (Interspeech 2019)", *notes]
    for result in results:
        parts += [f"## {result.title}", markdown(HEADER, result.cells)]
        parts += [
            "As in figures 4 to 7: true classes down, predicted ones across.",
            markdown(*result.confusion),
        ]
    write_text(page, "\n\n".join(parts) + "\n")
    write_csv(table, RAW, [list(row.values()) for row in rows_of(results)])
    written = [page, table]
    for result in results:
        names, shares = result.confusion
        written.append(folder / f"confusion-{result.name}.csv")
        write_csv(written[-1], ["true", *names[1:]], shares)
    return written


def rows_of(results: Sequence[Result]) -> list[dict[str, object]]:
    """All lines of all tables, under the names of :data:`RAW`."""
    rows = [
        [result.folds, *line, result.scores.marks_cell if line[1] == OURS else ""]
        for result in results
        for line in result.lines
    ]
    return records(RAW, rows)


def _percent(share: object) -> str | None:
    return f"{share:.2%}" if isinstance(share, float) else None
