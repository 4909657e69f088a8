"""Cross-validation: every clip scored by members that never saw it, nor its fold's statistics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from . import cards
from .cards import Card
from .corpus import Corpus
from .folds import Fold
from .members import Progress, train_all
from .scores import Scores, joined
from .training import Job, Plan

FILES = (cards.NAME, "folds/*.csv", "member-*.csv", "scores.csv", "results.csv")


class CrossValidation:
    """A folder of held-out scores, one file a fold and member, so that a killed run goes on.

    Args:
        path: the folder; see :func:`.cards.claim`.
        card: what it is made with.
        overwrite: remove another run from it.

    Raises:
        FusionError: the folder holds another run.
    """

    def __init__(self, path: Path, card: Card, overwrite: bool = False) -> None:
        cards.claim(path, card, overwrite, FILES)
        self.path = path

    def missing(self, folds: Sequence[Fold], seeds: Sequence[int]) -> list[tuple[int, int]]:
        """Places of the folds and members that are still to be trained."""
        places = [(f, m) for f in range(len(folds)) for m in range(len(seeds))]
        return [place for place in places if not self._file(*place).exists()]

    def run(
        self,
        corpus: Corpus,
        plan: Plan,
        folds: Sequence[Fold],
        seeds: Sequence[int],
        workers: int = 0,
        progress: Progress = lambda done: None,
    ) -> list[Scores]:
        """Train what is missing; each member's scores of all held-out clips.

        Standardisation, like the weights, is fitted on a fold's training clips alone.

        Args:
            corpus: labelled clips.
            plan: the settings.
            folds: indices into ``corpus``.
            seeds: one a member.
            workers, progress: see :func:`.members.train_all`.
        """
        places = self.missing(folds, seeds)
        nobody = np.array([], dtype=np.int64)
        jobs = [Job(seeds[member], folds[fold].train, nobody) for fold, member in places]
        for place, trained in train_all(corpus, plan, jobs, workers, progress):
            fold, member = places[place]
            scores = corpus.scores(plan.classes, trained.probabilities)
            scores.take(folds[fold].test.tolist()).write(self._file(fold, member))
        return [self._member(member, len(folds)) for member in range(len(seeds))]

    def _member(self, member: int, folds: int) -> Scores:
        scores = joined(Scores.read(self._file(fold, member)) for fold in range(folds))
        scores.write(self.path / f"member-{member:03d}.csv")
        return scores

    def _file(self, fold: int, member: int) -> Path:
        return self.path / "folds" / f"fold-{fold:02d}-member-{member:03d}.csv"
