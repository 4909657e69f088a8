"""``avemo-fuse train``: train an ensemble of heads on a feature store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ...fuse.notes import demo_note, unscored_note, with_faces
from ...fuse.settings import TrainSettings
from ..console import Console, tell
from ..framework import command, group, json_result, keep_result
from ..options import fit_on_option
from ..settings_file import config_options
from ..table import aligned, records
from .options import FEATURES_HELP, asked_heads, defaults_from, out_option, training_options

if TYPE_CHECKING:
    from ....fusion.evaluation.metrics import Summary
    from ...fuse.train import TrainedRun

EXAMPLES = (
    """
\b
Examples:
  avemo-fuse train --fusion fbp
  avemo-fuse train --members 5 --visual f-meanstd-2 --out runs/wide
  avemo-fuse train --visual f-ar-mean:ir50@affectnet+ir50@rafdb --attention relation
  avemo-fuse train --fusion audio --audio logmel-stats --out runs/sound
  avemo-fuse train --fusion am-fbp --grid "lambda_audio=0:1:0.1, seed=0:4" --out runs/lambda
  avemo-fuse train --grid "lr=1e-4|1e-3, dropout=0.3|0.6" --choose-grid halving --members 5 --out runs/best
  avemo-fuse train --preset zhou2021 --fusion "2am-fbp + 4g-fbp" --out runs/zhou2021
  avemo-fuse train --fit-on train+val --members 4 --out runs/submission
"""
    + FEATURES_HELP
)


@command("train", epilog=EXAMPLES)
@defaults_from(TrainSettings)
@training_options
@group("Training", fit_on_option)
@group(
    "Selection",
    click.option(
        "--choose-grid",
        type=click.Choice(["all", "best", "halving"]),
        help="Points of --grid to train: all; or the best on inner folds of the training clips, of whole "
        "subjects if all are named. halving drops bad points early.",
    ),
)
@out_option("Folder of the run: models, history, scores.")
@json_result
@config_options
def train(**options: Any) -> None:
    """Train an ensemble of heads, and score every clip of the store with it.

    If a run is stopped, the same command continues it; more --members are added to the existing ones. The
    model is that of the last epoch: validation clips are watched, but nothing is chosen by them.
    """
    settings = asked_heads(options)
    from ...fuse.train import train

    done = train(settings, Console())
    if len(done.begun.watched):
        report(done, "val")
    run = done.begun.run
    note = demo_note(done.begun.prepared.rows)
    click.echo(f"\n{note}" if note else "")
    wrote = ", ".join(path.name for path in done.files.values())
    scores = {split: str(path) for split, path in done.files.items()}
    keep_result(run=str(run.path), members=run.members, scores=scores)
    calibrated = [("calibrated", str(run.calibration))] if run.calibration else []
    tell(
        [
            *calibrated,
            ("wrote", f"{run.path}: {wrote}; history.csv; a model and scores each member"),
            ("next", f"avemo-fuse ensemble {run.path} --out submission"),
        ]
    )


def report(done: TrainedRun, split: str) -> None:
    """Print accuracy and unweighted average recall on the labelled clips of ``split``.

    Figures are per member or, in a run with a grid, the mean over the members of each point.
    """
    from ....fusion.evaluation.ensemble import average
    from ....fusion.evaluation.metrics import summary

    run = done.begun.run
    chosen = [scores.select(split).labelled for scores in done.members]
    figures = [summary(scores) for scores in chosen]
    mean = average(chosen)
    marks = f" ({'; '.join(run.marks)})" if run.marks else ""
    seen = with_faces(mean, done.begun.prepared.rows)
    together = [("ensemble", mean), *([("ensemble, clips with a face", seen)] if seen else [])]
    whole = [(name, summary(scores)) for name, scores in together]
    if len(run.points) > 1:
        axes = list(run.points[0])
        own = [figures[place :: len(run.points)] for place in range(len(run.points))]
        rows: list[list[Any]] = [
            [*(f"{value:g}" for value in point.values()), len(of), _mean(of, "accuracy"), _mean(of, "uar")]
            for point, of in zip(run.points, own, strict=True)
        ]
        click.echo("\n" + aligned([*axes, "members", "mean accuracy", "mean UAR"], rows))
    else:
        whole = [*((f"member {number}", figure) for number, figure in enumerate(figures)), *whole]
    rows = [[name, figure.clips, figure.accuracy, figure.uar] for name, figure in whole]
    keep_result(marks=list(run.marks))
    keep_result(figures={split: records(["name", "clips", "accuracy", "uar"], rows)})
    click.echo("\n" + aligned([f"on {split}{marks}", "clips", "accuracy", "UAR"], rows))
    note = unscored_note(mean)
    if note:
        click.echo(note)


def _mean(figures: Sequence[Summary], name: str) -> float:
    return sum(float(getattr(figure, name)) for figure in figures) / len(figures)
