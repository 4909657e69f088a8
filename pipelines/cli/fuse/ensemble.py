"""``avemo-fuse ensemble``: average sets of scores into one prediction and a submission."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...fuse.priors import EM, HELP
from ...fuse.settings import EnsembleSettings
from ..framework import command, group, json_result, refuse_idle
from ..outputs import overwrite_option, refuse_existing
from .options import defaults_from

EXAMPLES = (
    """
\b
Examples:
  avemo-fuse ensemble runs/f-mean runs/f-meanstd --prior train --out ensemble
  avemo-fuse ensemble a.csv b.csv --prior weights.csv --split test --out ensemble --zip MyTeam
  avemo-fuse ensemble runs/fbp --temperature val --prior em --out ensemble

"""
    + HELP
)


@command("ensemble", epilog=EXAMPLES)
@defaults_from(EnsembleSettings)
@click.argument(
    "members", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SCORES_OR_RUN..."
)
@group(
    "Clips",
    click.option(
        "--split", metavar="NAME", help="Split to score, or all.  [default: test, else val, else all]"
    ),
)
@group(
    "Selection",
    click.option(
        "--prior",
        show_default=True,
        metavar="SOURCE",
        help="none, train, val, em, emotiw2019 or a file of class weights; see below.",
    ),
    click.option(
        "--temperature",
        show_default=True,
        metavar="T",
        help="Temperature that calibrates the mean scores before the prior: val (fitted on labelled clips of "
        "that split, which no member may be trained on), auto (val if runs have such clips, else none), a "
        "number, or none.",
    ),
    click.option(
        "--counts",
        type=click.Path(path_type=Path),
        metavar="CSV",
        help="Training clips per class (class,count), if the runs do not have them.",
    ),
)
@group(
    "Output",
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Folder for scores.csv and submission.csv; without it nothing is written.",
    ),
    click.option("--zip", "team", metavar="TEAM", help="Also write TEAM.zip there: a text file per clip."),
    overwrite_option,
)
@json_result
def ensemble(**options: Any) -> None:
    """Average class scores, matching clips and classes by name.

    Each SCORES_OR_RUN is a CSV of scores or the folder of a run.
    """
    settings = EnsembleSettings(**options)
    if settings.team and not settings.out:
        raise click.UsageError("--zip needs a folder to write to: add --out DIR")
    from ...fuse.ensemble import ensemble, outputs

    if settings.out:
        refuse_existing(outputs(settings.out, settings.team), settings.overwrite)
    if settings.prior not in ("train", EM):
        refuse_idle(
            {"counts": f"--prior {settings.prior} needs no counts of training clips; train and em do"}
        )
    ensemble(settings)
