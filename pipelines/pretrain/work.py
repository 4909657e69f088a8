"""Train or evaluate for the commands of ``avemo pretrain``, and print the outcome."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...cache.digits import whole_number
from ...pretrain.listener import Listener
from ..cli.framework import InputError, be_silent, keep_result
from ..cli.outputs import refuse_existing
from ..cli.progress import progress_bar
from ..cli.table import aligned

if TYPE_CHECKING:
    import lightning_fabric as lightning

    from ...pretrain.classifier import Classifier
    from ...pretrain.driver import Pretraining
    from ...pretrain.evaluation import Performance
    from ...pretrain.recipe import TrainingRecipe
    from ...pretrain.task import Task
    from ...pretrain.training import EpochFigures

SHOWN = 10  # limit for left-out samples named


class Terminal(Listener):
    """Shows progress bars, and one line per epoch."""

    @contextmanager
    def counting(self, what: str, unit: str, total: int, done: int = 0) -> Iterator[Callable[..., None]]:
        with progress_bar(total=total, initial=done, unit=unit, desc=what or None, leave=not what) as bar:

            def advance(count: int = 1, loss: float = float("nan")) -> None:
                if loss == loss:  # not NaN, as it is until the first loss is read
                    bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update(count)

            yield advance

    def on_resumed(self, checkpoint: Path, epochs: int) -> None:
        click.echo(f"continuing from {checkpoint} after {epochs} epochs")

    def on_epoch(self, epoch: EpochFigures, epochs: int) -> None:
        from tqdm import tqdm

        text = f"epoch {epoch.epoch:3} of {epochs}: {_figures(epoch.train_loss, epoch.train_accuracy)}"
        if epoch.val_loss is not None and epoch.val_accuracy is not None:
            held_out = _figures(epoch.val_loss, epoch.val_accuracy)
            text = f"{text}; held out: {held_out}, UAR {epoch.val_uar:.3f}"
        tqdm.write(text)


def _figures(loss: float, accuracy: float) -> str:
    return f"loss {loss:.3f}, accuracy {accuracy:.3f}"


RANKS = ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
"""Variables in which Lightning, torchrun and Slurm number a process or its machine."""


@contextmanager
def only_the_first_speaks() -> Iterator[None]:
    """Silence all processes that train together but the first, except for errors."""
    if all(os.environ.get(rank, "0") == "0" for rank in RANKS):
        yield
        return
    be_silent()
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


def train(task: Task, recipe: TrainingRecipe, start: str, options: Mapping[str, Any]) -> int:
    """Train, or continue a training; return the exit code."""
    from ...extract.precision import resolve_precision
    from ...pretrain.driver import Pretraining

    name = task.name or f"{task.unit}s"
    out = options["out"] or default_out(task.architecture, name)
    job = Pretraining(task, recipe, out, start)
    _clear_way(job, options["overwrite"])
    begins = f"starting from {start}" if start else "starting at random"
    to_fit, held_out = task.describe(job.train_rows), task.describe(job.held_out_rows)
    click.echo(f"{task.architecture}, {begins}: to fit {to_fit}; held out {held_out}")
    if job.done and not options["overwrite"]:
        click.echo(f"{out}: trained already")
        return _say_skipped(task)
    fabric = make_fabric(options)
    precision = resolve_precision(options["precision"], fabric.device)
    best, performances = job.run(fabric, precision, Terminal(), options["half"], options["licence"])
    if not fabric.is_global_zero:
        return 0
    _tell(performances, f"held out, epoch {best}")
    keep_result(weights=str(out))
    click.echo(f"wrote {out} and {out.with_suffix('.json')}")
    return _say_skipped(task)


def evaluate(task: Task, classifier: Classifier, weights: Path, options: Mapping[str, Any]) -> int:
    """Evaluate a network; return the exit code."""
    from ...extract.backbones.weights_folder import read_card
    from ...extract.precision import resolve_precision
    from ...pretrain.evaluation import Computing
    from ...pretrain.recipe import TrainingRecipe

    listener, device = Terminal(), torch_device(options["device"])
    rows, part = task.to_evaluate()
    of = f"{task.name} {part}".strip()
    click.echo(f"{weights.name} on {of}: {task.describe(rows)}{task.manner}")
    known = task.seen_subjects(read_card(weights).get("data", {}), rows)
    if known:
        click.echo(
            f"note: it was trained on subjects called {', '.join(known)}; if they are the same people, "
            "these figures are optimistic"
        )
    samples = task.samples(TrainingRecipe(augmentation=task.changes()), rows, listener)
    computing = Computing(device, resolve_precision(options["precision"], device), listener)
    performances = task.evaluated(classifier, samples, rows, computing)
    code = _say_skipped(task)
    _tell(performances, of)
    return code


def require_fabric() -> None:
    """Check that Lightning Fabric is installed.

    Raises:
        InputError: it is not; the text says what to install.
    """
    from importlib.util import find_spec

    if find_spec("lightning_fabric") is None:
        raise InputError("training needs Lightning Fabric: pip install 'avemo[pretrain]'")


def torch_device(name: str) -> str:
    """Return PyTorch's name of the device that ``--device`` asks for.

    Raises:
        InputError: this machine has no such device.
    """
    import torch

    from ...extract.devices import best_device

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    wanted = best_device() if name == "auto" else name
    kind, _, number = wanted.partition(":")
    if not there.get(kind) or (number and whole_number(number) not in range(torch.cuda.device_count())):
        has = ", ".join(name for name, is_there in there.items() if is_there)
        raise InputError(f"--device {name} is not available here; PyTorch finds {has}")
    return wanted


def make_fabric(options: Mapping[str, Any]) -> lightning.Fabric:
    """Return the Fabric for the device, processes and precision of the options."""
    import logging

    import lightning_fabric as lightning

    from ...extract.precision import resolve_precision

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    device, processes = torch_device(options["device"]), options["processes"]
    kind, _, number = device.partition(":")
    try:
        fabric = lightning.Fabric(
            accelerator=kind,
            devices=[int(number)] if number else processes,
            num_nodes=options["nodes"],
            precision="bf16-mixed"
            if resolve_precision(options["precision"], device) == "bf16"
            else "32-true",
        )
        fabric.launch()
    except (ValueError, RuntimeError, TypeError) as error:
        given = f"--device {options['device']} --processes {processes}"
        raise InputError(f"{given} is not available here: {str(error).splitlines()[0]}") from error
    return fabric


def default_out(architecture: str, data: str) -> Path:
    """Return the file for weights if the user names none."""
    return Path(f"{architecture.replace(':', '-')}-{data}.safetensors")


def weights_there(options: Mapping[str, Any], default: Path) -> Path:
    """Return the weights to evaluate: ``--weights``, ``--out`` or the ``default``.

    Raises:
        InputError: there is no such file.
    """
    weights: Path = options["weights"] or options["out"] or default
    if not weights.exists():
        raise InputError(f"there are no weights {weights}; name them with --weights FILE.safetensors")
    return weights


def _clear_way(job: Pretraining, overwrite: bool) -> None:
    """Check that nothing of another training is lost.

    Raises:
        InputError: there are weights of another training, and they may not be overwritten.
    """
    if overwrite:
        job.checkpoint.unlink(missing_ok=True)
    elif not job.done:
        refuse_existing([job.out], overwrite)
        refuse_existing([job.out.with_suffix(".json")], overwrite, unless=job.checkpoint)
    job.out.parent.mkdir(parents=True, exist_ok=True)


def _say_skipped(task: Task) -> int:
    """Name the samples that were left out or used in part; return the exit code."""
    packed = task.packed
    lines = [f"left out: {item.name}: {item.reason}" for item in packed.skipped]
    damaged = getattr(packed, "damaged", ())
    lines += [f"damaged: {item.name}: {item.reason}; what could be read is used" for item in damaged]
    for line in lines[:SHOWN]:
        click.echo(line, err=True)
    if len(lines) > SHOWN:
        click.echo(f"left out or damaged: {len(lines) - SHOWN} more", err=True)
    return 1 if lines else 0


def _tell(performances: Mapping[str, Performance], of: str) -> None:
    """Print calibration and confusion matrices; the last line has accuracy and UAR."""
    for name, performance in performances.items():
        named = f"{name}, {of}" if len(performances) > 1 else of
        found, summary, card = performance.calibration, performance.summary, performance.as_card()
        click.echo(
            f"calibration: cross entropy {found.loss:.3f}, error {found.error:.3f}; at a temperature of "
            f"{found.temperature:.2f}, fitted on these: {found.tempered_loss:.3f}, {found.tempered_error:.3f}"
        )
        keep_result(calibration=card.pop("calibration"), figures={named: card})
        recalls = summary.recalls
        rows = [
            [name, *counts, f"{recalls[name]:.1%}" if name in recalls else "-"]
            for name, counts in zip(summary.classes, summary.confusion.tolist(), strict=True)
        ]
        click.echo("\n" + aligned([f"{named}: true \\ said", *summary.classes, "recall"], rows))
        click.echo(f"accuracy {summary.accuracy:.3f}  UAR {summary.uar:.3f}")
