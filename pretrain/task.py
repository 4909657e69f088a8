"""The base classes of pre-training tasks: a network, its labelled samples, and their card entries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .classifier import Classifier
from .evaluation import Computing, Performance, plain_probabilities
from .labelled import PackedSamples, PackedSpeech
from .listener import Listener
from .recipe import TrainingRecipe
from .samples import Samples
from .speakers import split_by_speaker, to_evaluate
from .teachers import Teachers

MANY = 10  # subjects; above this they are counted rather than named


class Task(ABC):
    """What the driver needs to know about faces, sounds or segments.

    Attributes:
        unit: noun for one sample.
        changes: class of the augmentation settings.
        name: name of the data.
        architecture: name of the network.
        licence: licence of the data, if known.
        teachers: networks to distil, if any.
        manner: how samples are viewed in an evaluation, if there is a choice.
    """

    unit: ClassVar[str]
    changes: ClassVar[type]
    name: str
    architecture: str
    packed: PackedSamples
    licence: str = ""
    teachers: Teachers | None = None
    manner: str = ""

    @abstractmethod
    def split(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of the training samples, and of the held-out ones."""

    @abstractmethod
    def to_evaluate(self) -> tuple[np.ndarray, str]:
        """Return the indices of the samples to evaluate a network on, and a name for them."""

    @abstractmethod
    def begin(self, dropout: float) -> Classifier:
        """Build the network with a class layer and random weights."""

    @abstractmethod
    def start_from(self, classifier: Classifier, weights: str) -> str:
        """Load ``NAME@weights``, found as in stage 1, into the network; return their SHA-256."""

    @abstractmethod
    def samples(self, recipe: TrainingRecipe, train_rows: np.ndarray, listener: Listener) -> Samples:
        """Return all samples in the form that the training loop takes."""

    @abstractmethod
    def card(self, train_rows: np.ndarray, held_out_rows: np.ndarray) -> dict[str, Any]:
        """Return ``features``, ``preprocessing`` and ``data`` of a card."""

    @abstractmethod
    def write(self, path: Path, classifier: Classifier, card: Mapping[str, Any], half: bool) -> None:
        """Write weights and card."""

    def identity(self) -> dict[str, Any]:
        """Return what identifies a training besides architecture, recipe, data and start weights."""
        return {}

    def targets(self, rows: np.ndarray) -> np.ndarray:
        """Return the classes of samples, ``[N]`` int."""
        return self.packed.targets[rows]

    def describe(self, rows: np.ndarray) -> str:
        """Describe samples in words."""
        return f"{len(rows)} {self.unit}s"

    def seen_subjects(self, card: Mapping[str, Any], rows: np.ndarray) -> list[str]:
        """Return the subjects of samples that a network was trained on, by the ``data`` of its card."""
        return []

    def learner(
        self, classifier: Classifier, samples: Samples, computing: Computing
    ) -> tuple[Classifier, Samples]:
        """Return what to train, and its samples; by default all of ``classifier``. The rest stays frozen."""
        return classifier, samples

    def evaluated(
        self, classifier: Classifier, samples: Samples, rows: np.ndarray, computing: Computing
    ) -> dict[str, Performance]:
        """Evaluate a network on unchanged samples; results have names if there are several."""
        probabilities = self._probabilities(classifier, samples, rows, computing)
        return {"": Performance.of(samples.classes, samples.labels[rows], probabilities)}

    def _probabilities(
        self, classifier: Classifier, samples: Samples, rows: np.ndarray, computing: Computing
    ) -> np.ndarray:
        with computing.listener.counting("evaluating", self.unit, len(rows)) as advance:
            return plain_probabilities(classifier, samples, rows, computing, advance)


class SpeechTask(Task):
    """A task on recordings or clips with speakers, none of whom is in both training and held-out part.

    Attributes:
        held_out: share to hold out.
        subjects: subjects to hold out or to evaluate; empty to draw a share.
        allow_unnamed: whether to hold clips out even if they do not name their speakers.
    """

    packed: PackedSpeech
    held_out: float
    subjects: Collection[str]
    allow_unnamed: bool

    def split(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return split_by_speaker(self.packed, self.held_out, seed, self.subjects, self.allow_unnamed)

    def to_evaluate(self) -> tuple[np.ndarray, str]:
        return to_evaluate(self.packed, self.subjects)

    def identity(self) -> dict[str, Any]:
        return {"held_out": list(self.subjects) or self.held_out}

    def describe(self, rows: np.ndarray) -> str:
        names, counted = self._names(rows), self._counted(rows)
        whom = ", ".join(names) if len(names) <= MANY else f"{len(names)} subjects"
        return f"{counted} of {whom}" if names else counted

    def seen_subjects(self, card: Mapping[str, Any], rows: np.ndarray) -> list[str]:
        same = card.get("name", self.name) == self.name
        return sorted({*card.get("fitted_subjects", ())} & {*self._names(rows)}) if same else []

    def _subjects_of_parts(self, train_rows: np.ndarray, held_out_rows: np.ndarray) -> dict[str, list[str]]:
        return {"fitted_subjects": self._names(train_rows), "held_out_subjects": self._names(held_out_rows)}

    def _counted(self, rows: np.ndarray) -> str:
        return super().describe(rows)

    def _names(self, rows: np.ndarray) -> list[str]:
        """Return the subjects of samples."""
        return sorted({*self.packed.subjects[rows].tolist()} - {""})
