"""``avemo-fuse cv``: cross-validation over the labelled clips of a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...fuse.notes import demo_note, unscored_note
from ...fuse.settings import CrossValidationSettings
from ..console import Console, tell
from ..framework import command, group, json_result, keep_result
from ..options import choose_epoch_option
from ..settings_file import config_options
from ..table import aligned, records
from .options import FEATURES_HELP, asked, defaults_from, out_option, training_options

if TYPE_CHECKING:
    from ...fuse.cv_results import CrossValidated

EXAMPLES = (
    """
\b
Examples:
  avemo-fuse cv --folds subject --members 5 --out runs/cv-fbp
  avemo-fuse cv --folds group-kfold:5 --choose-epoch --out runs/cv-epoch
  avemo-fuse cv --grid "lambda_audio=0:1:0.1, lr=1e-4|1e-3" --choose-grid halving --out runs/cv-grid
  avemo-fuse cv --folds session --session-pattern 'Ses\\d\\d' --out runs/cv-session
  avemo-fuse cv --preset zhou2021 --fusion g-fbp --out runs/cv-zhou2021
  avemo-fuse cv --folds kfold:10 --allow-same-subjects --fusion concat --out runs/cv-10
  avemo-fuse cv --members 20 --out runs/cv-20 --on slurm --jobs 16 --slurm partition=cpu

\b
Folds:
  subject        leave one subject out
  session        leave one session out; --session-pattern finds it in SPLIT/ID
  kfold:K        K stratified folds
  group-kfold:K  K folds of whole subjects, stratified as far as possible
  split[:NAME]   train on the split train, test on NAME (default: test,
                 else val)

\b
DIR gets scores.csv (the mean of the members), member-NNN.csv, results.md
with all tables, and the same as CSV: results.csv (members), tables/*.csv.
"""
    + FEATURES_HELP
)


@command("cv", epilog=EXAMPLES)
@defaults_from(CrossValidationSettings)
@group(
    "Selection",
    click.option(
        "--folds",
        show_default=True,
        metavar="KIND",
        help="subject, session, kfold:K, group-kfold:K or split; see below.",
    ),
    choose_epoch_option,
    click.option(
        "--choose-by",
        type=click.Choice(["accuracy", "uar", "loss"]),
        show_default=True,
        help="Metric to choose by.",
    ),
    click.option(
        "--inner-folds",
        type=click.IntRange(min=2),
        show_default=True,
        metavar="K",
        help="Number of inner folds of whole subjects (or sessions), or fewer if there are fewer of them.",
    ),
    click.option(
        "--choose-grid",
        type=click.Choice(["best", "halving"]),
        show_default=True,
        help="How to choose a point of --grid: train all points in full, or drop the worse two thirds early, "
        "repeatedly.",
    ),
    click.option(
        "--session-pattern",
        show_default=True,
        metavar="REGEX",
        help="Finds the session in a clip's SPLIT/ID if the store has none: the first group, or the whole "
        "match.",
    ),
)
@group(
    "Features",
    click.option(
        "--normalise",
        type=click.Choice(["none", "subject"]),
        show_default=True,
        help="subject: normalise each subject's features to zero mean and unit variance over all clips, "
        "including unlabelled ones and those under test. Transductive: results are marked.",
    ),
)
@training_options
@out_option("Folder for held-out scores and tables.")
@json_result
@config_options
def cv(**options: Any) -> None:
    """Train on all folds but one, score that one, in turn, over all labelled clips of any split.

    Standardisation is fitted inside each fold. The epoch (--choose-epoch), the point of --grid and the weight
    of --fusion decision, unless given, are chosen on inner folds of the training clips. A subject, or a copy
    of a recording, on both sides of a fold is refused. If a run is stopped, the same command continues it.
    The last line shows the ensemble's accuracy and unweighted average recall over all held-out clips.
    """
    settings = asked(CrossValidationSettings, options)
    from ...fuse.cv import cross_validate
    from ...fuse.cv_results import write

    outcome = cross_validate(settings, Console())
    note = demo_note(outcome.rows)
    write(outcome, settings.out, note)
    show(outcome, settings.out, note)


def show(outcome: CrossValidated, out: Path, note: str | None) -> None:
    """Print the tables, ending with the ensemble's accuracy and unweighted average recall."""
    from ....fusion.evaluation.metrics import summary as figures
    from ...fuse.cv_results import ECE, INTERVALS, SPREAD, calibration, tables, titled

    marks = outcome.mean.marks_cell
    for table in tables(outcome):
        click.echo(f"\n{titled(table, marks)}\n" + aligned(table.header, table.rows))
        keep_result(tables={table.name: records(*(table.raw or (table.header, table.rows)))})
        if table.name == "summary":
            click.echo("\n".join((SPREAD, INTERVALS, ECE)))
    click.echo("")
    tell(
        [
            ("calibration", calibration(outcome)),
            ("wrote", f"{out}: scores.csv, scores of each member, results.md, and its tables as CSV"),
        ]
    )
    unscored = unscored_note(outcome.mean)
    if unscored:
        click.echo(unscored)
    if note:
        click.echo(note)
    final = figures(outcome.mean)
    keep_result(out=str(out), accuracy=final.accuracy, uar=final.uar, marks=marks)
    click.echo(f"accuracy {final.accuracy:.3f}  UAR {final.uar:.3f}" + (f"  ({marks})" if marks else ""))
