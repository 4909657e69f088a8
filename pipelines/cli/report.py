"""``avemo-fuse report``: what came of runs, as one HTML file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ... import __version__
from ..fuse.ensemble import ENSEMBLE, read_member
from .framework import command
from .outputs import overwrite_option, refuse_existing
from .progress import progress_bar

if TYPE_CHECKING:
    from ...fusion.evaluation.comparison import Matched
    from ...fusion.evaluation.scores import Scores
    from ...fusion.training.cards import Card
    from ..fuse.ensemble import Member
    from ..pages.report.sections import Group, Results

EXAMPLES = """
\b
Examples:
  avemo-fuse report runs/default
  avemo-fuse report runs/am-fbp --baseline runs/g-fbp --store features
  avemo-fuse report runs/f-mean runs/f-meanstd submission --out report.html

\b
The page is about 6 MB for one run and 1 MB more for each other, however many
clips there are: 4.8 MB are the library that draws. It shows at most 20 clips
of a run, and works out attention, factors and t-SNE of at most 1000. Pictures
of faces are in it: mind to whom you give it.
"""


@command("report", epilog=EXAMPLES)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--store",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="The feature store of the runs' clips.  [default: that of the training, else features]",
)
@click.option(
    "--baseline",
    type=click.Path(path_type=Path, exists=True),
    metavar="RUN|CSV",
    help="A run or scores to test each RUN against, on the clips that both score.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="Where the page goes.  [default: report.html in the first RUN]",
)
@overwrite_option
def report(
    runs: tuple[Path, ...], store: Path | None, baseline: Path | None, out: Path | None, overwrite: bool
) -> None:
    """Show what came of each RUN, of train, cv or ensemble, on one page.

    Accuracy, confusion, calibration and learning curves; the clips that it gets most wrong, with the frames
    and sounds that it attends to; adaption factors; t-SNE before and after fusion; settings. One HTML file
    that needs nothing else: mail it, print it, open it on a phone.
    """
    if out:
        refuse_existing([out], overwrite)
    out = out or runs[0] / "report.html"  # the run's own page, which is made anew
    other = read_member(baseline) if baseline else None
    results = [_seen(read(path), path, store, other) for path in runs]
    page = render(results)
    from ...fusion.files import write_text

    write_text(out, page)
    for run in results:
        for note in run.seen.notes:
            click.echo(f"note: {run.name}: {note}", err=True)
    click.echo(f"wrote {out}")


def render(results: Sequence[Results]) -> str:
    """The page of some runs."""
    from plotly.offline import get_plotlyjs

    from ..pages.html import element, page
    from ..pages.report.sections import ASSETS, comparison, run_report

    notes = sorted({run.card.facts.get("demo") or "" for run in results} - {""})
    notes += [f"{run.name}: {mark}" for run in results for mark in run.card.facts.get("marks", [])]
    body = [element("p", note, class_="note", role="note") for note in notes]
    if len(results) > 1:
        body.append(comparison(results))
    body += map(run_report, results)
    names = ", ".join(run.name for run in results)
    footer = f"Made by avemo {__version__}."
    return page("Emotion recognition report", names, body, footer, **ASSETS, library=get_plotlyjs())


def read(path: Path) -> Results:
    """What the folder of a run or of an ensemble tells.

    Raises:
        FusionError: it is neither, or a run that is not finished.
    """
    from ...fusion.errors import FusionError
    from ...fusion.evaluation.scores import Scores, joined
    from ...fusion.training import cards
    from ...fusion.training.runs import Run
    from ..pages.report.sections import Results

    if (path / ENSEMBLE).exists() and not (path / cards.NAME).exists():
        return _ensemble(path)
    card = cards.read(path)
    files = sorted(path.glob("scores*.csv"))
    if not files:
        raise FusionError(f"{path} has no scores yet; run its avemo-fuse {card.kind} again, which goes on")
    scores = joined(map(Scores.read, files))
    groups = list(_groups(scores, card))
    faceless = {tuple(clip) for clip in card.facts.get("without_face", [])}
    seen = {group.name: _with_faces(group, faceless) for group in groups}
    faces = {name: group for name, group in seen.items() if group}
    results = Results(path.name, card, groups, faces, [], [], _unlabelled(scores))
    if card.kind == "cv":
        return replace(results, members=_accuracies(path / "results.csv"))
    run = Run(path)
    histories = [run.history(number) for number in range(run.members)]
    last = [history[-1].val_accuracy for history in histories]
    if run.calibration:
        facts = {**card.facts, "calibration": str(run.calibration)}
        results = replace(results, card=replace(card, facts=facts))
    return replace(results, histories=histories, members=[value for value in last if value is not None])


def _ensemble(path: Path) -> Results:
    """What the folder of an ensemble tells."""
    from ...fusion.errors import FusionError
    from ...fusion.evaluation.scores import Scores
    from ...fusion.training.cards import Card
    from ..pages.report.sections import Group, Results

    scores = Scores.read(path / "scores.csv")
    try:
        told = json.loads((path / ENSEMBLE).read_text(encoding="utf-8"))
        members, fitted, prior = told["members"], {*told["trained_on"]}, told["prior"]
        facts = {"members": len(members), "demo": told["demo"], "marks": scores.marks}
        known: dict[str, object] = {"members": ", ".join(map(str, members))}
        if told["temperature"] is not None:
            known["temperature"] = f"{told['temperature']:.4g}"
        if prior:
            weights = ", ".join(f"{name} {weight:.3f}" for name, weight in prior["weights"].items())
            known |= {"prior": f"{prior['source']}: {prior['note']}", "weights": weights}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FusionError(
            f"{path / ENSEMBLE} makes no sense here ({error!r}); run avemo-fuse ensemble again"
        ) from error
    labelled = scores.labelled
    groups = [
        Group(
            f"{name} (trained on)" if name in fitted else name or "all clips",
            labelled.select(name),
            name in fitted,
        )
        for name in labelled.splits
    ]
    card = Card("ensemble", {}, facts)
    return Results(path.name, card, groups, {}, [], [], _unlabelled(scores), known)


def _seen(run: Results, path: Path, store: Path | None, baseline: Member | None) -> Results:
    """With what there is to see of its clips, and what the baseline made of them."""
    from ..pages.report.clips import choose
    from ..pages.report.insight import see, steps

    group = run.closely
    if group is None:
        return run
    choices, wrong = choose(group.scores)
    shown = [choice.clip for choice in choices]
    with progress_bar(total=steps(len(shown)), desc=run.name, unit="step") as bar:
        seen = see(path, run.card, store, group.scores.clips, shown, bar)
        bar.update(bar.total - bar.n)
    beside = _beside(group, baseline) if baseline and run.groups else None
    return replace(run, choices=choices, wrong=wrong, seen=seen, baseline=beside)


def _beside(group: Group, baseline: Member) -> Matched:
    """The clips of ``group`` that the baseline scores too, and was not trained on."""
    from ...fusion.evaluation.comparison import match

    scores = baseline.scores
    kept = [i for i, clip in enumerate(scores.clips) if clip[0] not in baseline.trained_on]
    return match(scores.take(kept), group.scores)


def _unlabelled(scores: Scores) -> Scores | None:
    chosen = [i for i, truth in enumerate(scores.truth) if truth is None]
    return scores.take(chosen) if chosen else None


def _groups(scores: Scores, card: Card) -> Iterator[Group]:
    """The labelled clips a split; those of a cross-validation together."""
    from ..pages.report.sections import Group

    known = scores.labelled
    if not known.clips:
        return
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
    from ..pages.report.sections import Group

    chosen = [place for place, clip in enumerate(group.scores.clips) if clip not in faceless]
    if not 0 < len(chosen) < len(group.scores.clips):
        return None
    return Group(f"{group.name}, clips with a face", group.scores.take(chosen), group.fitted)


def _accuracies(path: Path) -> list[float]:
    from ...fusion.evaluation.tables import number, read_table

    table = read_table(path, ["accuracy"], "seed,accuracy,uar")
    return [number(path, row, "accuracy") for row in table.rows]
