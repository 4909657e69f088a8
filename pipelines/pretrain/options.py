"""The options that the commands of ``avemo pretrain`` have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from ..cli.framework import InputError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def together(*options: Decorator) -> Decorator:
    """All of ``options`` as one decorator, shown in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def with_defaults(options: Decorator, **values: Any) -> Decorator:
    """``options``, some of them with other defaults."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        function = options(function)
        for option in function.__click_params__:  # type: ignore[attr-defined]  # where click gathers them
            option.default = values.get(option.name, option.default)
        return function

    return decorate


recipe_options = together(
    click.option("--epochs", type=click.IntRange(min=1), default=60, show_default=True, metavar="N"),
    click.option("--batch", type=click.IntRange(min=1), default=128, show_default=True, metavar="N",
                 help="Samples a step, over all devices together."),
    click.option("--optimiser", type=click.Choice(["sgd", "adamw"]), default="sgd", show_default=True),
    click.option("--lr", type=click.FloatRange(min=0, min_open=True), metavar="RATE",
                 help="Highest learning rate; it rises first, then falls along a cosine.  "
                      "[default: sgd 0.05, adamw 0.001; a tenth of it from given weights]"),
    click.option("--warm-up", type=click.FloatRange(min=0), default=2.0, show_default=True, metavar="EPOCHS",
                 help="So long the learning rate rises."),
    click.option("--weight-decay", type=click.FloatRange(min=0), default=5e-4, show_default=True,
                 metavar="SHARE"),
    click.option("--label-smoothing", type=click.FloatRange(0, 1), default=0.1, show_default=True,
                 metavar="SHARE", help="Of each label, spread over all classes."),
    click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), default=0.2, show_default=True,
                 metavar="SHARE", help="Of the features, below the layer of classes."),
    click.option("--mixup", type=click.FloatRange(min=0), default=0.0, show_default=True, metavar="ALPHA",
                 help="Mix samples in pairs, by shares drawn from Beta(ALPHA, ALPHA)."),
    click.option("--balance", type=click.Choice(["none", "sampling", "weights"]), default="none",
                 show_default=True, help="Show each class as often, or weigh it as much."),
    click.option("--ema", type=click.FloatRange(0, 1, max_open=True), default=0.999, show_default=True,
                 metavar="SHARE", help="That the moving average of the weights, which is kept in the end, "
                                       "keeps a step."),
    click.option("--patience", type=click.IntRange(min=0), default=0, metavar="EPOCHS",
                 help="Stop after so many without a better accuracy on the held-out part.  [default: never]"),
    click.option("--held-out", type=click.FloatRange(0, 0.5), default=0.1, show_default=True,
                 metavar="SHARE", help="Of the training part, to watch and to choose the epoch by, where the "
                                       "data set has no part for that."),
    click.option("--seed", type=int, default=0, show_default=True),
)  # fmt: skip

speaker_options = together(
    click.option("--held-out-subjects", default="", metavar="A,B,…",
                 help="Watch, or evaluate, these.  [default: as --held-out says]"),
    click.option("--no-subjects", is_flag=True,
                 help="Hold out recordings whoever speaks in them, which flatters the network."),
)  # fmt: skip

device_options = together(
    click.option("--accelerator", type=click.Choice(["auto", "cpu", "gpu", "cuda", "mps"]), default="auto",
                 show_default=True, help="gpu is cuda or mps, auto is that or cpu."),
    click.option("--devices", default="1", show_default=True, metavar="N", help="How many of them, or auto."),
    click.option("--nodes", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
                 help="Machines, each of which is given the same command by torchrun or SLURM."),
    click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto",
                 show_default=True, help="auto is bf16 (mixed) where the machine computes in it."),
)  # fmt: skip

output_options = together(
    click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.safetensors",
                 help="The weights; the card (.json) and, until it is done, the state (.ckpt) lie beside."),
    click.option("--half", is_flag=True, help="Store 16 bits a number: half the size."),
    click.option("--licence", default="", metavar="TEXT", help="Of the data, for the card."),
    click.option("--overwrite", is_flag=True, help="Start anew where FILE, or its state, is there already."),
)  # fmt: skip


def chosen_subjects(options: Mapping[str, Any]) -> list[str]:
    """What ``--held-out-subjects`` says."""
    return [name.strip() for name in options["held_out_subjects"].split(",") if name.strip()]


def learning_rate(options: Mapping[str, Any], random: bool) -> float:
    """What ``--lr`` says, or the default for a network that starts at ``random`` or from weights."""
    if options["lr"] is not None:
        return float(options["lr"])
    usual = 0.05 if options["optimiser"] == "sgd" else 0.001
    return usual if random else usual / 10


def renaming(texts: Iterable[str]) -> dict[str, str]:
    """What ``--rename`` says: the name found → the one wanted.

    Raises:
        InputError: one is not of the form FOUND=WANTED.
    """
    names = {}
    for text in texts:
        found, equals, wanted = text.partition("=")
        if not (found and equals and wanted):
            raise InputError(f"--rename {text!r}: expected FOUND=WANTED, as anger=Angry")
        names[found] = wanted
    return names
