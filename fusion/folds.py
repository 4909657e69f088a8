"""Cross-validation: which clips to train on and which to test on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedKFold

from ..cache.order import natural
from .errors import FusionError


@dataclass(frozen=True, eq=False)
class Fold:
    """One division of the clips; ``train`` and ``test`` are sorted indices."""

    name: str
    train: np.ndarray
    test: np.ndarray


def leave_one_subject_out(subjects: Sequence[str | None], clips: Sequence[str] = ()) -> list[Fold]:
    """A fold for each subject, tested on that subject's clips and trained on all others'.

    Args:
        subjects: who is in each clip. Folds are in natural order of these names (2 before 10).
        clips: the clips' names, for the text of an error; their numbers from 1 are told otherwise.

    Raises:
        FusionError: a clip names no subject, or there is only one.
    """
    unnamed = [clips[i] if clips else f"clip {i + 1}" for i, subject in enumerate(subjects) if not subject]
    if unnamed:
        raise FusionError(
            f"{len(unnamed)} of {len(subjects)} clips name no subject: {', '.join(unnamed[:3])}"
            f"{' and others' if len(unnamed) > 3 else ''}; give each its subject in the manifest, or use "
            "stratified folds"
        )
    names = sorted({str(subject) for subject in subjects}, key=natural)
    if len(names) < 2:
        raise FusionError(
            f"all {len(subjects)} clips are of the subject {', '.join(names) or '(none)'}; leaving one out "
            "needs two or more: use stratified folds"
        )
    who = np.array(subjects)
    return [Fold(name, np.flatnonzero(who != name), np.flatnonzero(who == name)) for name in names]


def k_fold(labels: Sequence[str], k: int, seed: int = 0) -> list[Fold]:
    """``k`` shuffled folds in which each class has its share (stratified).

    Raises:
        FusionError: ``k`` is under 2, or a class has fewer than ``k`` clips.
    """
    if not labels:
        raise FusionError("no clips to make folds of")
    name, fewest = min(Counter(labels).items(), key=lambda item: item[1])
    if not 2 <= k <= fewest:
        raise FusionError(
            f"{k} folds cannot be made: the class {name!r} has {fewest} clips; k of 2 to {fewest} expected"
        )
    parts = StratifiedKFold(k, shuffle=True, random_state=seed).split(np.zeros(len(labels)), list(labels))
    return [Fold(str(i), train, test) for i, (train, test) in enumerate(parts, start=1)]


def check_disjoint(folds: Iterable[Fold], subjects: Sequence[str | None]) -> None:
    """See that nobody is both trained and tested on; clips of unnamed subjects are passed over.

    Raises:
        FusionError: a fold has a subject on both sides.
    """
    for fold in folds:
        both = {subjects[i] for i in fold.train} & {subjects[i] for i in fold.test} - {None}
        names = sorted((str(name) for name in both), key=natural)
        if names:
            raise FusionError(
                f"fold {fold.name} trains and tests on the same subject: {', '.join(names[:3])}"
                f"{f' and {len(names) - 3} more' if len(names) > 3 else ''}; use leave-one-subject-out folds"
            )
