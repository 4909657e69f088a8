"""``avemo``, the parent of all commands."""

from __future__ import annotations

import click

from ... import __version__
from .lazy import LazyGroup

COMMANDS = {
    "extract": ("extract:main", "Extract features from clips into a store (also: avemo-extract)."),
    "fuse": ("fuse:main", "Train heads on a store, score clips, make ensembles (also: avemo-fuse)."),
    "predict": ("predict:predict", "Name the expressions in any film, without training."),
    "recipe": ("recipe:recipe", "Run a paper's recipe, and compare the results with its figures."),
    "emotiw2019": ("recipe:emotiw2019", "Reproduce the ensemble of a 2019 challenge submission."),
    "datasets": ("datasets:datasets", "List the known data sets, and check a folder of one."),
    "interspeech2019": (
        "recipe:interspeech2019",
        "Reproduce a 2019 paper: an LSTM over segments of speech.",
    ),
    "preview": (
        "preview:preview",
        "Show which face was chosen in each clip, on contact sheets.",
    ),
    "store": ("store:store", "Inspect, check, merge and export feature stores."),
    "pretrain": (
        "pretrain:pretrain",
        "Train a network on pictures, recordings or speech segments.",
    ),
    "weights": ("weights:weights", "Find, fetch and check the weights of face networks."),
    "doctor": ("doctor:doctor", "Test this machine, and say how to get what is missing."),
    "bench": ("bench:bench", "Time each stage of avemo-extract here, and say how long a corpus takes."),
    "demo": ("demo:demo", "Make sample clips."),
}


@click.command(cls=LazyGroup, commands=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="avemo")
def main() -> None:
    """Audio-video emotion recognition: clips in, emotions out."""
