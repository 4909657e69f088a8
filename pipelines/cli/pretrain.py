"""``avemo pretrain``: train the networks of stage 1."""

from __future__ import annotations

from .lazy import LazyGroup

COMMANDS = {
    "face": (".pretrain.face:face", "Train a face network on labelled pictures."),
    "audio": (".pretrain.audio:audio", "Train an audio network on labelled recordings."),
    "segments": (".pretrain.segments:segments", "Train an image network on MFCC images of speech."),
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
    help="Train a network for feature extraction on your own labelled data.",
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
