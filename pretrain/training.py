"""Trains a network on labelled samples, on the devices of Lightning Fabric."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import lightning_fabric as lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..cache import durable
from ..fusion.evaluation.metrics import figures
from .classifier import Classifier
from .errors import PretrainError
from .recipe import TrainingRecipe
from .samples import Samples
from .teachers import Teachers

_CHECK_EVERY = 25  # steps between readings of the loss, each of which waits for the device
_SAVE_EVERY = 40 * _CHECK_EVERY  # steps between checkpoints within an epoch


@dataclass(frozen=True)
class EpochFigures:
    """One line of a history.

    Training loss and accuracy are of the augmented samples during the epoch; held-out figures are of the
    averaged weights, None without a held-out part. ``size`` is in pixels or frames.
    """

    epoch: int
    size: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    val_loss: float | None = None
    val_accuracy: float | None = None
    val_uar: float | None = None


@dataclass(frozen=True, eq=False)
class Fitted:
    """The result of a training: the best averaged weights, their epoch, and the history."""

    classifier: Classifier
    best: int
    history: tuple[EpochFigures, ...]


class Training:
    """The training of a classifier; a kill loses at most the steps since the last checkpoint.

    The order of the samples, their augmentation and the dropout of a step depend only on the seed and the
    step's number, so a resumed training sees what it would have seen without the interruption.

    Args:
        fabric: devices and precision to compute with.
        classifier: network with its class layer, on the CPU.
        samples: all samples.
        train_rows: indices of the training samples.
        held_out_rows: indices of the held-out samples.
        recipe: all settings.
        identity: network, samples and settings; a checkpoint with another identity is refused.
        checkpoint: checkpoint file; training resumes from it if it exists.
        teachers: networks to distil, which must be part of the identity.

    Raises:
        PretrainError: the checkpoint is of another training, or cannot be read.
    """

    def __init__(
        self,
        fabric: lightning.Fabric,
        classifier: Classifier,
        samples: Samples,
        train_rows: np.ndarray,
        held_out_rows: np.ndarray,
        recipe: TrainingRecipe,
        identity: Mapping[str, Any],
        checkpoint: Path,
        teachers: Teachers | None = None,
    ) -> None:
        self.recipe = recipe
        self.history: list[EpochFigures] = []
        self._fabric, self._samples = fabric, samples
        self._train_rows, self._held_out_rows, self._file = train_rows, held_out_rows, checkpoint
        self._identity = json.loads(json.dumps(identity))
        self._teachers = teachers.to(fabric.device) if teachers else None
        self._batch = min(recipe.batch, len(train_rows))
        self.steps_an_epoch = len(train_rows) // self._batch
        self._classifier = classifier
        self._averaged = AveragedModel(
            self._classifier, multi_avg_fn=_averaging(recipe.ema), use_buffers=True
        ).to(fabric.device)
        optimiser = _optimiser(self._classifier, recipe)
        self._model, self._optimiser = fabric.setup(self._classifier, optimiser)
        self._class_weights = self._balance()
        self._step, self._best, self._best_accuracy = 0, 0, -1.0
        self._best_state: dict[str, Tensor] = {}
        self._loss = self._right = 0.0
        if checkpoint.exists():
            self._load()

    @property
    def steps_done(self) -> int:
        """Number of steps done in all epochs, including those before a resumption."""
        return self._step

    def run(self, on_step: Callable[[float], None], on_epoch: Callable[[EpochFigures], None]) -> Fitted:
        """Train to the end.

        Args:
            on_step: called after each step with the epoch's mean loss as last read; NaN before.
            on_epoch: called after each epoch.

        Raises:
            PretrainError: the loss is no longer finite, or memory runs out; the last checkpoint is kept.
        """
        try:
            while not self._finished():
                self._epoch(on_step)
                on_epoch(self.history[-1])
                self.save()
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            raise PretrainError(
                f"out of memory with {self._batch} samples a step: try --batch {max(1, self._batch // 2)}; "
                f"{len(self.history)} epochs are kept in {self._file}"
            ) from error
        averaged = cast(Classifier, self._averaged.module)
        if self._best_state:
            averaged.load_state_dict(self._best_state)
        return Fitted(averaged.to("cpu").eval(), self._best, tuple(self.history))

    def save(self) -> None:
        """Write the checkpoint, keeping the old one until the new one is complete."""
        partial = self._file.with_suffix(".partial")
        self._fabric.save(partial, self._state())
        if self._fabric.is_global_zero:
            durable.put(partial, self._file)
        self._fabric.barrier()

    def _state(self) -> dict[str, Any]:
        return {
            "identity": self._identity,
            "model": self._model,
            "optimiser": self._optimiser,
            "averaged": self._averaged.state_dict(),
            "best_state": self._best_state,
            "numbers": {
                "step": self._step,
                "best": self._best,
                "best_accuracy": self._best_accuracy,
                "loss": self._loss,
                "right": self._right,
            },
            "history": [asdict(epoch) for epoch in self.history],
        }

    def _load(self) -> None:
        try:
            state = self._fabric.load(self._file, weights_only=True)
            other = [name for name in self._identity if state["identity"].get(name) != self._identity[name]]
            if other:
                raise PretrainError(f"another {' and '.join(other)}")
            self._model.load_state_dict(state["model"])
            self._optimiser.load_state_dict(state["optimiser"])
            self._averaged.load_state_dict(state["averaged"])
        except Exception as error:  # a truncated file, or one of another network, may fail in any way
            raise PretrainError(
                f"{self._file}: cannot be resumed ({str(error).splitlines()[0]}); start anew with --overwrite"
            ) from error
        numbers = state["numbers"]
        self._step, self._best = numbers["step"], numbers["best"]
        self._best_accuracy = numbers["best_accuracy"]
        self._loss, self._right = numbers["loss"], numbers["right"]
        self._best_state = state["best_state"]
        self.history = [EpochFigures(**epoch) for epoch in state["history"]]

    def _finished(self) -> bool:
        done = len(self.history)
        waited = done - self._best if self.recipe.patience and self._best else 0
        return done >= self.recipe.epochs or (waited >= self.recipe.patience > 0)

    def _epoch(self, on_step: Callable[[float], None]) -> None:
        number = len(self.history)
        order = self._order(number)
        self._model.train()
        first = self._step - number * self.steps_an_epoch
        if first == 0:
            self._loss = self._right = 0.0
        loss = torch.zeros((), device=self._fabric.device)
        right = torch.zeros((), device=self._fabric.device)
        mean = math.nan
        for place in range(first, self.steps_an_epoch):
            rows = order[place * self._batch : (place + 1) * self._batch]
            step_loss, step_right = self._fit_step(rows, number)
            loss += step_loss
            right += step_right
            self._step += 1
            if (place + 1) % _CHECK_EVERY == 0 or place + 1 == self.steps_an_epoch:
                self._loss += self._checked(loss.item())
                self._right += right.item()
                mean = self._loss / (place + 1)
                loss.zero_()
                right.zero_()
                if (place + 1) % _SAVE_EVERY == 0:
                    self.save()
            on_step(mean)
        seen = self.steps_an_epoch * self._batch
        learning_rate = self._optimiser.param_groups[0]["lr"]
        fitted = (self._loss / self.steps_an_epoch, self._right / seen)
        size = self._samples.size(number)
        self.history.append(EpochFigures(number + 1, size, learning_rate, *fitted, *self._watched(size)))
        accuracy = self.history[-1].val_accuracy
        if size == self._samples.full_size and (accuracy is None or accuracy > self._best_accuracy):
            self._best, self._best_accuracy = number + 1, -1.0 if accuracy is None else accuracy
            state = self._averaged.module.state_dict()
            self._best_state = {name: value.detach().clone() for name, value in state.items()}

    def _fit_step(self, rows: np.ndarray, epoch: int) -> tuple[Tensor, Tensor]:
        recipe, fabric = self.recipe, self._fabric
        seed = int(np.random.SeedSequence([recipe.seed, self._step, fabric.global_rank]).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        rows = rows[fabric.global_rank :: fabric.world_size]
        inputs = self._samples.changed(rows, epoch, generator, fabric.device)
        labels = targets = self._labels(rows)
        if recipe.mixup > 0:
            share = np.random.default_rng(seed).beta(recipe.mixup, recipe.mixup)
            inputs, targets = (share * v + (1 - share) * v.flip(0) for v in (inputs, labels))
        if self._teachers is not None:
            with fabric.autocast():
                targets = self._teachers.targets(inputs, targets)
        for group in self._optimiser.param_groups:
            group["lr"] = self._learning_rate()
        logits = self._model(inputs).float()
        loss = functional.cross_entropy(
            logits, targets, self._class_weights, label_smoothing=recipe.label_smoothing
        )
        fabric.backward(loss)
        fabric.clip_gradients(self._model, self._optimiser, max_norm=5.0, error_if_nonfinite=False)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self._averaged.update_parameters(self._classifier)
        right = (logits.argmax(1) == labels.argmax(1)).sum()
        return self._over_all(loss.detach(), "mean"), self._over_all(right.float(), "sum")

    def _over_all(self, value: Tensor, how: str) -> Tensor:
        """Return the mean or the sum over all processes."""
        return cast(Tensor, self._fabric.all_reduce(value, reduce_op=how))

    def _learning_rate(self) -> float:
        total = self.recipe.epochs * self.steps_an_epoch
        warm = min(self.recipe.warm_up * self.steps_an_epoch, total)
        if self._step < warm:
            return self.recipe.learning_rate * (self._step + 1) / warm
        return (
            self.recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (self._step - warm) / (total - warm)))
        )

    def _order(self, epoch: int) -> np.ndarray:
        """Return the samples of an epoch, in the order of training."""
        draw = np.random.default_rng([self.recipe.seed, epoch])
        if self.recipe.balance != "sampling":
            return draw.permutation(self._train_rows)
        targets = self._samples.labels[self._train_rows].argmax(1)
        share = 1 / np.bincount(targets, minlength=len(self._samples.classes))[targets]
        return draw.choice(self._train_rows, len(self._train_rows), p=share / share.sum())

    def _balance(self) -> Tensor | None:
        if self.recipe.balance != "weights":
            return None
        totals = self._samples.labels[self._train_rows].sum(0)
        weights = totals.sum() / (len(totals) * totals)
        return torch.from_numpy(weights.astype(np.float32)).to(self._fabric.device)

    def _labels(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self._samples.labels[rows]).to(self._fabric.device)

    def _checked(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise PretrainError(
                f"the loss is {loss} after {self._step} steps, at a learning rate of "
                f"{self._learning_rate():.3g}: {len(self.history)} epochs are kept in {self._file}; "
                f"start again with --overwrite --lr {self.recipe.learning_rate / 4:.3g}"
            )
        return loss

    def _watched(self, size: int) -> tuple[float, float, float] | tuple[()]:
        """Return loss, accuracy and UAR of the averaged weights on the held-out part; empty without one."""
        if not len(self._held_out_rows):
            return ()
        fabric = self._fabric
        count = len(self._samples.classes)
        total = torch.zeros(1 + count * count, device=fabric.device)  # the loss, and the confusion matrix
        rows = self._held_out_rows[fabric.global_rank :: fabric.world_size]
        self._averaged.eval()
        for start in range(0, len(rows), self._samples.at_once):
            part = rows[start : start + self._samples.at_once]
            with torch.no_grad(), fabric.autocast():
                logits = self._averaged(self._samples.plain(part, size, fabric.device)).float()
            labels = self._labels(part)
            cells = 1 + labels.argmax(1) * count + logits.argmax(1)
            total[0] += functional.cross_entropy(logits, labels, reduction="sum")
            total.index_add_(0, cells, torch.ones_like(cells, dtype=total.dtype))
        loss, *confusion = self._over_all(total, "sum").tolist()
        accuracy, uar, _ = figures(np.reshape(confusion, (count, count)))
        return loss / sum(confusion), float(accuracy), float(uar)


def _optimiser(classifier: nn.Module, recipe: TrainingRecipe) -> torch.optim.Optimizer:
    decayed = [value for value in classifier.parameters() if value.requires_grad and value.ndim > 1]
    not_decayed = [value for value in classifier.parameters() if value.requires_grad and value.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": not_decayed, "weight_decay": 0.0},
    ]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, recipe.learning_rate, momentum=0.9, nesterov=True)
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, recipe.learning_rate)
    raise PretrainError(f"there is no optimiser {recipe.optimiser!r}: expected sgd or adamw")


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether a device or the CPU ran out of memory; only devices have an error class for that."""
    return "OutOfMemory" in type(error).__name__ or "allocate memory" in str(error)


def _averaging(decay: float) -> Callable[..., None]:
    """Return an exponential moving average that forgets faster at first, so that the random start fades."""

    def update(averaged: Any, current: Any, count: int | Tensor) -> None:
        share = min(decay, (1 + int(count)) / (10 + int(count)))
        get_ema_multi_avg_fn(share)(averaged, current, count)  # type: ignore[no-untyped-call]

    return update
