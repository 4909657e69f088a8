"""What came of the reproduction, beside what zhou2019 printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...fusion.files import write_csv, write_text
from ..cli.table import markdown

if TYPE_CHECKING:
    from ...fusion.evaluation.priors import Prior
    from ...fusion.evaluation.scores import Scores


@dataclass(frozen=True)
class Published:
    """A feature as zhou2019 calls it, with its accuracy on AFEW's validation clips (table 3), 0 to 1."""

    name: str
    accuracy: float


PAPER = {
    "f-mean": Published("F-Mean", 0.6214),
    "f-meanstd": Published("F-MeanStd", 0.637),
    "f-normfft": Published("F-NormFFT", 0.6135),
    "f-meanstd-2": Published("F-MeanStd-2", 0.624),
    "f-ar-mean": Published("F-AR-Mean", 0.6292),
}
PAPER_ENSEMBLE = 0.655  # table 4, submission 5; "class weight in all submissions"
HEADER = ("model", "clips", "accuracy", "UAR", "zhou2019")
RAW = ("model", "clips", "accuracy", "uar", "zhou2019_accuracy")


@dataclass(frozen=True)
class Line:
    """A row of the table: figures over the validation clips, 0 to 1; None where there are none."""

    name: str
    clips: int | None = None
    accuracy: float | None = None
    uar: float | None = None
    paper: float | None = None

    @property
    def cells(self) -> list[object]:
        """As they are printed under :data:`HEADER`."""
        return [self.name, self.clips, *map(_percent, (self.accuracy, self.uar, self.paper))]


def results(runs: Mapping[str, Path], prior: Prior | None, validated: bool) -> list[Line]:
    """A line for each run and for their mean, as it is and, calibrated first, re-weighted.

    Args:
        runs: feature, as in :data:`PAPER` → the run's folder.
        prior: the ensemble's class weights, or None.
        validated: whether there are validation clips that no run was trained on.
    """
    from ...fusion.evaluation.calibration import temperature, tempered
    from ...fusion.evaluation.ensemble import average
    from ...fusion.evaluation.priors import reweight
    from ...fusion.evaluation.scores import Scores

    names = [PAPER[feature].name for feature in runs]
    ensemble = f"mean of these {len(runs)}"
    published = [PAPER[feature].accuracy for feature in runs]
    whole = PAPER_ENSEMBLE if len(runs) == len(PAPER) else None
    if not validated:
        lines = [Line(name, paper=paper) for name, paper in zip(names, published, strict=True)]
        return [*lines, Line(ensemble, paper=whole)]
    scores = [Scores.read(run / "scores-val.csv") for run in runs.values()]
    lines = [_line(*row) for row in zip(names, scores, published, strict=True)]
    mean = average(scores)
    if prior is None:
        return [*lines, _line(ensemble, mean, whole)]
    calibrated = tempered(mean, temperature(mean))
    weighted = reweight(calibrated, prior.weights)
    return [*lines, _line(ensemble, mean, None), _line(f"{ensemble}, re-weighted", weighted, whole)]


def write(lines: Sequence[Line], notes: Sequence[str], folder: Path) -> list[Path]:
    """Write ``results.md`` and ``results.csv``.

    Raises:
        FusionError: they cannot be written.
    """
    page, table = folder / "results.md", folder / "results.csv"
    write_text(page, as_markdown(lines, notes))
    write_csv(table, RAW, [[line.name, line.clips, line.accuracy, line.uar, line.paper] for line in lines])
    return [page, table]


def as_markdown(lines: Sequence[Line], notes: Sequence[str]) -> str:
    """A page with the notes and the table."""
    title = "# Submission 5 of zhou2019 to EmotiW 2019: validation clips"
    return "\n\n".join([title, *notes, markdown(HEADER, [line.cells for line in lines])]) + "\n"


def _line(name: str, scores: Scores, paper: float | None) -> Line:
    from ...fusion.evaluation.metrics import summary

    found = summary(scores)
    return Line(name, found.clips, found.accuracy, found.uar, paper)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.2%}"
