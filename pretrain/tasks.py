"""The pre-training tasks: faces, sounds and segments."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..extract.backbones import BackboneSpec
from ..extract.views import VIEW_SETS, ViewSet
from .audio_card import start_from, write_audio
from .audio_network import AudioNetwork
from .audio_samples import AudioSamples
from .card import empty_classifier, load_trunk, write_weights
from .classifier import Classifier
from .evaluation import Computing, Performance, mean_probabilities, outputs
from .listener import Listener
from .packed import PackedPictures
from .pictures import PictureSet
from .recipe import AudioChanges, Augmentation, SegmentChanges, TrainingRecipe
from .recordings import PackedRecordings
from .samples import FaceSamples, FeatureSamples, Samples
from .segment_samples import PackedSegments, SegmentSamples, mean_of_clips
from .specs import Normalisation
from .split import fitted_and_held_out
from .task import SpeechTask, Task
from .teachers import Teachers


class _OfBackbone(Task):
    """A task with a network of stage 1 that reads pictures."""

    spec: BackboneSpec

    @property
    def architecture(self) -> str:  # type: ignore[override]
        return self.spec.name

    def begin(self, dropout: float) -> Classifier:
        classifier = empty_classifier(self.spec, len(self.packed.classes), dropout)
        return classifier.to(memory_format=torch.channels_last)

    def start_from(self, classifier: Classifier, weights: str) -> str:
        return load_trunk(classifier, self.spec, weights)

    def write(self, path: Path, classifier: Classifier, card: Mapping[str, Any], half: bool) -> None:
        write_weights(path, classifier, card, half)

    def _preprocessing(self) -> dict[str, Any]:
        spec = self.spec
        mean, std = list(spec.mean), list(spec.std)
        return {"input_size": spec.input_size, "colour": spec.colour, "mean": mean, "std": std}


@dataclass(eq=False)
class FaceTask(_OfBackbone):
    """A task on face pictures.

    Attributes:
        spec: network.
        packed: pictures.
        found: set that they were packed from.
        held_out: share to hold out, if the data set has no validation part.
        views: name of the view set of each picture in an evaluation; see :func:`view_set_named`.
        teachers: networks that teach this one.
        head_only: train only the class layer, on features of the frozen network.
    """

    unit, changes = "picture", Augmentation

    spec: BackboneSpec
    packed: PackedPictures
    found: PictureSet
    held_out: float = 0.1
    views: str = "none"
    teachers: Teachers | None = None
    head_only: bool = False

    def __post_init__(self) -> None:
        self.name, self.licence = self.found.name, self.found.licence
        self.manner = f", {len(view_set_named(self.views))} views of each"

    def split(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return fitted_and_held_out(self.packed, self.held_out, seed)

    def to_evaluate(self) -> tuple[np.ndarray, str]:
        part = next(part for part in ("test", "val", "", "train") if (self.packed.parts == part).any())
        return np.flatnonzero(self.packed.parts == part), part

    def identity(self) -> dict[str, Any]:
        taught = {"teachers": self.teachers.identity()} if self.teachers else {}
        return {"head_only": True, **taught} if self.head_only else taught

    def samples(self, recipe: TrainingRecipe, train_rows: np.ndarray, listener: Listener) -> FaceSamples:
        return FaceSamples(self.packed, Normalisation.of(self.spec), recipe)

    def learner(
        self, classifier: Classifier, samples: Samples, computing: Computing
    ) -> tuple[Classifier, Samples]:
        if not self.head_only:
            return classifier, samples
        exactly = computing._replace(precision="fp32")
        rows = np.arange(len(samples.labels))
        features = self._outputs(classifier.trunk, samples, rows, "flip", exactly)
        head = Classifier(nn.Identity(), features.shape[-1], len(samples.classes), classifier.dropout.p)
        return head, FeatureSamples(samples.classes, samples.labels, features)

    def evaluated(
        self, classifier: Classifier, samples: Samples, rows: np.ndarray, computing: Computing
    ) -> dict[str, Performance]:
        logits = self._outputs(classifier, samples, rows, self.views, computing)
        return {self.views: Performance.of(samples.classes, samples.labels[rows], mean_probabilities(logits))}

    def card(self, train_rows: np.ndarray, held_out_rows: np.ndarray) -> dict[str, Any]:
        packed = self.packed
        counts = {"pictures": len(packed.labels), "left_out": len(packed.skipped)}
        return {
            "features": self.spec.features,
            "preprocessing": {**self._preprocessing(), "faces": self.found.faces},
            "data": {"name": self.name, **counts},
        }

    def _outputs(
        self, network: nn.Module, samples: Samples, rows: np.ndarray, views: str, computing: Computing
    ) -> np.ndarray:
        assert isinstance(samples, FaceSamples)
        with computing.listener.counting(f"{views} views", self.unit, len(rows)) as advance:
            return outputs(network, samples, rows, view_set_named(views), computing, advance)


def view_set_named(name: str) -> ViewSet:
    """Return the view set ``none`` (1 view), ``flip`` (2), ``default`` or ``wide`` (18)."""
    return VIEW_SETS[name] if name in VIEW_SETS else ViewSet(name, flip=True)


@dataclass(eq=False)
class SoundTask(SpeechTask):
    """A task on recordings of speech, with the attributes of :class:`.task.SpeechTask` and a network."""

    unit, changes = "recording", AudioChanges

    network: AudioNetwork
    packed: PackedRecordings
    name: str
    held_out: float = 0.1
    subjects: Collection[str] = ()
    allow_unnamed: bool = False

    @property
    def architecture(self) -> str:  # type: ignore[override]
        return self.network.name

    def identity(self) -> dict[str, Any]:
        return {"network": asdict(self.network), **super().identity()}

    def begin(self, dropout: float) -> Classifier:
        return self.network.classifier(len(self.packed.classes), dropout)

    def start_from(self, classifier: Classifier, weights: str) -> str:
        return start_from(classifier, self.network, weights)

    def samples(self, recipe: TrainingRecipe, train_rows: np.ndarray, listener: Listener) -> AudioSamples:
        """Return the samples; the first call measures mean and deviation of the training recordings."""
        if not self.network.mean:
            with listener.counting("mean and deviation", self.unit, len(train_rows)) as advance:
                self.network = self.network.fitted_to(self.packed.sounds, train_rows, advance)
        return AudioSamples(self.packed, self.network, recipe.augmentation)

    def card(self, train_rows: np.ndarray, held_out_rows: np.ndarray) -> dict[str, Any]:
        network, packed = self.network, self.packed
        normalisation: dict[str, Any] = {
            "normalisation": "each recording as a picture whose loudest cell is white"
        }
        if not network.pictures:
            what = "values of the recordings fitted"
            normalisation = {"normalisation": what, "mean": network.mean, "std": network.std}
        settings = network.reads.settings.settings()
        return {
            "features": 256,
            "preprocessing": {"input": network.input, **settings, **normalisation},
            "data": {
                "name": self.name,
                "recordings": len(packed.labels),
                "seconds": round(float(packed.seconds.sum())),
                "left_out": len(packed.skipped),
                **self._subjects_of_parts(train_rows, held_out_rows),
            },
        }

    def write(self, path: Path, classifier: Classifier, card: Mapping[str, Any], half: bool) -> None:
        write_audio(path, classifier, self.network, card, half)


@dataclass(eq=False)
class SegmentTask(SpeechTask, _OfBackbone):
    """A task on segments of a store's clips; samples are segments, but the split is by clip.

    It has the attributes of :class:`.task.SpeechTask`, a network, the store's name, and the settings of its
    segments.
    """

    unit, changes = "segment", SegmentChanges

    spec: BackboneSpec
    packed: PackedSegments
    store: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    held_out: float = 0.1
    subjects: Collection[str] = ()
    allow_unnamed: bool = False
    name: str = ""

    def split(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        train_rows, held_out_rows = map(self.packed.segments_of, super().split(seed))
        return train_rows, held_out_rows

    def to_evaluate(self) -> tuple[np.ndarray, str]:
        clips, name = super().to_evaluate()
        return self.packed.segments_of(clips), name or self.store

    def targets(self, rows: np.ndarray) -> np.ndarray:
        return self.packed.targets[self.packed.clips[rows]]

    def samples(self, recipe: TrainingRecipe, train_rows: np.ndarray, listener: Listener) -> SegmentSamples:
        return SegmentSamples(self.packed, self.spec, recipe.augmentation)

    def evaluated(
        self, classifier: Classifier, samples: Samples, rows: np.ndarray, computing: Computing
    ) -> dict[str, Performance]:
        """Evaluate segments, and clips by the mean posterior of their segments."""
        probabilities = self._probabilities(classifier, samples, rows, computing)
        clips, of_clips = mean_of_clips(probabilities, self.packed.clips[rows])
        return {
            "segments": Performance.of(samples.classes, samples.labels[rows], probabilities),
            "clips": Performance.of(samples.classes, self.packed.labels[clips], of_clips),
        }

    def card(self, train_rows: np.ndarray, held_out_rows: np.ndarray) -> dict[str, Any]:
        packed = self.packed
        preprocessing = {"input": "MFCC images of segments", **self._preprocessing()}
        return {
            "features": self.spec.features,
            "preprocessing": {**preprocessing, "segments": self.settings},
            "data": {
                "clips": len(packed.labels),
                "segments": len(packed.images),
                "left_out": len(packed.skipped),
                **self._subjects_of_parts(train_rows, held_out_rows),
            },
        }

    def _counted(self, rows: np.ndarray) -> str:
        return f"{len(rows)} segments in {len(np.unique(self.packed.clips[rows]))} clips"

    def _names(self, rows: np.ndarray) -> list[str]:
        return super()._names(self.packed.clips[rows])
