"""``avemo demo``: make sample clips."""

from __future__ import annotations

from pathlib import Path

import click

from ..demo.set import DEMO_NOTE, Shot, claim, make
from .framework import InputError, altered, command
from .options import workers_option
from .progress import progress_bar

EXAMPLE = """
\b
Example:
  avemo demo clips
  avemo-extract clips --tta meanstd
  avemo-fuse train --fusion fbp
"""


@command("demo", epilog=EXAMPLE)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--clips-per-class",
    type=click.IntRange(1, 400),
    default=4,
    show_default=True,
    metavar="N",
    help="Training clips of each class; validation and test have half as many.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="S",
    help="Another seed gives other actors.",
)
@altered(workers_option, help="Number of parallel processes.  [default: one per core]")
def demo(folder: Path, clips_per_class: int, seed: int, workers: int) -> None:
    """Make sample clips in DIR, in AFEW's folder layout.

    Code animates one public-domain photograph (expressions, face shapes, head motions) and adds a synthetic
    voice. The clips show that the pipeline works; they say nothing about human emotion. The same seed makes
    the same clips. If a run is stopped, the same command continues it.
    """
    missing = claim(folder, clips_per_class, seed)
    try:
        _film(folder, missing, workers)
    except ModuleNotFoundError as error:
        raise InputError(str(error)) from error
    if not missing:
        click.echo(f"{folder}: the demo set is complete, nothing to do")
    click.echo(
        f"{DEMO_NOTE}\n\nNext:\n  avemo-extract {folder} --tta meanstd\n  avemo-fuse train --fusion fbp"
    )


def _film(folder: Path, shots: list[Shot], workers: int) -> None:

    for _ in progress_bar(make(folder, shots, workers), total=len(shots), unit="clip", disable=not shots):
        pass
