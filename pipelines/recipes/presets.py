"""``--preset zhou2019|zhou2021``: the network of a paper, where the command line leaves it open."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from ..cli.framework import InputError
from ..fuse.settings import HeadTraining

MARKERS = "markers"
Settings = TypeVar("Settings", bound=HeadTraining)


@dataclass(frozen=True)
class Part:
    """Options of some heads; if ``markers``, only where the pictures are facial markers."""

    heads: tuple[str, ...]
    options: Mapping[str, Any]
    markers: bool = False


@dataclass(frozen=True)
class Preset:
    """The options in which a paper's network differs from the defaults of ``avemo-fuse train``.

    Those defaults are the papers' where they print a number: K = 4, O = 128, H = 6, dropout 0.3, Adam 1e-4,
    200 epochs, batches of 64 (zhou2021 §IV; zhou2019 prints none of them).

    Attributes:
        heads: its heads, the one that is taken where none is named first.
        parts: a later one goes before an earlier one.
    """

    heads: tuple[str, ...]
    parts: tuple[Part, ...]


TRUNKS = ("am-fbp", "m-fbp")
FUSED = (*TRUNKS, "ag-fbp", "g-fbp", "concat", "decision")

PRESETS = {
    # zhou2019 §2.2 and table 2: the vectors of AlexNet; transformer attention and FBP are the defaults
    "zhou2019": Preset(
        ("fbp", "concat", "audio", "faces"), (Part(("fbp", "concat", "audio"), {"audio": "alexnet"}),)
    ),
    "zhou2021": Preset(
        (*FUSED, "audio", "faces"),
        (
            Part(  # §III-A
                (*FUSED, "audio"),
                {
                    "audio": "spectrogram",
                    "audio_encoder": "1d-abfcn",
                    "audio_attention": "transformer",
                    "lambda_audio": 0.3,
                },
            ),
            Part((*FUSED, "faces"), {"visual": "basic", "visual_attention": "conv", "lambda_visual": 1.0}),
            Part(("audio", "faces"), {"epochs": 100, "batch": 32, "halve_after": 50}),  # §IV
            # IEMOCAP: the same encoder as for the sound, of which attention follows it the paper says nothing
            Part(
                (*FUSED, "faces"),
                {"visual": MARKERS, "visual_encoder": "1d-abfcn", "visual_attention": "transformer"},
                markers=True,
            ),
            Part(("faces",), {"lambda_visual": 0.5, "learning_rate": 2e-4}, markers=True),
            Part(TRUNKS, {"trunks": 19}, markers=True),
        ),
    ),
}

PRESET_OPTION = click.option(
    "--preset", type=click.Choice(list(PRESETS)), metavar="PAPER",
    help="zhou2019 or zhou2021: the network of that paper; other options override it. zhou2021 trains a "
    "network on spectrograms with the head, which needs many clips and takes hours on a CPU.",
)  # fmt: skip


def with_preset(settings: Settings, paper: str | None, given: Collection[str]) -> Settings:
    """The settings with the network of a paper where they leave it open.

    Args:
        settings: as given.
        paper: a name in :data:`PRESETS`; None for none.
        given: the fields of ``settings`` that are not to be changed; neither are the keys of its head.

    Raises:
        InputError: the paper has no such head.
    """
    if paper is None:
        return settings
    preset, fixed = PRESETS[paper], {*given, *settings.head}
    fusion = settings.fusion if "fusion" in fixed else preset.heads[0]
    if fusion not in preset.heads:
        raise InputError(
            f"{paper} has no {fusion}; it has {', '.join(preset.heads)}: take one of these, or leave "
            "--preset out"
        )
    markers = "visual" in fixed and settings.visual == MARKERS
    chosen: dict[str, Any] = {"fusion": fusion}
    for part in preset.parts:
        if fusion in part.heads and (markers or not part.markers):
            chosen |= part.options
    if "attention" in fixed:  # which is about both streams
        fixed |= {"visual_attention", "audio_attention"}
    made = settings.changed(**{name: value for name, value in chosen.items() if name not in fixed})
    if "halve_after" not in fixed and (made.halve_after or 0) >= made.epochs:
        return made.changed(halve_after=None)  # a shorter training than the paper's does not come to it
    return made
