"""Run folders: trained members that can be loaded, with their history and scores.

::

    runs/default/
      run.json                  settings, features with their keys, classes, facts
      choice.json               the chosen point of a grid, if any
      member-000.safetensors    head and standardisation, with the history in the file's metadata
      history.csv               epochs of all members
      calibration.json          temperature of the mean scores, if there were validation clips
      member-000-<split>.csv    scores of one member
      scores-<split>.csv        mean scores of all members, calibrated
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...cache.keys import FeatureKey
from ...cache.rows import Row
from ...cache.store import FeatureStore
from ..errors import FusionError
from ..evaluation.calibration import Calibration
from ..evaluation.ensemble import average
from ..evaluation.scores import Scores
from ..features.corpus import Corpus, load
from ..features.recipes import Feature
from ..files import as_file_name, shortened, write_csv
from ..heads.base import Head
from ..heads.registry import build_head, settings_of_run
from ..heads.settings import HeadSettings
from . import cards
from .batches import Standardisation
from .cards import Card
from .grid import Grid
from .member_file import history_of, member_of, read_member, write_member
from .selection import Choice
from .settings import TrainingSettings
from .training import Epoch, Member, Setup, Trained

CHOICE = "choice.json"
CALIBRATION = "calibration.json"
MOST_MEMBERS = 100_000
FILES = (cards.NAME, CHOICE, CALIBRATION, "member-*", "history.csv", "scores-*.csv")


class Run:
    """A folder of members trained with the same settings.

    Args:
        path: the folder.

    Attributes:
        setup: settings that all members share; the first member's if members have different heads.
        mixed: whether members have different heads.
        points: grid points, the settings in which members differ; ``[{}]`` without a grid. The first member
            of each point comes first, then the second of each.
        members: number of members, trained or still to train.
        clip_seconds: typical length of the training clips in seconds; None if unknown.
        demo: whether the run was trained on demo clips made by avemo.
        marks: caveats about its scores of validation clips.
        fitted: identifiers of the training clips, see :func:`.duplicates.content_of`; None if unknown.
        calibration: calibration of the mean scores; None if there were no clips to fit it on.

    Raises:
        FusionError: the folder does not hold a run, or holds one that cannot be used here.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        card = cards.read(path)
        if card.kind != "train":
            raise FusionError(f"{path} holds a {card.kind} run, which keeps no models; name one of `train`")
        try:
            self._take(card)
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
            raise FusionError(
                f"{path / cards.NAME} is invalid ({error!r}); train again with --overwrite"
            ) from error

    @classmethod
    def start(cls, path: Path, card: Card, overwrite: bool = False) -> Run:
        """Start a new run, or resume one with the same settings; see :func:`.cards.claim`."""
        cards.claim(path, card, overwrite, FILES)
        return cls(path)

    @property
    def undecided(self) -> bool:
        """Whether a grid point must still be chosen."""
        return self.chooses and not (self.path / CHOICE).exists()

    def decide(self, choice: Choice) -> None:
        """Store the chosen grid point; only its members are trained."""
        choice.write(self.path / CHOICE)
        self._choose()

    def point_of(self, number: int) -> Mapping[str, float]:
        """Return the grid point of a member."""
        return self.points[number % len(self.points)]

    def setup_of(self, number: int) -> Setup:
        """Return the setup of a member."""
        return self._setups[number % len(self._setups)]

    def seed_of(self, number: int) -> int:
        """Return the seed of a member."""
        if self.mixed:
            return self.seed + self._setups[:number].count(self._setups[number])
        return self.seed + number // len(self.points)

    def missing(self) -> list[int]:
        """Return the numbers of the members still to train."""
        return [number for number in range(self.members) if not self._file(number).exists()]

    def save(self, number: int, trained: Trained) -> None:
        """Write a trained member atomically."""
        write_member(self._file(number), trained)

    def load(self, number: int) -> Member:
        """Load a trained member.

        Raises:
            FusionError: the member is missing or damaged, or its tensors do not match the run's head.
        """
        path = self._file(number)
        _, tensors = self._read(number)
        settings = self.setup_of(number).head, self.dimensions, len(self.setup.classes)
        try:
            head = _without_memory(*settings)
        except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            raise FusionError(
                f"{self.path / cards.NAME} describes a head that cannot be built ({shortened(repr(error))}); "
                "train again with --overwrite"
            ) from error
        expected = {f"head.{name}": tuple(tensor.shape) for name, tensor in head.state_dict().items()}
        for stream in head.streams:
            for field in fields(Standardisation):
                expected[f"standardisation.{stream}.{field.name}"] = (self.dimensions[stream],)
        _check_tensors(path, expected, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
        return member_of(tensors, self.setup.classes, build_head(*settings))

    def history(self, number: int) -> list[Epoch]:
        """Return the epochs of a member."""
        metadata, _ = self._read(number)
        try:
            return history_of(metadata)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise FusionError(
                f"{self._file(number)} has no history ({error!r:.100}); delete it and train again"
            ) from error

    def read(self, store: FeatureStore, rows: Sequence[Row]) -> Corpus:
        """Load the features of ``rows`` that this run's members read.

        Raises:
            StoreError: the store lacks a stream.
            FusionError: the features were extracted with settings that differ from those of training.
        """
        for feature in self.features.values():
            for stream, theirs in feature.keys(store, rows).items():
                if self.keys[stream].digest != theirs.digest:
                    changes = "; ".join(self.keys[stream].differences(theirs))
                    raise FusionError(
                        f"{self.path} was trained on {stream!r} with settings other than those of "
                        f"{store.path} ({changes}: trained / here); extract these clips with the settings of "
                        "the training"
                    )
        return load(store, self.features, rows, self.dimensions)

    def scores(self, corpus: Corpus, device: str = "cpu") -> list[Scores]:
        """Return each member's scores of all clips of ``corpus``."""
        found = []
        for member in map(self.load, range(self.members)):
            own = corpus.only(member.head.streams)
            found.append(own.scores(self.setup.classes, member.predict(own, device)))
        return found

    def calibrate(self, members: Sequence[Scores], watched: Sequence[tuple[str, str]]) -> None:
        """Fit the calibration of the members' mean on the scored clips among ``watched``, ``(split, id)``."""
        mean = average(members)
        places = {clip: place for place, clip in enumerate(mean.clips)}
        held_out = [places[clip] for clip in watched if mean.scored[places[clip]]]
        self.calibration = Calibration.fitted(mean.take(held_out), watched[0][0]) if held_out else None
        if self.calibration:
            self.calibration.write(self.path / CALIBRATION)

    def mean(self, members: Sequence[Scores]) -> Scores:
        """Return the mean over members, calibrated if the run has a calibration."""
        mean = average(members)
        return self.calibration(mean) if self.calibration else mean

    def write_history(self) -> None:
        """Write ``history.csv``."""
        names = [field.name for field in fields(Epoch)]
        rows = (
            [number, self.seed_of(number), *self.point_of(number).values(), *astuple(epoch)]
            for number in range(self.members)
            for epoch in self.history(number)
        )
        write_csv(self.path / "history.csv", ["member", "seed", *self.points[0], *names], rows)

    def write_scores(self, members: Sequence[Scores]) -> dict[str, Path]:
        """Write every member's scores and their :meth:`mean`, one file per split.

        Returns:
            Split → file of the mean.
        """
        written = {}
        mean = self.mean(members)
        for split in mean.splits:
            name = as_file_name(split)
            marks = self.marks if split == "val" else ()
            for number, scores in enumerate(members):
                scores.select(split).marked(*marks).write(self.path / f"member-{number:03d}-{name}.csv")
            written[split] = self.path / f"scores-{name}.csv"
            mean.select(split).marked(*marks).write(written[split])
        return written

    def _take(self, card: Card) -> None:
        settings = card.settings
        self.members = _count(card.facts["members"])
        self.seed = int(settings["seed"])
        self.marks = tuple(card.facts.get("marks", ()))
        self.fitted = frozenset(card.facts["fitted"]) if "fitted" in card.facts else None
        self.clip_seconds = float(card.facts.get("clip_seconds") or 0) or None
        self.demo = bool(card.facts.get("demo"))
        fitted = self.path / CALIBRATION
        self.calibration = Calibration.read(fitted) if fitted.exists() else None
        self.setup = Setup(
            tuple(settings["classes"]),
            settings_of_run(settings["head"], self.path),
            TrainingSettings(**settings["training"]),
        )
        grid = Grid(settings.get("grid") or {})
        self.points, self._setups = grid.points, grid.setups(self.setup)
        self.mixed = bool(settings.get("mix"))
        if self.mixed:
            self._setups = [
                self._part(part) for part in settings["mix"] for _ in range(_count(part["members"]))
            ]
        self.chooses = bool(settings.get("selection"))
        self._choose()
        described: Mapping[str, Any] = settings["features"]
        if not all(isinstance(name, str) for name in self.setup.classes):
            raise TypeError("class names that are not strings")
        parts = [part["streams"] for part in described.values()]
        if not all(own and all(isinstance(each, Mapping) for each in own.values()) for own in parts):
            raise TypeError("a feature without streams, or streams without settings")
        if not all(isinstance(part["name"], str) for part in described.values()):
            raise TypeError("a feature without a name")
        self.features = {s: Feature(part["name"], tuple(part["streams"])) for s, part in described.items()}
        self.dimensions = {stream: int(part["dimensions"]) for stream, part in described.items()}
        self.keys = {
            name: FeatureKey(name, values)
            for p in described.values()
            for name, values in p["streams"].items()
        }

    def _part(self, part: Mapping[str, Any]) -> Setup:
        training = TrainingSettings(**part["training"])
        return replace(self.setup, head=settings_of_run(part["head"], self.path), training=training)

    def _choose(self) -> None:
        if self.chooses and not self.undecided:
            choice = Choice.read(self.path / CHOICE)
            point = self.points[choice.candidate]
            self.points, self._setups = [point], [choice.of(self._setups)]

    def _file(self, number: int) -> Path:
        return self.path / f"member-{number:03d}.safetensors"

    def _read(self, number: int) -> tuple[Mapping[str, str], dict[str, Tensor]]:
        path = self._file(number)
        if not path.exists():
            raise FusionError(
                f"{self.path} is not finished: member {number} of {self.members} is missing; run "
                "its avemo-fuse train again, which continues where it stopped"
            )
        return read_member(path)


def _count(members: Any) -> int:
    """Return ``members`` as a number.

    Raises:
        ValueError: it is negative or above :data:`MOST_MEMBERS`.
    """
    if not 0 <= int(members) <= MOST_MEMBERS:
        raise ValueError(f"{shortened(str(members), 40)} members; at most {MOST_MEMBERS} expected")
    return int(members)


def _without_memory(head: HeadSettings, dimensions: Mapping[str, int], classes: int) -> Head:
    """Build a head without allocating its tensors, to check their shapes; not possible for some plugins."""
    try:
        with torch.device("meta"):
            return build_head(head, dimensions, classes)
    except NotImplementedError:
        return build_head(head, dimensions, classes)


def predict(runs: Sequence[Run], store: FeatureStore, rows: Sequence[Row], device: str = "cpu") -> Scores:
    """Average the scores of ``runs``, with classes matched by name.

    Each run is calibrated first, and weighted by its number of members.

    Args:
        runs: one or more runs; each reads its own features.
        store: the store that holds the features.
        rows: clips to score.

    Raises:
        StoreError: the store lacks a stream.
        FusionError: keys or classes do not match, or a run is unfinished.
    """
    return mean_of_runs(runs, [run.scores(run.read(store, rows), device) for run in runs])


def mean_of_runs(runs: Sequence[Run], members: Sequence[Sequence[Scores]]) -> Scores:
    """Average runs, given the scores of their members; each run with a calibration is calibrated first."""
    if not any(run.calibration for run in runs):
        return average([scores for own in members for scores in own])
    means = [run.mean(own) for run, own in zip(runs, members, strict=True)]
    return average(means, [len(own) for own in members])


def _check_tensors(
    path: Path, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is unknown" for name in found if name not in expected]
    problems += [
        f"{name} is {list(found[name])}, not {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise FusionError(
            f"{path} does not belong to this run: {'; '.join(problems[:3])}{more}; delete it and train again"
        )
