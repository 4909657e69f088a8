"""Cross-validation: members score only clips that they have not seen, nor any statistic of them."""

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
        folds: indices into the corpus.
        seeds: one a member.
        candidates: setups, one of which is chosen for each fold; just one where nothing is to be chosen.
        inner: divides the training part of a fold once more, to choose on.
        rule: what is chosen, and how.
        names: what tells each candidate from the others, for tables.
    """

    folds: Sequence[Fold]
    seeds: Sequence[int]
    candidates: Sequence[Setup]
    inner: Callable[[Fold], Sequence[Fold]] = lambda fold: []
    rule: Rule = field(default_factory=Rule)
    names: Sequence[str] = ()

    @property
    def chosen(self) -> list[str]:
        """Names of what is chosen on inner folds."""
        open_ = {
            "candidate": len(self.candidates) > 1,
            "epoch": self.rule.epoch,
            "weight": any(map(leaves_weight, self.candidates)),
        }
        return [name for name, is_open in open_.items() if is_open]

    def inner_epochs(self, fold: Fold) -> int:
        """Epochs that choosing for ``fold`` takes at most."""
        return epochs_to_choose(self.candidates, self.inner(fold), self.rule)


class CrossValidation:
    """A folder of held-out scores, one file a fold and member, so that a killed run goes on.

    Args:
        path: the folder; see :func:`.cards.claim`.
        card: what it is made with; scores bear the marks in its facts.
        overwrite: remove another run from it.

    Raises:
        FusionError: the folder holds another run.
    """

    def __init__(self, path: Path, card: Card, overwrite: bool = False) -> None:
        cards.claim(path, card, overwrite, FILES)
        self.path = path
        self.marks = tuple(card.facts.get("marks", ()))

    def missing(self, design: Design) -> list[tuple[int, int]]:
        """Places of the folds and members that are still to be trained."""
        places = [(f, m) for f in range(len(design.folds)) for m in range(len(design.seeds))]
        return [place for place in places if not self._file(*place).exists()]

    def undecided(self, design: Design) -> list[int]:
        """Places of the folds that something is still to be chosen for."""
        places = range(len(design.folds)) if design.chosen else []
        return [place for place in places if not self._choice(place).exists()]

    def choose(
        self,
        corpus: Corpus,
        design: Design,
        trained: TrainAll = train_all,
        progress: Progress = lambda done: None,
        side_by_side: bool = False,
    ) -> list[Choice]:
        """Choose what is still to be chosen, on inner folds of each training part alone.

        Args:
            corpus: labelled clips.
            design: what is cross-validated.
            trained: trains members.
            progress: told from time to time how many epochs are done.
            side_by_side: choose for all folds at once, and not one after the other: more is trained at a
                time, and fewer choices are kept if it is stopped.

        Returns:
            What each fold is trained with.

        Raises:
            FusionError: an earlier choice cannot be read.
        """
        if not design.chosen:
            return [Choice(0, design.candidates[0].training.epochs)] * len(design.folds)
        undecided, before = self.undecided(design), 0
        for places in [undecided] if side_by_side else [[place] for place in undecided]:
            asked = {place: self._choosing(corpus, design, place) for place in places}
            for place, choice in choose_all(corpus, asked, trained, partial(ahead, progress, before)):
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
        trained: TrainAll = train_all,
        progress: Progress = lambda done: None,
        stacked: bool | None = None,
    ) -> list[Scores]:
        """Train what is missing; each member's scores of all held-out clips.

        Standardisation, like the weights, is fitted on a fold's training clips alone.

        Args:
            corpus: labelled clips.
            design: what is cross-validated.
            choices: what each fold is trained with.
            trained: trains members.
            progress: told from time to time how many epochs are done.
            stacked: see :func:`.members.train_all`.
        """
        nobody = np.array([], dtype=np.int64)
        places = self.missing(design)
        tasks = [
            (choices[fold].of(design.candidates), Fit(design.seeds[member], design.folds[fold].train, nobody))
            for fold, member in places
        ]
        for number, result in trained(corpus, tasks, progress=progress, stacked=stacked):
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
