"""Chooses settings by nested cross-validation, without the test clips.

The training part of a fold is divided into inner folds. Each candidate is trained on all inner folds but one
and evaluated on that one, in turn. The best on average is then trained on the whole training part.
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

KEPT = 3  # halving keeps one in this many candidates
CRITERIA = ("accuracy", "uar", "loss")
WEIGHTS = tuple(step / 20 for step in range(21))  # candidate weights of the sound in decision fusion


@dataclass(frozen=True)
class Rule:
    """What to choose, and by which metric on the held-out clips of the inner folds.

    Attributes:
        by: ``accuracy``, ``uar`` or ``loss`` (cross-entropy). Ties go to the lower loss.
        epoch: whether to choose the number of epochs, up to the candidate's own; if false, use all of them.
        halving: whether to use successive halving (Jamieson, Talwalkar 2016), keeping a third instead of a
            half: candidates are trained for few epochs, the best third for three times as many, and so on,
            until at most three are trained in full.
    """

    by: str = "accuracy"
    epoch: bool = False
    halving: bool = False

    def __post_init__(self) -> None:
        if self.by not in CRITERIA:
            raise FusionError(f"no selection by {self.by!r}; there are {', '.join(CRITERIA)}")


@dataclass(frozen=True)
class InnerFigures:
    """Metrics on the held-out clips of the inner folds; accuracy and uar from 0 to 1."""

    loss: float
    accuracy: float
    uar: float

    def rank(self, by: str) -> tuple[float, float]:
        """Return a sort key; smaller is better."""
        return (self.loss, -self.accuracy) if by == "loss" else (-float(getattr(self, by)), self.loss)


@dataclass(frozen=True)
class Choice:
    """The settings chosen for a fold.

    Attributes:
        candidate: index of the setup.
        epochs: number of epochs.
        weight: weight of decision fusion; None for other heads, or if the setup sets it.
        figures: metrics of these settings on the inner folds; None if there was nothing to choose.
    """

    candidate: int
    epochs: int
    weight: float | None = None
    figures: InnerFigures | None = None

    def of(self, candidates: Sequence[Setup]) -> Setup:
        """Return the chosen candidate with the chosen epochs and weight."""
        setup = with_epochs(candidates[self.candidate], self.epochs)
        return setup if self.weight is None else with_weight(setup, self.weight)

    def write(self, path: Path) -> None:
        """Write the choice as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Choice:
        """Read a file written by :meth:`write`.

        Raises:
            FusionError: the file cannot be read.
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
    """Return ``setup`` with another number of epochs."""
    return replace(setup, training=replace(setup.training, epochs=epochs))


def with_weight(setup: Setup, weight: float) -> Setup:
    """Return a decision-fusion setup with another weight, which does not affect training."""
    return replace(setup, head=replace(setup.head, decision_weight=weight))


def leaves_weight(setup: Setup) -> bool:
    """Return whether a setup uses decision fusion without setting its weight."""
    return "decision_weight" in head_class(setup.head.fusion).options and setup.head.decision_weight is None


def epochs_to_choose(candidates: Sequence[Setup], inner: Sequence[Fold], rule: Rule) -> int:
    """Return the maximum number of epochs that :func:`choose` trains; 0 if there is nothing to choose."""
    for_weights = [setup.training.epochs for setup in candidates if leaves_weight(setup)]
    return _epochs_of_setups(candidates, inner, rule) + len(inner) * max(for_weights, default=0)


def choose(
    corpus: Corpus,
    candidates: Sequence[Setup],
    inner: Sequence[Fold],
    rule: Rule,
    seed: int,
    trainer: TrainAll = train_all,
    progress: Progress = lambda done: None,
) -> Choice:
    """Choose the best of ``candidates`` on the held-out clips of ``inner`` folds.

    Args:
        corpus, candidates, inner, rule, seed: as for :func:`choosing`.
        trainer: trains members.
        progress: called from time to time with the number of epochs done.
    """
    unfinished = {0: choosing(corpus, candidates, inner, rule, seed)}
    ((_, choice),) = choose_all(corpus, unfinished, trainer, progress)
    return choice


@dataclass(frozen=True)
class TrainingRequest:
    """Members to train for a choice. ``on_trained`` is called with the index of each task and its result."""

    tasks: Sequence[Task]
    on_trained: Callable[[int, Trained], None]


Choosing = Generator[TrainingRequest, None, Choice]
"""An unfinished choice: a generator to resume when ``on_trained`` has received all members it asked for."""


def choose_all(
    corpus: Corpus,
    choices: Mapping[int, Choosing],
    trainer: TrainAll = train_all,
    progress: Progress = lambda done: None,
) -> Iterator[tuple[int, Choice]]:
    """Make several choices side by side, training the members they ask for together.

    Yields:
        Name and result of each choice as it completes.
    """
    waiting: dict[int, TrainingRequest] = {}

    def resume(name: int) -> Iterator[tuple[int, Choice]]:
        try:
            waiting[name] = next(choices[name])
        except StopIteration as end:
            yield name, end.value

    for name in choices:
        yield from resume(name)
    before = 0
    while waiting:
        requests, waiting = waiting, {}
        owners = [(name, place) for name, request in requests.items() for place in range(len(request.tasks))]
        tasks = [task for request in requests.values() for task in request.tasks]
        left = {name: len(request.tasks) for name, request in requests.items()}
        for number, result in trainer(corpus, tasks, progress=partial(ahead, progress, before)):
            name, place = owners[number]
            requests[name].on_trained(place, result)
            left[name] -= 1
            if not left[name]:
                yield from resume(name)
        before += sum(setup.training.epochs for setup, _ in tasks)


def choosing(
    corpus: Corpus, candidates: Sequence[Setup], inner: Sequence[Fold], rule: Rule, seed: int
) -> Choosing:
    """Choose the best of ``candidates`` on the held-out clips of ``inner`` folds.

    If the rule asks for the number of epochs, it is the best epoch of the best candidate. If the candidate
    leaves the weight of decision fusion open, it is chosen afterwards from multiples of 0.05, with members
    trained again on the inner folds for the chosen number of epochs.

    Args:
        corpus: the clips; clips outside the inner folds are not used.
        candidates: setups to choose from.
        inner: folds of one training part.
        rule: what to choose, and by which metric.
        seed: seed of all members.
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
    """Report ``before + done`` to ``progress``."""
    progress(before + done)


def _epochs_of_setups(candidates: Sequence[Setup], inner: Sequence[Fold], rule: Rule) -> int:
    if len(candidates) == 1 and not rule.epoch:
        return 0
    longest = sorted((setup.training.epochs for setup in candidates), reverse=True)
    rungs = _rungs(len(candidates), rule.halving)
    return len(inner) * sum(_part(epochs, part) for count, part in rungs for epochs in longest[:count])


def _rungs(count: int, halving: bool) -> list[tuple[int, int]]:
    """Return the rounds of halving as (number of candidates, divisor of their epochs)."""
    rungs = [count]
    while halving and rungs[-1] > KEPT:
        rungs.append(-(-rungs[-1] // KEPT))
    return [(left, KEPT ** (len(rungs) - 1 - rung)) for rung, left in enumerate(rungs)]


def _part(epochs: int, part: int) -> int:
    return -(-epochs // part)


def _best_setup(
    candidates: Sequence[Setup], inner: Sequence[Fold], rule: Rule, seed: int
) -> Generator[TrainingRequest, None, Choice]:
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
    """Return metrics, candidate and number of the best epoch, or of the last if epochs are not chosen."""
    first = 0 if rule.epoch else len(curve) - 1
    epoch = min(range(first, len(curve)), key=lambda epoch: curve[epoch].rank(rule.by))
    return curve[epoch], place, epoch + 1


def _curves(
    setups: Sequence[Setup], inner: Sequence[Fold], seed: int
) -> Generator[TrainingRequest, None, list[list[InnerFigures]]]:
    """Compute the metrics of each setup after each epoch, over all inner folds."""
    tasks = [(setup, Fit(seed, fold.train, fold.test)) for setup in setups for fold in inner]
    curves: list[list[InnerFigures]] = [[] for _ in tasks]

    def on_trained(place: int, trained: Trained) -> None:
        curves[place] = [
            InnerFigures(float(e.val_loss or 0), float(e.val_accuracy or 0), float(e.val_uar or 0))
            for e in trained.history
        ]

    yield TrainingRequest(tasks, on_trained)
    clips = [len(fold.test) for fold in inner]
    own = [curves[first : first + len(inner)] for first in range(0, len(tasks), len(inner))]
    return [[_mean(figures, clips) for figures in zip(*folds, strict=True)] for folds in own]


def _best_weight(
    corpus: Corpus, setup: Setup, inner: Sequence[Fold], rule: Rule, seed: int
) -> Generator[TrainingRequest, None, tuple[float, InnerFigures]]:
    """Find the weight that is best over all held-out clips of the inner folds together."""
    nobody = np.array([], dtype=np.int64)
    values = np.zeros((len(WEIGHTS), len(corpus.clips), len(setup.classes)))

    def on_trained(place: int, trained: Trained) -> None:
        for number, weight in enumerate(WEIGHTS):
            probabilities = _at_weight(trained, with_weight(setup, weight), corpus)
            values[number, inner[place].test] = probabilities[inner[place].test]

    yield TrainingRequest([(setup, Fit(seed, fold.train, nobody)) for fold in inner], on_trained)
    scored = np.concatenate([fold.test for fold in inner])
    targets = corpus.targets(setup.classes)[scored]
    found = [(_figures(each[scored], targets), weight) for each, weight in zip(values, WEIGHTS, strict=True)]
    figures, weight = min(found, key=lambda option: option[0].rank(rule.by))
    return weight, figures


def _at_weight(trained: Trained, setup: Setup, corpus: Corpus) -> np.ndarray:
    """Return the probabilities of a trained member with the weight of ``setup``."""
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
