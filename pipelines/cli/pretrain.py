"""``avemo pretrain``: train the networks of stage 1."""

from __future__ import annotations

from .lazy import LazyGroup

COMMANDS = {
    "face": (".pretrain.face:face", "A face network, on labelled pictures of faces."),
    "audio": (".pretrain.audio:audio", "An audio network, on labelled recordings."),
    "segments": (".pretrain.segments:segments", "An image network, on MFCC images of labelled speech."),
}

EXAMPLES = """
\b
Examples:
  avemo pretrain face --data fer2013.csv --out face.safetensors
  avemo pretrain face --evaluate --weights face.safetensors --data rafdb/
  avemo pretrain audio --data ravdess/ --held-out-subjects 23,24
  avemo pretrain segments --store features --backbone vgg19
"""

pretrain = LazyGroup(
    "pretrain",
    commands=COMMANDS,
    help="Train a network that features are taken from, on labelled data of your own.",
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
