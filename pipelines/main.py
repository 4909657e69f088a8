"""``avemo``, the umbrella over all commands."""

from __future__ import annotations

import click

from .. import __version__
from .lazy import LazyGroup

COMMANDS = {
    "extract": ("extract:main", "Clips to a store of features (also: avemo-extract)."),
    "fuse": ("fuse.command:main", "A store to trained heads, scores and ensembles (also: avemo-fuse)."),
    "emotiw2019": (
        "emotiw2019.command:emotiw2019",
        "AFEW to the ensemble of a 2019 challenge submission.",
    ),
    "datasets": ("datasets.command:datasets", "Say which data sets are known, and check a folder of one."),
    "interspeech2019": (
        "interspeech2019.command:interspeech2019",
        "Clips in segments, an LSTM over each: the tables of a 2019 paper.",
    ),
    "preview": (
        "preview.command:preview",
        "Show which face was taken in each clip, on contact sheets.",
    ),
    "store": ("store.command:store", "Look after a store: status, verify, import, merge, export."),
    "pretrain": (
        "pretrain.command:pretrain",
        "Train a network on pictures, recordings or their segments.",
    ),
    "weights": ("weights.command:weights", "Find, fetch and check the weights of face networks."),
    "doctor": ("doctor.command:doctor", "Say what this machine has, and what to do about what it has not."),
    "demo": ("demo.command:demo", "Make a small set of talking-face clips to try everything on."),
}


@click.command(cls=LazyGroup, commands=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="avemo")
def main() -> None:
    """Audio-video emotion recognition: clips in, emotions out."""
