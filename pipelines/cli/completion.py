"""Names for shell completion; importing this module loads no network."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

FUSIONS = (
    "fbp",
    "g-fbp",
    "ag-fbp",
    "m-fbp",
    "am-fbp",
    "concat",
    "decision",
    "segments",
    "audio",
    "faces",
)
ATTENTIONS = ("self", "relation", "transformer", "conv")
ENCODERS = ("1d-abfcn", "2d-abfcn")
VISUAL = ("auto", "basic", "f-mean", "f-meanstd", "f-meanstd-2", "f-normfft", "f-ar-mean", "markers")
AUDIO = (
    "auto",
    "alexnet",
    "alexnet-logmel",
    "functionals",
    "logmel",
    "logmel-stats",
    "mfcc-stats",
    "mfcc-vectors",
    "spectrogram",
    "spectrogram-stats",
)
BACKBONES = (
    "ferplusnet",
    "ferresnet",
    "dlib",
    "mobilefacenet",
    "ir50",
    "irse50",
    "vggface",
    "resnet50",
    "senet50",
    "facenet",
    "resnet18",
    "resnet18-imagenet",
    "resnet18-64",
    "alexnet",
    "vgg19",
    "vgg19-227",
    "onnx@",
    "timm:",
)
AUDIO_NETWORKS = ("alexnet@", "alexnet-logmel@")
DETECTORS = ("auto", "dlib", "yunet", "yunet@", "ssd@")

Completion = Callable[[click.Context, click.Parameter, str], list[str]]


def names(known: Iterable[str] | Callable[[], Iterable[str]]) -> Completion:
    """Return a ``shell_complete`` callback that offers the ``known`` names beginning with the typed text."""

    def complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
        return [name for name in (known() if callable(known) else known) if name.startswith(begun)]

    return complete


def datasets() -> Iterable[str]:
    """Return the values of ``--dataset``."""
    from ..corpora.clips.schemes import SCHEMES

    return ("auto", *SCHEMES)
