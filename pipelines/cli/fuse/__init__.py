"""``avemo-fuse``: train heads on a feature store, score clips, make ensembles."""

from __future__ import annotations

import click

from .... import __version__
from ..lazy import LazyGroup

COMMANDS = {
    "train": ("fuse.train:train", "Train an ensemble of heads on a store of features."),
    "predict": ("fuse.predict:predict", "Score a store, or video clips, with trained runs."),
    "cv": ("fuse.cv:cv", "Cross-validate: leave one subject or session out, or k folds."),
    "ensemble": ("fuse.ensemble:ensemble", "Average scores, re-weight them, write a submission."),
    "heads": ("fuse.heads:heads", "List the heads, and explain their settings."),
    "compare": (".fuse.compare:compare", "Test whether one set of scores is better than another."),
    "report": ("report:report", "Show the results of runs in one HTML file."),
}

EXAMPLES = """
\b
Examples:
  avemo-extract afew/ --tta meanstd
  avemo-fuse train --fusion fbp
  avemo-fuse ensemble runs/default --prior train --out submission
  avemo-fuse compare runs/cv-concat runs/cv-fbp
  avemo-fuse report runs/default
  avemo-fuse predict runs/default film.mp4 --out scores.csv
"""


@click.command(
    cls=LazyGroup,
    commands=COMMANDS,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="avemo-fuse")
def main() -> None:
    """Train attention and bilinear-pooling heads on a feature store, and use their scores."""
