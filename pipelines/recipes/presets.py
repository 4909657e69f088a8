"""``--preset zhou2019|zhou2021``: the network of a paper, where the command line leaves it open."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import click

from ..cli.framework import InputError, is_given

MARKERS = "markers"


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


def with_preset(
    options: Mapping[str, Any], own: Mapping[str, Any] | None = None, given: Collection[str] | None = None
) -> dict[str, Any]:
    """All options of a run: its ``own``, else those given, else those of ``--preset``, else the defaults.

    Args:
        options: of the command.
        own: what is so whatever the command line says, as in a row of a table.
        given: names on the command line; those of the command that runs now if None.

    Raises:
        InputError: the paper has no such head.
    """
    own = own or {}
    values = {**options, **own}
    preset = PRESETS.get(values.get("preset") or "")
    if preset is None:
        return values
    fixed = {*own, *(_given() if given is None else given)}
    fusion = values["fusion"] if "fusion" in fixed else preset.heads[0]
    if fusion not in preset.heads:
        raise InputError(
            f"{values['preset']} has no {fusion}; it has {', '.join(preset.heads)}: take one of these, or "
            "leave --preset out"
        )
    markers = "visual" in fixed and values["visual"] == MARKERS
    chosen: dict[str, Any] = {"fusion": fusion}
    for part in preset.parts:
        if fusion in part.heads and (markers or not part.markers):
            chosen |= part.options
    if "attention" in fixed:  # which is about both streams
        fixed |= {"visual_attention", "audio_attention"}
    made = {**values, **{name: value for name, value in chosen.items() if name not in fixed}}
    if "halve_after" not in fixed and (made["halve_after"] or 0) >= made["epochs"]:
        made["halve_after"] = None  # a shorter training than the paper's does not come to it
    return made


def _given() -> set[str]:
    context = click.get_current_context(silent=True)
    if context is None:
        return set()
    names = (parameter.name or "" for parameter in context.command.params)
    return {name for name in names if is_given(name)}
