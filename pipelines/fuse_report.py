"""``avemo-fuse report``: what came of runs, as one HTML file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import __version__
from .cli import command

if TYPE_CHECKING:
    from ..fusion.cards import Card
    from ..fusion.scores import Scores
    from .report_sections import Group, Results

EXAMPLES = """
\b
Examples:
  avemo-fuse report runs/default
  avemo-fuse report runs/f-mean runs/f-meanstd --out report.html
"""


@command("report", epilog=EXAMPLES)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="Where the page goes.  [default: report.html in the first RUN]",
)
def report(runs: tuple[Path, ...], out: Path | None) -> None:
    """Show what came of each RUN, of train or cv, on one page.

    Accuracy, confusion, accuracy of each class, learning curves and settings, in one HTML file that needs
    nothing else: mail it, print it, open it on a phone.
    """
    out = out or runs[0] / "report.html"
    page = render([read(path) for path in runs])
    from ..fusion.files import replacing

    with replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    click.echo(f"wrote {out}")


def render(results: Sequence[Results]) -> str:
    """The page of some runs."""
    from .page import element, page
    from .report_sections import comparison, run_report

    notes = sorted({run.card.facts.get("demo") or "" for run in results} - {""})
    notes += [f"{run.name}: {mark}" for run in results for mark in run.card.facts.get("marks", [])]
    body = [element("p", note, class_="note", role="note") for note in notes]
    if len(results) > 1:
        body.append(comparison(results))
    body += map(run_report, results)
    names = ", ".join(run.name for run in results)
    return page("Emotion recognition report", names, body, f"Made by avemo {__version__}.")


def read(path: Path) -> Results:
    """What the folder of a run tells.

    Raises:
        FusionError: it is no run, or one that is not finished.
    """
    from ..fusion import cards
    from ..fusion.errors import FusionError
    from ..fusion.runs import Run
    from ..fusion.scores import Scores, joined
    from .report_sections import Results

    card = cards.read(path)
    files = sorted(path.glob("scores*.csv"))
    if not files:
        raise FusionError(f"{path} has no scores yet; run its avemo-fuse {card.kind} again, which goes on")
    scores = joined(map(Scores.read, files))
    groups = list(_groups(scores, card))
    faceless = {tuple(clip) for clip in card.facts.get("without_face", [])}
    seen = {group.name: _with_faces(group, faceless) for group in groups}
    faces = {name: group for name, group in seen.items() if group}
    if card.kind == "cv":
        return Results(path.name, card, groups, faces, [], _accuracies(path / "results.csv"))
    run = Run(path)
    histories = [run.history(number) for number in range(run.members)]
    last = [history[-1].val_accuracy for history in histories]
    return Results(path.name, card, groups, faces, histories, [value for value in last if value is not None])


def _groups(scores: Scores, card: Card) -> Iterator[Group]:
    """The labelled clips a split; those of a cross-validation together."""
    from .report_sections import Group

    known = scores.labelled
    if card.kind == "cv":
        marks = f" ({known.marks_cell})" if known.marks else ""
        yield Group(f"held-out clips{marks}", known)
        return
    fitted = card.settings["fit_on"].split("+") if len(scores.splits) > 1 else scores.splits
    for split in sorted(known.splits, key=lambda name: name != "val"):
        named = f"{split} (trained on)" if split in fitted else split
        yield Group(named, known.select(split), split in fitted)


def _with_faces(group: Group, faceless: set[tuple[str, ...]]) -> Group | None:
    """The clips in which a face was found; None if that is all of them, or none."""
    from .report_sections import Group

    chosen = [place for place, clip in enumerate(group.scores.clips) if clip not in faceless]
    if not 0 < len(chosen) < len(group.scores.clips):
        return None
    return Group(f"{group.name}, clips with a face", group.scores.take(chosen), group.fitted)


def _accuracies(path: Path) -> list[float]:
    from ..fusion.tables import number, read_table

    table = read_table(path, ["accuracy"], "seed,accuracy,uar")
    return [number(path, row, "accuracy") for row in table.rows]
