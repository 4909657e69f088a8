"""Chooses settings on nested folds, without the clips that are tested on.

The training part of a fold is divided once more. Each candidate is trained on all inner folds but one and
judged on that one, in turn; what does best on average is then trained on the whole training part.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ...cache.reading import read_json
from ..errors import FusionError
from ..evaluation.metrics import accuracy, unweighted_average_recall
from ..features.corpus import Corpus
from ..files import write_json
from ..heads.registry import build_head, head_class
from .folds import Fold
from .members import Progress, TrainAll, train_all
from .training import Fit, Setup, Task, Trained

KEPT = 3  # of so many candidates, one goes on
CRITERIA = ("accuracy", "uar", "loss")
WEIGHTS = tuple(step / 20 for step in range(21))  # of the sound, in decision fusion


@dataclass(frozen=True)
class Rule:
    """What to choose, and by which metric on the held-out clips of the inner folds.

    Attributes:
        by: ``accuracy``, ``uar`` or ``loss`` (cross-entropy). Of equal ones, the lower loss wins.
        epoch: whether the number of epochs is chosen too, up to a candidate's own; else its last is taken.
        halving: whether candidates are trained for few epochs first and the best third of them for three
            times as many, until at most three are trained for all: successive halving (Jamieson, Talwalkar
            2016, with a third for a half).
    """

    by: str = "accuracy"
    epoch: bool = False
    halving: bool = False

    def __post_init__(self) -> None:
        if self.by not in CRITERIA:
            raise FusionError(f"no selection by {self.by!r}; there are {', '.join(CRITERIA)}")


@dataclass(frozen=True)
class InnerFigures:
    """On the inner folds' held-out clips; accuracy and uar 0 to 1."""

    loss: float
    accuracy: float
    uar: float

    def rank(self, by: str) -> tuple[float, float]:
        """The smaller, the better."""
        return (self.loss, -self.accuracy) if by == "loss" else (-float(getattr(self, by)), self.loss)


@dataclass(frozen=True)
class Choice:
    """What a fold is trained with.

    Attributes:
        candidate: place of the setup.
        epochs: how long it is trained.
        weight: of decision fusion; None for other heads, and where the setup says it.
        figures: of these settings on inner folds; None where there was nothing to choose among.
    """

    candidate: int
    epochs: int
    weight: float | None = None
    figures: InnerFigures | None = None

    def of(self, candidates: Sequence[Setup]) -> Setup:
        """The chosen candidate with all that was chosen for it."""
        setup = with_epochs(candidates[self.candidate], self.epochs)
        return setup if self.weight is None else with_weight(setup, self.weight)

    def write(self, path: Path) -> None:
        """Keep it as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Choice:
        """What :meth:`write` wrote.

        Raises:
            FusionError: it cannot be read.
        """
        try:
            content = read_json(path)
            figures = content["figures"] and InnerFigures(**content["figures"])
            return cls(content["candidate"], content["epochs"], content["weight"], figures)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FusionError(
                f"{path} cannot be read ({error!r}); delete it and run the same command again"
            ) from error


def with_epochs(setup: Setup, epochs: int) -> Setup:
    """The same setup, trained for another number of epochs."""
    return replace(setup, training=replace(setup.training, epochs=epochs))


def with_weight(setup: Setup, weight: float) -> Setup:
    """The same setup of decision fusion with another weight, which training does not depend on."""
    return replace(setup, head=replace(setup.head, decision_weight=weight))


def leaves_weight(setup: Setup) -> bool:
    """Whether a setup is of decision fusion and leaves its weight open."""
    return "decision_weight" in head_class(setup.head.fusion).options and setup.head.decision_weight is None


def epochs_to_choose(candidates: Sequence[Setup], inner: Sequence[Fold], rule: Rule) -> int:
    """Epochs that :func:`choose` trains for at most; 0 where there is nothing to choose."""
    for_weights = [setup.training.epochs for setup in candidates if leaves_weight(setup)]
    return _epochs_of_setups(candidates, inner, rule) + len(inner) * max(for_weights, default=0)


def choose(
    corpus: Corpus,
    candidates: Sequence[Setup],
    inner: Sequence[Fold],
    rule: Rule,
    seed: int,
    trained: TrainAll = train_all,
    progress: Progress = lambda done: None,
) -> Choice:
    """The best of ``candidates`` on the held-out clips of ``inner`` folds, see :func:`choosing`.

    Args:
        corpus, candidates, inner, rule, seed: see there.
        trained: trains.
        progress: told from time to time how many epochs are done.
    """
    asked = {0: choosing(corpus, candidates, inner, rule, seed)}
    ((_, choice),) = choose_all(corpus, asked, trained, progress)
    return choice


@dataclass(frozen=True)
class Asked:
    """Members that a choice needs: ``took`` is called with the place of each task, and its result."""

    tasks: Sequence[Task]
    took: Callable[[int, Trained], None]


Choosing = Generator[Asked, None, Choice]
"""A choice in the making: it goes on when all that it asked for was taken."""


def choose_all(
    corpus: Corpus,
    choices: Mapping[int, Choosing],
    trained: TrainAll = train_all,
    progress: Progress = lambda done: None,
) -> Iterator[tuple[int, Choice]]:
    """Make several choices side by side: what they ask for is trained together.

    Yields:
        The name of each, and the choice as it is made.
    """
    waiting: dict[int, Asked] = {}

    def go_on(name: int) -> Iterator[tuple[int, Choice]]:
        try:
            waiting[name] = next(choices[name])
        except StopIteration as end:
            yield name, end.value

    for name in choices:
        yield from go_on(name)
    before = 0
    while waiting:
        asked, waiting = waiting, {}
        owners = [(name, place) for name, own in asked.items() for place in range(len(own.tasks))]
        tasks = [task for own in asked.values() for task in own.tasks]
        left = {name: len(own.tasks) for name, own in asked.items()}
        for number, result in trained(corpus, tasks, progress=partial(ahead, progress, before)):
            name, place = owners[number]
            asked[name].took(place, result)
            left[name] -= 1
            if not left[name]:
                yield from go_on(name)
        before += sum(setup.training.epochs for setup, _ in tasks)


def choosing(
    corpus: Corpus, candidates: Sequence[Setup], inner: Sequence[Fold], rule: Rule, seed: int
) -> Choosing:
    """Choose the best of ``candidates`` on the held-out clips of ``inner`` folds.

    The number of epochs, where it is to be chosen, is that of the best candidate's best epoch. The weight of
    decision fusion, where the candidate leaves it open, is chosen after that, among multiples of 0.05, on
    members trained on the inner folds once more for that many epochs.

    Args:
        corpus: the clips; those in no inner fold are not looked at.
        candidates: setups to choose among.
        inner: folds of one training part.
        rule: what to choose, and by what.
        seed: of every training.
    """
    choice = Choice(0, candidates[0].training.epochs)
    if _epochs_of_setups(candidates, inner, rule):
        choice = yield from _best_setup(candidates, inner, rule, seed)
    setup = choice.of(candidates)
    if not leaves_weight(setup):
        return choice
    weight, figures = yield from _best_weight(corpus, setup, inner, rule, seed)
    return replace(choice, weight=weight, figures=figures)


def ahead(progress: Progress, before: int, done: int) -> None:
    """Tell ``progress`` of what is done, where ``before`` was done already."""
    progress(before + done)


def _epochs_of_setups(candidates: Sequence[Setup], inner: Sequence[Fold], rule: Rule) -> int:
    if len(candidates) == 1 and not rule.epoch:
        return 0
    longest = sorted((setup.training.epochs for setup in candidates), reverse=True)
    rungs = _rungs(len(candidates), rule.halving)
    return len(inner) * sum(_part(epochs, part) for count, part in rungs for epochs in longest[:count])


def _rungs(count: int, halving: bool) -> list[tuple[int, int]]:
    """How many candidates are trained, for one part in how many of their epochs, in turn."""
    rungs = [count]
    while halving and rungs[-1] > KEPT:
        rungs.append(-(-rungs[-1] // KEPT))
    return [(left, KEPT ** (len(rungs) - 1 - rung)) for rung, left in enumerate(rungs)]


def _part(epochs: int, part: int) -> int:
    return -(-epochs // part)


def _best_setup(
    candidates: Sequence[Setup], inner: Sequence[Fold], rule: Rule, seed: int
) -> Generator[Asked, None, Choice]:
    left = list(range(len(candidates)))
    options: list[tuple[InnerFigures, int, int]] = []
    for count, part in _rungs(len(candidates), rule.halving):
        left = [place for _, place, _ in options[:count]] if options else left
        setups = [with_epochs(candidates[p], _part(candidates[p].training.epochs, part)) for p in left]
        curves = yield from _curves(setups, inner, seed)
        options = sorted(
            (_best_epoch(curve, rule, place) for place, curve in zip(left, curves, strict=True)),
            key=lambda option: option[0].rank(rule.by),
        )
    figures, place, epoch = options[0]
    return Choice(place, epoch, figures=figures)


def _best_epoch(curve: Sequence[InnerFigures], rule: Rule, place: int) -> tuple[InnerFigures, int, int]:
    """Figures, place and epoch: the best, or the last if none is to be chosen."""
    first = 0 if rule.epoch else len(curve) - 1
    epoch = min(range(first, len(curve)), key=lambda epoch: curve[epoch].rank(rule.by))
    return curve[epoch], place, epoch + 1


def _curves(
    setups: Sequence[Setup], inner: Sequence[Fold], seed: int
) -> Generator[Asked, None, list[list[InnerFigures]]]:
    """The figures of each setup after each epoch, over all inner folds."""
    tasks = [(setup, Fit(seed, fold.train, fold.test)) for setup in setups for fold in inner]
    curves: list[list[InnerFigures]] = [[] for _ in tasks]

    def took(place: int, trained: Trained) -> None:
        curves[place] = [
            InnerFigures(float(e.val_loss or 0), float(e.val_accuracy or 0), float(e.val_uar or 0))
            for e in trained.history
        ]

    yield Asked(tasks, took)
    clips = [len(fold.test) for fold in inner]
    own = [curves[first : first + len(inner)] for first in range(0, len(tasks), len(inner))]
    return [[_mean(figures, clips) for figures in zip(*folds, strict=True)] for folds in own]


def _best_weight(
    corpus: Corpus, setup: Setup, inner: Sequence[Fold], rule: Rule, seed: int
) -> Generator[Asked, None, tuple[float, InnerFigures]]:
    """The weight that does best on all held-out clips of the inner folds together."""
    nobody = np.array([], dtype=np.int64)
    values = np.zeros((len(WEIGHTS), len(corpus.clips), len(setup.classes)))

    def took(place: int, trained: Trained) -> None:
        for number, weight in enumerate(WEIGHTS):
            probabilities = _at_weight(trained, with_weight(setup, weight), corpus)
            values[number, inner[place].test] = probabilities[inner[place].test]

    yield Asked([(setup, Fit(seed, fold.train, nobody)) for fold in inner], took)
    scored = np.concatenate([fold.test for fold in inner])
    targets = corpus.targets(setup.classes)[scored]
    found = [(_figures(each[scored], targets), weight) for each, weight in zip(values, WEIGHTS, strict=True)]
    figures, weight = min(found, key=lambda option: option[0].rank(rule.by))
    return weight, figures


def _at_weight(trained: Trained, setup: Setup, corpus: Corpus) -> np.ndarray:
    """What a trained member would say with the weight of ``setup``."""
    features = {name: corpus.streams[name].features for name in trained.member.head.streams}
    head = build_head(setup.head, features, len(setup.classes))
    head.load_state_dict(trained.member.head.state_dict())
    return replace(trained.member, head=head.eval()).predict(corpus, setup.device)


def _figures(values: np.ndarray, targets: np.ndarray) -> InnerFigures:
    loss = -np.log(np.maximum(values[np.arange(len(targets)), targets], 1e-30)).mean()
    names = [[str(i) for i in classes] for classes in (targets, values.argmax(axis=1))]
    return InnerFigures(float(loss), accuracy(*names), unweighted_average_recall(*names))


def _mean(figures: Sequence[InnerFigures], clips: Sequence[int]) -> InnerFigures:
    loss, right, uar = np.average([[f.loss, f.accuracy, f.uar] for f in figures], axis=0, weights=clips)
    return InnerFigures(float(loss), float(right), float(uar))
