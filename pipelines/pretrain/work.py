"""Training a classifier under a progress bar, its weights and card; and saying how good it is."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..cli.framework import InputError, be_silent, keep_result
from ..cli.outputs import refuse_existing
from ..cli.progress import progress_bar
from ..cli.table import aligned
from .options import learning_rate

if TYPE_CHECKING:
    import lightning_fabric as lightning
    import numpy as np

    from ...pretrain.calibration import Calibration
    from ...pretrain.classifier import Classifier
    from ...pretrain.evaluation import Figures
    from ...pretrain.recipe import Recipe
    from ...pretrain.samples import Samples
    from ...pretrain.teachers import Teachers
    from ...pretrain.training import Epoch, Fitted


SHOWN = 10  # subjects by name


@contextmanager
def only_the_first_speaks() -> Iterator[None]:
    """Of the processes that train together, all but the first print nothing but errors."""
    if int(os.environ.get("LOCAL_RANK", 0)) == int(os.environ.get("NODE_RANK", 0)) == 0:
        yield
        return
    be_silent()
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


def recipe_of(options: Mapping[str, Any], random: bool) -> Recipe:
    """What the options of every recipe say, for a network that starts at ``random`` or from weights."""
    from ...pretrain.recipe import Recipe

    plain = ("epochs", "batch", "optimiser", "warm_up", "weight_decay", "label_smoothing", "dropout")
    others = ("mixup", "balance", "ema", "patience", "seed")
    return Recipe(
        **{name: options[name] for name in (*plain, *others)}, learning_rate=learning_rate(options, random)
    )


def require_fabric() -> None:
    """Raises :class:`InputError`, which says what to install, where Lightning Fabric is not."""
    from importlib.util import find_spec

    if find_spec("lightning_fabric") is None:
        raise InputError("training needs Lightning Fabric: pip install 'avemo[pretrain]'")


def torch_device(kind: str) -> str:
    """PyTorch's name of the device that ``--accelerator`` asks for.

    Raises:
        InputError: this machine has none.
    """
    import torch

    from ...extract.plan import best_device

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    found = best_device()
    wanted = {"auto": found, "gpu": found if found != "cpu" else ""}.get(kind, kind)
    if not there.get(wanted):
        has = ", ".join(name for name, is_there in there.items() if is_there)
        raise InputError(f"--accelerator {kind} cannot be had here; PyTorch finds {has}")
    return wanted


def make_fabric(options: Mapping[str, Any]) -> lightning.Fabric:
    """Where and how exactly to compute, as the options say."""
    require_fabric()
    import logging

    import lightning_fabric as lightning

    from ...extract.precision import resolve_precision

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    kind = options["accelerator"]
    device = torch_device(kind)  # told before a training, at whose end the network is evaluated there
    mixed = resolve_precision(options["precision"], device) == "bf16"
    try:
        fabric = lightning.Fabric(
            accelerator=kind,
            devices=options["devices"],
            num_nodes=options["nodes"],
            precision="bf16-mixed" if mixed else "32-true",
        )
        fabric.launch()
    except (ValueError, RuntimeError, TypeError) as error:
        given = f"--accelerator {kind} --devices {options['devices']}"
        raise InputError(f"{given} cannot be had here: {str(error).splitlines()[0]}") from error
    return fabric


@dataclass(frozen=True, eq=False)
class Job:
    """What is to be trained, on what, and where its weights go."""

    samples: Samples
    fit: np.ndarray
    watch: np.ndarray
    recipe: Recipe
    identity: Mapping[str, Any]
    out: Path
    teachers: Teachers | None = None

    @property
    def checkpoint(self) -> Path:
        return self.out.with_suffix(".ckpt")

    @property
    def done(self) -> bool:
        """Whether the weights of this very training are there."""
        card = self.out.with_suffix(".json")
        if not (self.out.is_file() and card.is_file()):
            return False
        try:
            trained = json.loads(card.read_text(encoding="utf-8")).get("identity")
        except (ValueError, AttributeError):
            return False
        return bool(trained == json.loads(json.dumps(self.identity)))


def clear_way(job: Job, overwrite: bool) -> None:
    """See that nothing of another training is lost.

    Raises:
        InputError: there are weights of another training, and they may not be overwritten.
    """
    if overwrite:
        job.checkpoint.unlink(missing_ok=True)
    elif not job.done:
        refuse_existing([job.out], overwrite)
        refuse_existing([job.out.with_suffix(".json")], overwrite, unless=job.checkpoint)
    job.out.parent.mkdir(parents=True, exist_ok=True)


def fit(fabric: lightning.Fabric, classifier: Classifier, job: Job) -> tuple[Fitted, float]:
    """Train, a line an epoch, or go on with a training; what came of it, and the seconds of this run."""

    from ...pretrain.training import Training

    training = Training(
        fabric,
        classifier,
        job.samples,
        job.fit,
        job.watch,
        job.recipe,
        job.identity,
        job.checkpoint,
        job.teachers,
    )
    if training.steps_done:
        click.echo(f"going on with {job.checkpoint} after {len(training.history)} epochs")
    total = job.recipe.epochs * training.steps_an_epoch
    started = time.perf_counter()
    with progress_bar(
        total=total, initial=training.steps_done, unit="step", disable=not fabric.is_global_zero
    ) as bar:

        def on_step(loss: float) -> None:
            if loss == loss:  # not NaN, as before the first look
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()

        def on_epoch(epoch: Epoch) -> None:
            if fabric.is_global_zero:
                bar.write(_line(epoch, job.recipe.epochs))

        fitted = training.run(on_step, on_epoch)
    return fitted, time.perf_counter() - started


def _line(epoch: Epoch, epochs: int) -> str:
    text = f"epoch {epoch.epoch:3} of {epochs}: {_figures(epoch.train_loss, epoch.train_accuracy)}"
    if epoch.val_loss is None or epoch.val_accuracy is None:
        return text
    return f"{text}; held out: {_figures(epoch.val_loss, epoch.val_accuracy)}, UAR {epoch.val_uar:.3f}"


def _figures(loss: float, accuracy: float) -> str:
    return f"loss {loss:.3f}, accuracy {accuracy:.3f}"


def training_card(job: Job, fitted: Fitted, seconds: float) -> dict[str, Any]:
    """What any card says of a training: the recipe, the counts, the history."""
    from importlib.metadata import version

    import numpy as np
    import torch

    from ... import __version__

    classes = job.samples.classes
    counts = {
        name: dict(zip(classes, np.bincount(targets, minlength=len(classes)).tolist(), strict=True))
        for name, targets in (("fitted", _targets(job, job.fit)), ("held_out", _targets(job, job.watch)))
    }
    return {
        "identity": job.identity,
        "classes": list(classes),
        "counts": counts,
        "best_epoch": fitted.best,
        "seconds_of_last_run": round(seconds),
        "versions": {
            "avemo": __version__,
            "torch": str(torch.__version__),
            "lightning-fabric": version("lightning-fabric"),
        },
        "history": [asdict(epoch) for epoch in fitted.history],
    }


def _targets(job: Job, rows: np.ndarray) -> np.ndarray:
    return job.samples.labels[rows].argmax(1)


def of_whom(subjects: np.ndarray) -> str:
    """`` of`` and the names, or their number where they are many; empty where nobody is named."""
    names = sorted({*subjects.tolist()} - {""})
    if not names:
        return ""
    return f" of {', '.join(names) if len(names) <= SHOWN else f'{len(names)} subjects'}"


def probabilities(
    classifier: Classifier, samples: Samples, rows: np.ndarray, unit: str, options: Mapping[str, Any]
) -> np.ndarray:
    """``[N, C]``: what a network says of samples as they are, under a progress bar that counts ``unit``."""
    from ...extract.precision import resolve_precision
    from ...pretrain.evaluation import plain_probabilities

    device = torch_device(options["accelerator"])
    precision = resolve_precision(options["precision"], device)
    with progress_bar(total=len(rows), unit=unit, desc="evaluating", leave=False) as bar:
        return plain_probabilities(classifier, samples, rows, device, precision, bar.update)


def as_card(figures: Figures) -> dict[str, Any]:
    """Figures as plain values."""
    return {
        "accuracy": round(figures.accuracy, 4),
        "uar": round(figures.uar, 4),
        "recall": {name: round(value, 4) for name, value in figures.recalls.items()},
        "confusion": figures.confusion.tolist(),
    }


def rounded(calibration: Calibration) -> dict[str, float]:
    """As plain values."""
    return {name: round(value, 4) for name, value in asdict(calibration).items()}


def tell_calibration(found: Calibration) -> None:
    """Print what probabilities are worth, as they are and at the temperature that suits them best."""
    click.echo(
        f"calibration: cross entropy {found.loss:.3f}, error {found.error:.3f}; at a temperature of "
        f"{found.temperature:.2f}, fitted on these: {found.tempered_loss:.3f}, {found.tempered_error:.3f}"
    )
    keep_result(calibration=rounded(found))


def tell_figures(figures: Figures, of: str) -> None:
    """Print the confusion matrix with each class's recall; the last line holds accuracy and UAR."""
    recalls = figures.recalls
    rows = [
        [name, *counts, f"{recalls[name]:.1%}" if name in recalls else "-"]
        for name, counts in zip(figures.classes, figures.confusion.tolist(), strict=True)
    ]
    keep_result(figures={of: as_card(figures)})
    click.echo("\n" + aligned([f"{of}: true \\ said", *figures.classes, "recall"], rows))
    click.echo(f"accuracy {figures.accuracy:.3f}  UAR {figures.uar:.3f}")
