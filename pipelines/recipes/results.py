"""Results of a recipe's runs beside the paper's: one table, as a page and as CSV."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from ...fusion.evaluation.comparison import errors, match
from ...fusion.evaluation.ensemble import average
from ...fusion.evaluation.metrics import Summary, summary
from ...fusion.evaluation.significance import MatchedPair, matched_pair
from ...fusion.files import write_csv, write_text
from ..cli.table import markdown

if TYPE_CHECKING:
    from ...fusion.evaluation.scores import Scores


@dataclass(frozen=True, eq=False)
class Line:
    """A run, an ensemble, or a figure printed by others. Figures are from 0 to 1.

    Attributes:
        name: name shown.
        members: scores of the same held-out or validation clips by each member; empty if there are none.
        paper: accuracy that was printed.
        baseline: members that these are tested against.
    """

    name: str
    members: Sequence[Scores] = ()
    paper: float | None = None
    baseline: Sequence[Scores] | None = None

    @property
    def mean(self) -> Scores | None:
        """All members averaged."""
        return average(self.members) if self.members else None

    @property
    def marks(self) -> str:
        """Marks to show beside the figures."""
        return self.mean.marks_cell if self.mean else ""

    @property
    def whole(self) -> Summary | None:
        """Figures of :attr:`mean`."""
        return summary(self.mean) if self.mean else None

    @property
    def test(self) -> MatchedPair | None:
        """The matched-pair test on the share of members that err on each clip."""
        if not self.baseline or self.baseline is self.members:
            return None
        known = match(average(self.baseline), average(self.members)).first
        return matched_pair(errors(self.baseline, known), errors(self.members, known))

    @property
    def figures(self) -> dict[str, object]:
        """All numbers in full, by the columns of ``results.csv``; None for missing ones."""
        whole, test = self.whole, self.test
        one = [summary(scores) for scores in self.members] if len(self.members) > 1 else []
        spread = {
            f"{figure}_{name}": function([getattr(each, figure) for each in one]) if one else None
            for figure in ("accuracy", "uar")
            for name, function in (("one_member", fmean), ("one_member_sd", stdev))
        }
        return {
            "run": self.name,
            "clips": whole and whole.clips,
            "accuracy": whole and whole.accuracy,
            "uar": whole and whole.uar,
            **spread,
            "difference": test and test.difference,
            "one_tailed_p": test and test.one_tailed,
            "two_tailed_p": test and test.two_tailed,
            "paper": self.paper,
            "marks": self.marks or None,
        }


def _percent(name: str) -> Callable[[Mapping[str, object]], object]:
    def cell(figures: Mapping[str, object]) -> object:
        value, spread = figures[name], figures.get(f"{name}_sd")
        told = f"{100 * value:.2f}" if isinstance(value, float) else None
        return f"{told} ± {100 * spread:.2f}" if isinstance(spread, float) else told

    return cell


def _points(figures: Mapping[str, object]) -> object:
    value = figures["difference"]
    return f"{100 * value:+.2f}" if isinstance(value, float) else None


COLUMNS: dict[str, Callable[[Mapping[str, object]], object]] = {
    "run": lambda figures: f"{figures['run']} ({figures['marks']})" if figures["marks"] else figures["run"],
    "clips": lambda figures: figures["clips"],
    "accuracy %": _percent("accuracy"),
    "UAR %": _percent("uar"),
    "one member %": _percent("accuracy_one_member"),
    "its UAR %": _percent("uar_one_member"),
    "against baseline": _points,
    "one-tailed p": lambda figures: figures["one_tailed_p"],
    "two-tailed p": lambda figures: figures["two_tailed_p"],
    "paper %": _percent("paper"),
}
ALWAYS = 4  # first columns always shown; others only if a line has a value


def shown(lines: Sequence[Line]) -> tuple[list[str], list[list[object]]]:
    """Return a header, and a row for each line."""
    figures = [line.figures for line in lines]
    columns = {name: [cell(each) for each in figures] for name, cell in COLUMNS.items()}
    names = [
        name
        for place, (name, cells) in enumerate(columns.items())
        if place < ALWAYS or any(cell is not None for cell in cells)
    ]
    return names, [list(row) for row in zip(*(columns[name] for name in names), strict=True)]


def confusion(scores: Scores) -> tuple[list[str], list[list[object]]]:
    """Return a header, and per cent of each true class (down) predicted as each class (across)."""
    found = summary(scores)
    counts = found.confusion
    shares = 100 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    rows: list[list[object]] = [
        [name, *(f"{share:.2f}" for share in row)]
        for name, row in zip(found.classes, shares.tolist(), strict=True)
    ]
    return ["%", *found.classes], rows


def write(
    title: str, lines: Sequence[Line], notes: Sequence[str], folder: Path, matrices: bool
) -> list[Path]:
    """Write ``results.md`` and ``results.csv``; with ``matrices``, also a confusion matrix of each run.

    Raises:
        FusionError: they cannot be written.
    """
    written = [folder / "results.md", folder / "results.csv"]
    parts = [f"# {title}", *notes, markdown(*shown(lines))]
    for line in lines if matrices else ():
        if line.mean is None:
            continue
        header, rows = confusion(line.mean)
        parts += [f"## {line.name}: true classes down, predicted ones across", markdown(header, rows)]
        written.append(folder / f"confusion-{slug(line.name)}.csv")
        write_csv(written[-1], ["true", *header[1:]], rows)
    write_text(written[0], "\n\n".join(parts) + "\n")
    figures = [line.figures for line in lines]
    write_csv(written[1], list(figures[0]), [list(each.values()) for each in figures])
    return written


def slug(name: str) -> str:
    """Return a name for files: ``1d-abfcn-no-lrn`` for ``1d-abfcn (no LRN)``."""
    return re.sub(r"[^\w.]+", "-", name.lower()).strip("-")
