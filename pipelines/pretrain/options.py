"""Options shared by the commands of ``avemo pretrain``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..cli.framework import Decorator, altered, group, together
from ..cli.options import batch_option, device_option, epochs_option, precision_option, seed_option
from ..cli.outputs import overwrite_option

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from ...pretrain.recipe import TrainingRecipe


def with_defaults(options: Decorator, **values: Any) -> Decorator:
    """Give some of ``options`` other defaults."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        function = options(function)
        for option in function.__click_params__:  # type: ignore[attr-defined]  # where click collects them
            option.default = values.get(option.name, option.default)
        return function

    return decorate


recipe_options = together(
    group(
        "Training",
        altered(epochs_option, default=60),
        altered(batch_option, default=128, help="Samples per step, over all devices together."),
        click.option("--lr", type=click.FloatRange(min=0, min_open=True), metavar="RATE",
                     help="Peak learning rate, after the warm-up; then it falls along a cosine.  [default: "
                     "sgd 0.05, adamw 0.001; a tenth of it when starting from weights]"),
        click.option("--optimiser", type=click.Choice(["sgd", "adamw"]), default="sgd", show_default=True),
        seed_option,
        click.option("--balance", type=click.Choice(["none", "sampling", "weights"]), default="none",
                     show_default=True, help="Balance classes by sampling or by weights in the loss."),
        click.option("--patience", type=click.IntRange(min=0), default=0, metavar="EPOCHS",
                     help="Stop after this many epochs without better held-out accuracy.  [default: never]"),
        click.option("--weight-decay", type=click.FloatRange(min=0), default=5e-4, show_default=True,
                     metavar="SHARE"),
        click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), default=0.2,
                     show_default=True, metavar="SHARE", help="Dropout rate before the classifier."),
        click.option("--warm-up", type=click.FloatRange(min=0), default=2.0, show_default=True,
                     metavar="EPOCHS", help="Epochs over which the learning rate rises."),
        click.option("--label-smoothing", type=click.FloatRange(0, 1), default=0.1, show_default=True,
                     metavar="SHARE", help="Share of each label that is spread over all classes."),
        click.option("--mixup", type=click.FloatRange(min=0), default=0.0, show_default=True,
                     metavar="ALPHA", help="Mix pairs of samples, by shares drawn from Beta(ALPHA, ALPHA)."),
        click.option("--ema", type=click.FloatRange(0, 1, max_open=True), default=0.999, show_default=True,
                     metavar="SHARE", help="Decay per step of the weights' moving average (the final "
                     "weights)."),
    ),
    group(
        "Selection",
        click.option("--held-out", type=click.FloatRange(0, 0.5), default=0.1, show_default=True,
                     metavar="SHARE", help="Share of the training part to hold out for validation, by "
                     "which the epoch is chosen, if the data set has no validation part."),
    ),
)  # fmt: skip

speaker_options = group(
    "Selection",
    click.option("--held-out-subjects", default="", metavar="A,B,…",
                 help="Subjects to hold out, or to evaluate.  [default: drawn by --held-out]"),
    click.option("--no-subjects", is_flag=True,
                 help="Hold out recordings regardless of the speaker, which overestimates accuracy."),
)  # fmt: skip

device_options = group(
    "Where it runs",
    device_option,
    click.option("--processes", default="1", show_default=True, metavar="N",
                 help="Number of processes, each with its own device; auto: one per GPU."),
    altered(precision_option, type=click.Choice(["auto", "fp32", "bf16"]),
            help="auto: bf16 (mixed) if the machine supports it."),
    click.option("--nodes", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
                 help="Number of machines; torchrun or SLURM starts the same command on each."),
)  # fmt: skip

output_options = group(
    "Output",
    click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.safetensors",
                 help="File for the weights; the card (.json) and, during training, the state (.ckpt) are "
                 "written beside it."),
    click.option("--half", is_flag=True, help="Store weights in 16 bits: half the size."),
    click.option("--licence", default="", metavar="TEXT", help="Licence of the data, for the card."),
    altered(overwrite_option, help="Start again even if FILE or its state exists."),
)  # fmt: skip


augment_option = group(
    "Augmentation",
    click.option("--augment", default="", metavar="NAME=VALUE,…",
                 help="Settings of the augmentation, such as noise=0.2,shift=0; see below."),
)  # fmt: skip


def augmentation_help(kind: type[DataclassInstance]) -> str:
    """List the settings that ``--augment`` takes, with their defaults."""
    lines = [
        f"  {f'{each.name}={str(each.default).lower()}':20} {each.metadata['means']}" for each in fields(kind)
    ]
    return "\n".join(["", "\b", "Augmentation, and what --augment may change:", *lines, ""])


def evaluation_options(data: str, default: str) -> Decorator:
    """Return ``--evaluate`` and ``--weights``.

    Args:
        data: option that names the data.
        default: description of the weights evaluated by default.
    """
    return group(
        "Evaluation",
        click.option("--evaluate", "evaluating", is_flag=True,
                     help=f"Do not train; evaluate a network on {data}."),
        click.option("--weights", type=click.Path(path_type=Path), metavar="FILE.safetensors",
                     help=f"Network to evaluate.  [default: {default}]"),
    )  # fmt: skip


def without_option(why: str = "") -> Decorator:
    """Return ``--without CLASS``."""
    return click.option("--without", multiple=True, metavar="CLASS", help=f"Drop a class{why}. Repeatable.")


def chosen_subjects(options: Mapping[str, Any]) -> list[str]:
    """Return the names in ``--held-out-subjects``."""
    return [name.strip() for name in options["held_out_subjects"].split(",") if name.strip()]


def recipe_of(options: Mapping[str, Any], random: bool, augmentation: Any) -> TrainingRecipe:
    """Return the training settings of a network that starts at ``random`` or from weights."""
    from ...pretrain.recipe import TrainingRecipe

    usual = (0.05 if options["optimiser"] == "sgd" else 0.001) * (1 if random else 0.1)
    rate = usual if options["lr"] is None else options["lr"]
    own = {each.name for each in fields(TrainingRecipe)} & {*options}
    settings = {name: options[name] for name in own}
    return TrainingRecipe(**settings, learning_rate=rate, augmentation=augmentation)
