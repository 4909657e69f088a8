"""``avemo``, the umbrella over all commands."""

from __future__ import annotations

import click

from ... import __version__
from .lazy import LazyGroup

COMMANDS = {
    "extract": ("extract:main", "Clips to a store of features (also: avemo-extract)."),
    "fuse": ("fuse:main", "A store to trained heads, scores and ensembles (also: avemo-fuse)."),
    "emotiw2019": (
        "emotiw2019:emotiw2019",
        "AFEW to the ensemble of a 2019 challenge submission.",
    ),
    "datasets": ("datasets:datasets", "Say which data sets are known, and check a folder of one."),
    "interspeech2019": (
        "interspeech2019:interspeech2019",
        "Clips in segments, an LSTM over each: the tables of a 2019 paper.",
    ),
    "preview": (
        "preview:preview",
        "Show which face was taken in each clip, on contact sheets.",
    ),
    "store": ("store:store", "Look after a store: status, verify, import, merge, export."),
    "pretrain": (
        "pretrain:pretrain",
        "Train a network on pictures, recordings or their segments.",
    ),
    "weights": ("weights:weights", "Find, fetch and check the weights of face networks."),
    "doctor": ("doctor:doctor", "Say what this machine has, and what to do about what it has not."),
    "demo": ("demo:demo", "Make a small set of talking-face clips to try everything on."),
}


@click.command(cls=LazyGroup, commands=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="avemo")
def main() -> None:
    """Audio-video emotion recognition: clips in, emotions out."""
