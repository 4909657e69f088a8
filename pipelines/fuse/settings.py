"""Settings of ``avemo-fuse``, as plain values.

Defaults are defined only here: the options of the commands take theirs from these classes, and a recipe
changes what it needs: ``TrainSettings().changed(fusion="am-fbp", trunks=19)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ...fusion.training.defaults import defaults_for
from ...fusion.training.settings import SESSION, TrainingSettings
from ..cluster.engine import ClusterSettings

Self = TypeVar("Self", bound="HeadTraining")


@dataclass(frozen=True)
class HeadTraining:
    """Which head is trained on what, and how; shared by training and cross-validation.

    ``head`` holds settings of the head by key (:data:`avemo.fusion.heads.settings.KEYS`); the rest is as in
    the head's paper. If ``dropout``, ``epochs`` or ``learning_rate`` is None, it depends on the number of
    clips, see :meth:`settled`.
    """

    store: Path = Path("features")
    visual: str = "auto"
    audio: str = "auto"
    fusion: str = "fbp"
    attention: str | None = None
    visual_attention: str | None = None
    audio_attention: str | None = None
    visual_encoder: str | None = None
    audio_encoder: str | None = None
    dropout: float | None = None
    head: Mapping[str, Any] = field(default_factory=dict)
    members: int = 5
    epochs: int | None = None
    batch: int = TrainingSettings.batch
    learning_rate: float | None = None
    weight_decay: float = TrainingSettings.weight_decay
    halve_after: int | None = TrainingSettings.halve_after
    seed: int = 0
    grid: str | None = None
    allow_same_subjects: bool = False
    allow_duplicates: bool = False
    device: str = "auto"
    workers: int = 0
    stacked: bool | None = None
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    overwrite: bool = False

    def changed(self: Self, **values: Any) -> Self:
        """Return these settings with other values; a name that is not a field is a key of the head."""
        own = {each.name for each in fields(self)}
        head = {name: value for name, value in values.items() if name not in own}
        rest = {name: value for name, value in values.items() if name in own}
        return replace(self, **{"head": {**self.head, **head}, **rest})

    def settled(self: Self, clips: int) -> Self:
        """Return these settings with open ones set to good values for ``clips`` labelled clips."""
        found = defaults_for(self.fusion, clips, self.batch)
        values = {
            name: getattr(found, name)
            for name in ("dropout", "epochs", "learning_rate")
            if getattr(self, name) is None
        }
        if not (self.attention or self.visual_attention or self.visual_encoder):
            values["visual_attention"] = found.visual_attention
        return replace(self, **values)

    @property
    def training(self) -> TrainingSettings:
        """How a member is trained; for :meth:`settled` settings."""
        return TrainingSettings(*(getattr(self, each.name) for each in fields(TrainingSettings)))


@dataclass(frozen=True)
class TrainSettings(HeadTraining):
    """Settings of ``avemo-fuse train``.

    Attributes:
        out: folder of the run.
        fit_on: splits to train on.
        choose_grid: points of the grid to train: ``all``, or the one chosen as ``best`` or by ``halving``.
    """

    out: Path = Path("runs/default")
    fit_on: str = "train"
    choose_grid: str = "all"


@dataclass(frozen=True)
class CrossValidationSettings(HeadTraining):
    """Settings of ``avemo-fuse cv``: folder, folds, what is chosen on inner folds, and by which figure."""

    out: Path = Path("runs/cv")
    folds: str = "subject"
    choose_epoch: bool = False
    choose_by: str = "accuracy"
    choose_grid: str = "best"
    inner_folds: int = 5
    session_pattern: str = SESSION
    normalise: str = "none"


@dataclass(frozen=True)
class EnsembleSettings:
    """Scores to average, how to calibrate and re-weight them, and what to write."""

    members: tuple[Path, ...]
    split: str | None = None
    prior: str = "none"
    temperature: str = "auto"
    counts: Path | None = None
    out: Path | None = None
    team: str | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class ScoringSettings:
    """Runs, and the store or clips to score.

    ``dataset`` holds fields of :class:`avemo.pipelines.stage_one.ClipFolder`, with which clips are found.
    """

    paths: tuple[Path, ...]
    store: Path | None = None
    split: str | None = None
    out: Path = Path("scores.csv")
    overlay: Path | None = None
    timeline: Path | None = None
    window: float | None = None
    hop: float | None = None
    backbones: tuple[str, ...] = ()
    audio_backbones: tuple[str, ...] = ()
    segment_backbones: tuple[str, ...] = ()
    detector: str | None = None
    device: str = "auto"
    workers: int = 0
    overwrite: bool = False
    dataset: Mapping[str, Any] = field(default_factory=dict)
