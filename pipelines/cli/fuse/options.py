"""Options shared by the commands of ``avemo-fuse``, and the settings made of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from textwrap import fill
from typing import Any, TypeVar

import click

from ....fusion.errors import FusionError
from ....fusion.heads.settings import KEYS, read_keys
from ...fuse.settings import HeadTraining, TrainSettings
from ...recipes.presets import presets, with_preset
from ..cluster_options import cluster_of, cluster_options
from ..completion import ATTENTIONS, AUDIO, ENCODERS, FUSIONS, VISUAL, names
from ..framework import Decorator, altered, given, group, refuse_idle, together
from ..options import (
    batch_option,
    device_option,
    dropout_option,
    epochs_option,
    learning_rate_option,
    members_option,
    seed_option,
    store_option,
    workers_option,
)
from ..outputs import overwrite_option

PART = re.compile(r"(\d{,9}) *\*? *([a-z][\w-]*)")
PAPER = "2am-fbp + 4g-fbp"
Settings = TypeVar("Settings", bound=HeadTraining)


def _listed(name: str, features: Sequence[str]) -> str:
    """Format features as a line or two, for ``--help``."""
    text, start = " ".join(features[1:]), f"  {name:<8}"
    return fill(text, 82, break_on_hyphens=False, initial_indent=start, subsequent_indent=" " * len(start))


FEATURES_HELP = f"""
\b
Features (a NAME, or NAME:BACKBONE if the store has several; auto: the best it has;
f-ar-mean:A+B joins two backbones):
{_listed("visual", VISUAL)}
{_listed("audio", AUDIO)}
"""


def _keys(context: click.Context, _: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    """Parse settings of the head: those in ``--config``, overridden by the command line."""
    try:
        return read_keys([*(context.lookup_default("head") or ()), *texts])
    except FusionError as error:
        raise click.BadParameter(str(error)) from error


HEAD_OPTIONS = group(
    "Head",
    click.option(
        "--fusion",
        default="fbp",
        show_default=True,
        metavar="NAME",
        shell_complete=names(FUSIONS),
        help=f"{', '.join(FUSIONS)}; avemo-fuse heads explains them. train also takes several for one run: "
        '"2am-fbp + 4g-fbp".',
    ),
    click.option(
        "--attention",
        metavar="NAME",
        shell_complete=names(ATTENTIONS),
        help="Attention over both streams: self, relation, transformer or conv.  [default: "
        "transformer; conv over faces in fbp and its variants]",
    ),
    click.option(
        "--preset",
        metavar="PAPER",
        shell_complete=names(presets),
        help="zhou2019 or zhou2021: the network of that paper; other options override it. zhou2021 trains "
        "a network on spectrograms with the head, which needs many clips and takes hours on a CPU.",
    ),
    click.option(
        "--visual-attention",
        metavar="NAME",
        shell_complete=names(ATTENTIONS),
        help="Attention over faces, if it differs.",
    ),
    click.option(
        "--audio-attention",
        metavar="NAME",
        shell_complete=names(ATTENTIONS),
        help="Attention over sound, if it differs.",
    ),
    altered(
        dropout_option,
        help="Dropout rate: of the products in bilinear pooling, of the classifier's input in other heads, "
        "and in self and relation attention.  [default: 0.6]",
    ),
    click.option(
        "--audio-encoder",
        metavar="NAME[@WEIGHTS]",
        shell_complete=names(ENCODERS),
        help="1d-abfcn or 2d-abfcn, trained with the head on spectrogram or logmel; WEIGHTS: an "
        "AlexNet's to start from.  [default: none]",
    ),
    click.option(
        "--visual-encoder",
        metavar="NAME[@WEIGHTS]",
        shell_complete=names(ENCODERS),
        help="The same for faces, trained with the head on markers.  [default: none]",
    ),
    click.option(
        "--set",
        "head",
        multiple=True,
        metavar="KEY=VALUE",
        callback=_keys,
        shell_complete=names(lambda: (f"{key}=" for key in KEYS)),
        help="A setting of the head, such as trunks=3; avemo-fuse heads explains all. Repeatable.",
    ),
)

GRID_OPTIONS = group(
    "Selection",
    click.option(
        "--grid",
        metavar="TEXT",
        help='Train with all combinations of values, such as "lambda_audio=0:1:0.1, lr=1e-4|1e-3, seed=0:4". '
        "Names: lr, weight_decay, halve_after, epochs, batch, dropout, and the numeric keys of --set; seed "
        "replaces --members.",
    ),
)
STACKED_OPTION = click.option(
    "--stacked/--no-stacked", default=None,
    help="Train members whose tensors have the same shapes as one model.  [default: on a GPU]",
)  # fmt: skip

allow_same_subjects = group(
    "Selection",
    click.option(
        "--allow-same-subjects",
        is_flag=True,
        help="Allow the same subjects in training and test; results are marked.",
    ),
)
allow_duplicates = group(
    "Selection",
    click.option(
        "--allow-duplicates",
        is_flag=True,
        help="Allow copies of a recording in training and test; results are marked.",
    ),
)

training_options = together(
    group(
        "Features",
        store_option,
        click.option("--visual", default="auto", show_default=True, metavar="FEATURE",
                     shell_complete=names(VISUAL), help="Feature to use for faces; see below."),
        click.option("--audio", default="auto", show_default=True, metavar="FEATURE",
                     shell_complete=names(AUDIO), help="Feature to use for sound; see below."),
    ),
    HEAD_OPTIONS,
    group(
        "Training",
        members_option,
        altered(epochs_option, help="Number of epochs.  [default: 60; more with few clips, fewer with many]"),
        batch_option,
        altered(learning_rate_option, help="Learning rate of Adam.  [default: 0.001]"),
        seed_option,
        click.option("--weight-decay", type=click.FloatRange(min=0), default=0.0, show_default=True,
                     metavar="SHARE", help="Decoupled weight decay, as in AdamW; helps with few clips."),
        click.option("--halve-after", type=click.IntRange(min=1), metavar="N",
                     help="Halve the learning rate after N epochs, as zhou2021 does after 50.  "
                     "[default: never]"),
    ),
    GRID_OPTIONS,
    allow_same_subjects,
    allow_duplicates,
    group("Where it runs", device_option, workers_option, STACKED_OPTION, cluster_options),
    group(
        "Output",
        altered(overwrite_option, help="Replace a run with other settings in --out."),
    ),
)  # fmt: skip
"""The options that ``train`` and ``cv`` share."""


def out_option(text: str) -> Decorator:
    """Return ``--out DIR``, whose default is that of the settings."""
    option = click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help=text)
    return group("Output", option)


def defaults_from(settings: type) -> Decorator:
    """Give options the defaults of the fields of ``settings`` with the same names."""
    defaults = {each.name: each.default for each in fields(settings) if each.default is not MISSING}

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in function.__click_params__:  # type: ignore[attr-defined]
            if option.name in defaults:
                option.default = defaults[option.name]
        return function

    return decorate


def asked(kind: type[Settings], options: dict[str, Any]) -> Settings:
    """Return the settings that the options of the running command ask for.

    Raises:
        UsageError: a given option would do nothing beside the others.
        InputError: the preset has no such head.
        FusionError: there is no such head or attention.
    """
    from ...fuse.acting import idle

    settings, preset = read(kind, options)
    settings = with_preset(settings, preset, given())
    refuse(idle(settings), settings.head)
    return settings


def asked_heads(options: dict[str, Any]) -> TrainSettings | list[TrainSettings]:
    """Like :func:`asked`, but a list if ``--fusion`` names several heads or a number of members."""
    if not re.search(r"\+|^\s*\d", options["fusion"]):
        return asked(TrainSettings, options)
    return several(*read(TrainSettings, options))


def several(settings: TrainSettings, preset: str | None) -> list[TrainSettings]:
    """Return the settings of each head of ``--fusion "2am-fbp + 4g-fbp"``.

    Raises:
        UsageError: a given option would do nothing in any of them, or the text has another form.
        InputError: the preset has no such head.
        FusionError: there is no such head or attention.
    """
    from ...fuse.acting import for_rows

    wanted = kinds(settings.fusion)
    options = given() - {"fusion"}
    for name in options & {"grid", "choose_grid", "members"}:
        why = "--fusion names several heads, and how many members of each"
        raise click.UsageError(f"--{name.replace('_', '-')} would do nothing: {why}")
    rows = [{"fusion": name, "members": count} for name, count in wanted.items()]
    every, idle = for_rows(settings, options | {*settings.head}, preset, rows, "head")
    refuse({name: why for name, why in idle.items() if name != "fusion"}, settings.head)
    return every


def kinds(text: str) -> dict[str, int]:
    """Parse ``2am-fbp + 4g-fbp`` into head → number of members.

    Raises:
        UsageError: the text has another form.
    """
    found: dict[str, int] = {}
    for part in text.split("+"):
        match = PART.fullmatch(part.strip())
        if not match or match[1] == "0":
            raise click.UsageError(
                f"{part.strip()!r} in {text!r}: expected a number and a head, as in {PAPER!r}"
            )
        found[match[2]] = found.get(match[2], 0) + int(match[1] or 1)
    return found


def read(kind: type[Settings], options: dict[str, Any]) -> tuple[Settings, str | None]:
    """Return the options, unchanged, as settings and the name of a preset."""
    preset = options.pop("preset")
    cluster = cluster_of(options)
    return kind(**options, cluster=cluster), preset


def refuse(idle: Mapping[str, str], head: Mapping[str, Any]) -> None:
    """Refuse options and keys of ``--set`` that are given but would do nothing.

    Raises:
        UsageError: there is one.
    """
    for key in head:
        if key in idle:
            raise click.UsageError(f"--set {key} would do nothing: {idle[key]}")
    refuse_idle(idle)
