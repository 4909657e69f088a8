"""Cross-validation: members only score clips that affected neither their weights nor their statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ..evaluation.scores import Scores, joined
from ..features.corpus import Corpus
from . import cards
from .cards import Card
from .folds import Fold
from .members import Progress, TrainAll, train_all
from .selection import Choice, Choosing, Rule, ahead, choose_all, choosing, epochs_to_choose, leaves_weight
from .training import Fit, Setup

FILES = (
    cards.NAME,
    "folds/*.csv",
    "folds/*.json",
    "member-*.csv",
    "scores.csv",
    "results.*",
    "tables/*.csv",
)


@dataclass(frozen=True, eq=False)
class Design:
    """The inputs of a cross-validation.

    Attributes:
        folds: folds, as indices into the corpus.
        seeds: one seed per member.
        candidates: setups to choose from for each fold; a single one if there is nothing to choose.
        inner: divides the training part of a fold into inner folds, to choose on.
        rule: what to choose, and how.
        names: names of the candidates, for tables.
    """

    folds: Sequence[Fold]
    seeds: Sequence[int]
    candidates: Sequence[Setup]
    inner: Callable[[Fold], Sequence[Fold]] = lambda fold: []
    rule: Rule = field(default_factory=Rule)
    names: Sequence[str] = ()

    @property
    def chosen(self) -> list[str]:
        """Names of the things to choose on inner folds."""
        open_ = {
            "candidate": len(self.candidates) > 1,
            "epoch": self.rule.epoch,
            "weight": any(map(leaves_weight, self.candidates)),
        }
        return [name for name, is_open in open_.items() if is_open]

    def inner_epochs(self, fold: Fold) -> int:
        """Return the maximum number of epochs needed to choose for ``fold``."""
        return epochs_to_choose(self.candidates, self.inner(fold), self.rule)


class CrossValidation:
    """A folder of held-out scores with one file per fold and member, so that a killed run can be resumed.

    Args:
        path: the folder; see :func:`.cards.claim`.
        card: card of the run; the marks in its facts are added to the scores.
        overwrite: remove another run from the folder.

    Raises:
        FusionError: the folder holds another run.
    """

    def __init__(self, path: Path, card: Card, overwrite: bool = False) -> None:
        cards.claim(path, card, overwrite, FILES)
        self.path = path
        self.marks = tuple(card.facts.get("marks", ()))

    def missing(self, design: Design) -> list[tuple[int, int]]:
        """Return indices (fold, member) of the members still to train."""
        places = [(f, m) for f in range(len(design.folds)) for m in range(len(design.seeds))]
        return [place for place in places if not self._file(*place).exists()]

    def undecided(self, design: Design) -> list[int]:
        """Return indices of the folds whose choice is still missing."""
        places = range(len(design.folds)) if design.chosen else []
        return [place for place in places if not self._choice(place).exists()]

    def choose(
        self,
        corpus: Corpus,
        design: Design,
        trainer: TrainAll = train_all,
        progress: Progress = lambda done: None,
        side_by_side: bool = False,
    ) -> list[Choice]:
        """Make the missing choices, on inner folds of each training part only.

        Args:
            corpus: labelled clips.
            design: the cross-validation.
            trainer: trains members.
            progress: called from time to time with the number of epochs done.
            side_by_side: choose for all folds at once instead of one after the other. This trains more
                members at a time, but loses more work if stopped.

        Returns:
            The choice for each fold.

        Raises:
            FusionError: an earlier choice cannot be read.
        """
        if not design.chosen:
            return [Choice(0, design.candidates[0].training.epochs)] * len(design.folds)
        undecided, before = self.undecided(design), 0
        for places in [undecided] if side_by_side else [[place] for place in undecided]:
            unfinished = {place: self._choosing(corpus, design, place) for place in places}
            for place, choice in choose_all(corpus, unfinished, trainer, partial(ahead, progress, before)):
                choice.write(self._choice(place))
            before += sum(design.inner_epochs(design.folds[place]) for place in places)
            progress(before)
        return [Choice.read(self._choice(place)) for place in range(len(design.folds))]

    def _choosing(self, corpus: Corpus, design: Design, place: int) -> Choosing:
        fold = design.folds[place]
        return choosing(corpus, design.candidates, design.inner(fold), design.rule, design.seeds[0])

    def run(
        self,
        corpus: Corpus,
        design: Design,
        choices: Sequence[Choice],
        trainer: TrainAll = train_all,
        progress: Progress = lambda done: None,
        stacked: bool | None = None,
    ) -> list[Scores]:
        """Train the missing members, and return each member's scores of all held-out clips.

        Standardisation, like the weights, is fitted on the training clips of a fold only.

        Args:
            corpus: labelled clips.
            design: the cross-validation.
            choices: the choice for each fold.
            trainer: trains members.
            progress: called from time to time with the number of epochs done.
            stacked: see :func:`.members.train_all`.
        """
        nobody = np.array([], dtype=np.int64)
        places = self.missing(design)
        tasks = [
            (choices[fold].of(design.candidates), Fit(design.seeds[member], design.folds[fold].train, nobody))
            for fold, member in places
        ]
        for number, result in trainer(corpus, tasks, progress=progress, stacked=stacked):
            fold, member = places[number]
            scores = corpus.scores(tasks[number][0].classes, result.probabilities).marked(*self.marks)
            scores.take(design.folds[fold].test.tolist()).write(self._file(fold, member))
        return [self._member(member, len(design.folds)) for member in range(len(design.seeds))]

    def _member(self, member: int, folds: int) -> Scores:
        scores = joined(Scores.read(self._file(fold, member)) for fold in range(folds))
        scores.write(self.path / f"member-{member:03d}.csv")
        return scores

    def _file(self, fold: int, member: int) -> Path:
        return self.path / "folds" / f"fold-{fold:02d}-member-{member:03d}.csv"

    def _choice(self, fold: int) -> Path:
        return self.path / "folds" / f"fold-{fold:02d}.json"
