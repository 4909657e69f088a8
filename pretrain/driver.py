"""Trains the network of any task, or resumes its training, and writes its weights with their card."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning_fabric as lightning
import numpy as np
import torch

from .. import __version__
from ..extract.precision import Precision
from .evaluation import Computing, Performance
from .listener import Listener
from .recipe import TrainingRecipe
from .task import Task
from .training import Fitted, Training


class Pretraining:
    """The training of one network; see :class:`.training.Training` for the cost of a kill.

    Args:
        task: network and samples.
        recipe: all settings.
        out: file for the weights; the card (``.json``) and the checkpoint (``.ckpt``) are beside it.
        start: weights to start from; empty for random weights.

    Attributes:
        train_rows, held_out_rows: indices of the training samples and of the held-out samples.
        identity: network, samples and settings as plain values.
    """

    def __init__(self, task: Task, recipe: TrainingRecipe, out: Path, start: str = "") -> None:
        self.task, self.recipe, self.out = task, recipe, out
        self.train_rows, self.held_out_rows = task.split(recipe.seed)
        torch.manual_seed(recipe.seed)
        self._classifier = task.begin(recipe.dropout)
        self.identity = {
            "architecture": task.architecture,
            "recipe": recipe.settings(),
            "data": task.packed.digest,
            **task.identity(),
        }
        if start:
            self.identity["start"] = task.start_from(self._classifier, start)

    @property
    def checkpoint(self) -> Path:
        return self.out.with_suffix(".ckpt")

    @property
    def done(self) -> bool:
        """Whether the weights of this very training exist."""
        card = self.out.with_suffix(".json")
        if not (self.out.is_file() and card.is_file()):
            return False
        try:
            trained = json.loads(card.read_text(encoding="utf-8")).get("identity")
        except (ValueError, AttributeError):
            return False
        return bool(trained == json.loads(json.dumps(self.identity)))

    def run(
        self,
        fabric: lightning.Fabric,
        precision: Precision,
        listener: Listener,
        half: bool = False,
        licence: str = "",
    ) -> tuple[int, dict[str, Performance]]:
        """Train to the end, evaluate on the held-out samples, and write weights and card.

        Args:
            fabric: devices to train on; if there are several processes, the first evaluates and writes.
            precision: precision of the evaluation.
            listener: listener for progress.
            half: store weights in 16 bits.
            licence: licence of the data for the card; by default the task's.

        Returns:
            The epoch of the weights, and their performance on the held-out samples.
        """
        task = self.task
        if not fabric.is_global_zero:
            listener = Listener()
        computing = Computing(str(fabric.device), precision, listener)
        samples = task.samples(self.recipe, self.train_rows, listener)
        learner, seen = task.learner(self._classifier, samples, computing)
        what = (
            seen,
            self.train_rows,
            self.held_out_rows,
            self.recipe,
            self.identity,
            self.checkpoint,
            task.teachers,
        )
        training = Training(fabric, learner, *what)
        if training.steps_done:
            listener.on_resumed(self.checkpoint, len(training.history))
        total, started = self.recipe.epochs * training.steps_an_epoch, time.perf_counter()
        with listener.counting("", "step", total, training.steps_done) as advance:
            on_epoch = partial(listener.on_epoch, epochs=self.recipe.epochs)
            fitted = training.run(lambda loss: advance(1, loss), on_epoch)
        seconds = time.perf_counter() - started
        classifier = fitted.classifier
        if learner is not self._classifier:
            classifier = self._classifier.to("cpu").eval()
            classifier.classes = fitted.classifier.classes
        performances: dict[str, Performance] = {}
        if fabric.is_global_zero:
            if len(self.held_out_rows):
                performances = task.evaluated(classifier, samples, self.held_out_rows, computing)
            card = self._card(fitted, seconds, performances, licence or task.licence)
            task.write(self.out, classifier.to("cpu"), card, half)
            self.checkpoint.unlink(missing_ok=True)
        return fitted.best, performances

    def _card(
        self, fitted: Fitted, seconds: float, performances: dict[str, Performance], licence: str
    ) -> dict[str, Any]:
        task, classes = self.task, self.task.packed.classes
        own = task.card(self.train_rows, self.held_out_rows)
        own["data"]["licence"] = licence
        held_out = {name: performance.as_card() for name, performance in performances.items()}
        versions = {"torch": str(torch.__version__), "lightning-fabric": version("lightning-fabric")}
        return {
            "architecture": task.architecture,
            **own,
            "identity": self.identity,
            "classes": list(classes),
            "counts": {"fitted": self._counts(self.train_rows), "held_out": self._counts(self.held_out_rows)},
            "best_epoch": fitted.best,
            "seconds_of_last_run": round(seconds),
            "versions": {"avemo": __version__, **versions},
            "history": [asdict(epoch) for epoch in fitted.history],
            **({"held_out": held_out.get("", held_out)} if held_out else {}),
        }

    def _counts(self, rows: np.ndarray) -> dict[str, int]:
        classes = self.task.packed.classes
        counts = np.bincount(self.task.targets(rows), minlength=len(classes))
        return dict(zip(classes, counts.tolist(), strict=True))
