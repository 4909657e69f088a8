"""Run folders: trained members that load again, with their history and scores.

::

    runs/default/
      run.json                  settings, features with their keys, classes, facts
      choice.json               what was chosen of a grid, if anything
      member-000.safetensors    head and standardisation, with its history in the file's metadata
      history.csv               all members' epochs
      calibration.json          the temperature of their mean, where validation clips were watched
      member-000-<split>.csv    one member's scores
      scores-<split>.csv        the mean of all members', calibrated
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
        setup: what all members have in common; that of the first where they are of several heads.
        mixed: whether they are.
        points: settings of a grid in which members differ; ``[{}]`` without a grid. The first member of each
            point comes first, then the second of each.
        members: how many there are, or will be.
        clip_seconds: how long its clips typically were; None where it does not know.
        demo: whether it was trained on clips that avemo made itself.
        marks: what must be said of its scores of validation clips.
        fitted: what it was trained on, see :func:`.duplicates.content_of`; None where it does not know.
        calibration: what makes probabilities of its mean scores; None where it had no clips to fit that on.

    Raises:
        FusionError: it holds no run, or one that cannot be used here.
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
                f"{path / cards.NAME} makes no sense here ({error!r}); train again with --overwrite"
            ) from error

    @classmethod
    def start(cls, path: Path, card: Card, overwrite: bool = False) -> Run:
        """A new run, or one of the same settings to go on with; see :func:`.cards.claim`."""
        cards.claim(path, card, overwrite, FILES)
        return cls(path)

    @property
    def undecided(self) -> bool:
        """Whether a point of the grid is still to be chosen."""
        return self.chooses and not (self.path / CHOICE).exists()

    def decide(self, choice: Choice) -> None:
        """Keep what was chosen of the grid: only members of that point are trained."""
        choice.write(self.path / CHOICE)
        self._choose()

    def point_of(self, number: int) -> Mapping[str, float]:
        """The values of the grid that a member is trained with."""
        return self.points[number % len(self.points)]

    def setup_of(self, number: int) -> Setup:
        """What a member is trained with."""
        return self._setups[number % len(self._setups)]

    def seed_of(self, number: int) -> int:
        """A member's seed."""
        if self.mixed:
            return self.seed + self._setups[:number].count(self._setups[number])
        return self.seed + number // len(self.points)

    def missing(self) -> list[int]:
        """Numbers of the members that are still to be trained."""
        return [number for number in range(self.members) if not self._file(number).exists()]

    def save(self, number: int, trained: Trained) -> None:
        """Keep a member; the file is whole or not there."""
        write_member(self._file(number), trained)

    def load(self, number: int) -> Member:
        """A trained member.

        Raises:
            FusionError: it is missing or damaged, or its tensors are not those of the run's head.
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
        """A member's epochs."""
        metadata, _ = self._read(number)
        try:
            return history_of(metadata)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise FusionError(
                f"{self._file(number)} has no history ({error!r:.100}); delete it and train again"
            ) from error

    def read(self, store: FeatureStore, rows: Sequence[Row]) -> Corpus:
        """The clips ``rows`` as this run's members read them.

        Raises:
            StoreError: the store lacks a stream.
            FusionError: the features were extracted with other settings than those trained on.
        """
        for feature in self.features.values():
            for stream, theirs in feature.keys(store, rows).items():
                if self.keys[stream].digest != theirs.digest:
                    changes = "; ".join(self.keys[stream].differences(theirs))
                    raise FusionError(
                        f"{self.path} was trained on {stream!r} of other settings than {store.path} holds "
                        f"({changes}: trained / here); extract these clips with the settings of the training"
                    )
        return load(store, self.features, rows, self.dimensions)

    def scores(self, corpus: Corpus, device: str = "cpu") -> list[Scores]:
        """Each member's scores of all clips of ``corpus``."""
        found = []
        for member in map(self.load, range(self.members)):
            own = corpus.only(member.head.streams)
            found.append(own.scores(self.setup.classes, member.predict(own, device)))
        return found

    def calibrate(self, members: Sequence[Scores], watched: Sequence[tuple[str, str]]) -> None:
        """Fit the calibration of the members' mean on the ``watched`` clips, ``(split, id)``, with scores."""
        mean = average(members)
        places = {clip: place for place, clip in enumerate(mean.clips)}
        held_out = [places[clip] for clip in watched if mean.scored[places[clip]]]
        self.calibration = Calibration.fitted(mean.take(held_out), watched[0][0]) if held_out else None
        if self.calibration:
            self.calibration.write(self.path / CALIBRATION)

    def mean(self, members: Sequence[Scores]) -> Scores:
        """The members' mean, calibrated where the run is."""
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
        """Write every member's scores and :meth:`mean`, a file a split; split → the file of the mean."""
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
            raise TypeError("classes that are no names")
        parts = [part["streams"] for part in described.values()]
        if not all(own and all(isinstance(each, Mapping) for each in own.values()) for own in parts):
            raise TypeError("a feature of no streams, or of streams without settings")
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
    """A number of members.

    Raises:
        ValueError: nobody trains so many.
    """
    if not 0 <= int(members) <= MOST_MEMBERS:
        raise ValueError(f"{shortened(str(members), 40)} members; at most {MOST_MEMBERS} expected")
    return int(members)


def _without_memory(head: HeadSettings, dimensions: Mapping[str, int], classes: int) -> Head:
    """A head without values, to see its tensors before any memory is taken; a plugin may need its values."""
    try:
        with torch.device("meta"):
            return build_head(head, dimensions, classes)
    except NotImplementedError:
        return build_head(head, dimensions, classes)


def predict(runs: Sequence[Run], store: FeatureStore, rows: Sequence[Row], device: str = "cpu") -> Scores:
    """The mean of ``runs``, classes matched by name: each counts as it has members, and is calibrated first.

    Args:
        runs: one or more; each reads its own features.
        store: where they are.
        rows: the clips wanted.

    Raises:
        StoreError: the store lacks a stream.
        FusionError: keys or classes do not fit, or a run is not finished.
    """
    return mean_of_runs(runs, [run.scores(run.read(store, rows), device) for run in runs])


def mean_of_runs(runs: Sequence[Run], members: Sequence[Sequence[Scores]]) -> Scores:
    """The mean of runs whose members gave these scores, each run calibrated where it is."""
    if not any(run.calibration for run in runs):
        return average([scores for own in members for scores in own])
    means = [run.mean(own) for run, own in zip(runs, members, strict=True)]
    return average(means, [len(own) for own in members])


def _check_tensors(
    path: Path, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is not known" for name in found if name not in expected]
    problems += [
        f"{name} is {list(found[name])}, not {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise FusionError(
            f"{path} is no member of this run: {'; '.join(problems[:3])}{more}; delete it and train again"
        )
