"""A task of pre-training: a network, its labelled samples, and what their cards say."""

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
from .speakers import divided, to_evaluate
from .teachers import Teachers

MANY = 10  # subjects that are counted rather than named


class Task(ABC):
    """What the driver has to know of faces, sounds or segments.

    Attributes:
        unit: what one sample is called.
        changes: the settings of its augmentation.
        name: of the data.
        architecture: of the network.
        licence: of the data, where it is known.
        teachers: networks whose word is taken beside the labels'.
        manner: how samples are seen in an evaluation, where there is a choice.
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
    def divided(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The samples to fit and those to hold out."""

    @abstractmethod
    def to_evaluate(self) -> tuple[np.ndarray, str]:
        """The samples to evaluate a network on, and what they are called."""

    @abstractmethod
    def begin(self, dropout: float) -> Classifier:
        """The network with a layer of classes, random."""

    @abstractmethod
    def start_from(self, classifier: Classifier, weights: str) -> str:
        """Give the network the weights that ``NAME@weights`` has in stage 1; their SHA-256."""

    @abstractmethod
    def samples(self, recipe: TrainingRecipe, fit: np.ndarray, listener: Listener) -> Samples:
        """All samples as the training loop takes them."""

    @abstractmethod
    def card(self, fit: np.ndarray, watch: np.ndarray) -> dict[str, Any]:
        """``features``, ``preprocessing`` and ``data`` of a card."""

    @abstractmethod
    def write(self, path: Path, classifier: Classifier, card: Mapping[str, Any], half: bool) -> None:
        """Write weights and card."""

    def identity(self) -> dict[str, Any]:
        """What distinguishes a training beside architecture, recipe, data and first weights."""
        return {}

    def targets(self, rows: np.ndarray) -> np.ndarray:
        """``[N]`` int: the classes of samples."""
        return self.packed.targets[rows]

    def told(self, rows: np.ndarray) -> str:
        """Samples in words."""
        return f"{len(rows)} {self.unit}s"

    def met(self, card: Mapping[str, Any], rows: np.ndarray) -> list[str]:
        """The subjects among the samples that a network was trained on, by the ``data`` of its card."""
        return []

    def learner(
        self, classifier: Classifier, samples: Samples, computing: Computing
    ) -> tuple[Classifier, Samples]:
        """What is trained, on what: here all of ``classifier``. What is not is left as it is."""
        return classifier, samples

    def evaluated(
        self, classifier: Classifier, samples: Samples, rows: np.ndarray, computing: Computing
    ) -> dict[str, Performance]:
        """How right a network is on samples as they are, by a name where there is more than one answer."""
        said = self._said(classifier, samples, rows, computing)
        return {"": Performance.of(samples.classes, samples.labels[rows], said)}

    def _said(
        self, classifier: Classifier, samples: Samples, rows: np.ndarray, computing: Computing
    ) -> np.ndarray:
        with computing.listener.counting("evaluating", self.unit, len(rows)) as advance:
            return plain_probabilities(classifier, samples, rows, computing, advance)


class SpeechTask(Task):
    """Of recordings or clips with speakers, none of whom is both fitted and held out.

    Attributes:
        held_out: the share to hold out.
        subjects: those to hold out or to evaluate; empty for a drawn share.
        strangers: whether clips may be held out whoever speaks in them.
    """

    packed: PackedSpeech
    held_out: float
    subjects: Collection[str]
    strangers: bool

    def divided(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return divided(self.packed, self.held_out, seed, self.subjects, self.strangers)

    def to_evaluate(self) -> tuple[np.ndarray, str]:
        return to_evaluate(self.packed, self.subjects)

    def identity(self) -> dict[str, Any]:
        return {"held_out": list(self.subjects) or self.held_out}

    def told(self, rows: np.ndarray) -> str:
        names, counted = self._names(rows), self._counted(rows)
        whom = ", ".join(names) if len(names) <= MANY else f"{len(names)} subjects"
        return f"{counted} of {whom}" if names else counted

    def met(self, card: Mapping[str, Any], rows: np.ndarray) -> list[str]:
        same = card.get("name", self.name) == self.name
        return sorted({*card.get("fitted_subjects", ())} & {*self._names(rows)}) if same else []

    def _voices(self, fit: np.ndarray, watch: np.ndarray) -> dict[str, list[str]]:
        return {"fitted_subjects": self._names(fit), "held_out_subjects": self._names(watch)}

    def _counted(self, rows: np.ndarray) -> str:
        return super().told(rows)

    def _names(self, rows: np.ndarray) -> list[str]:
        """The subjects of samples."""
        return sorted({*self.packed.subjects[rows].tolist()} - {""})
