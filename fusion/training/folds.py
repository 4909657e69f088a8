"""Folds: divisions of the clips into training and test sets."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from ...cache.clips import Clip
from ...cache.digits import whole_number
from ...cache.order import natural
from ..errors import FusionError
from .settings import SESSION


@dataclass(frozen=True, eq=False)
class Fold:
    """One division of the clips; ``train`` and ``test`` are sorted indices."""

    name: str
    train: np.ndarray
    test: np.ndarray


def divide(text: str, clips: Sequence[Clip], session_pattern: str = SESSION, seed: int = 0) -> list[Fold]:
    """Divide ``clips`` into the folds described by ``text``.

    Args:
        text: ``subject``, ``session``, ``kfold:K``, ``group-kfold:K``, ``split`` or ``split:NAME``.
        clips: clips to divide.
        session_pattern: see :func:`sessions`.
        seed: seed for shuffling the clips.

    Raises:
        FusionError: ``text`` is invalid, or the clips cannot be divided in this way.
    """
    names = [str(clip) for clip in clips]
    labels = [str(clip.label) for clip in clips]
    subjects = [clip.subject for clip in clips]
    kind, colon, argument = text.partition(":")
    number = whole_number(argument)
    if text == "subject":
        return leave_one_out(subjects, names)
    if text == "session":
        return leave_one_out(sessions(clips, session_pattern), names, "session")
    if kind == "kfold" and number is not None:
        return k_fold(labels, number, seed)
    if kind == "group-kfold" and number is not None:
        return group_k_fold(labels, subjects, number, seed, names)
    if kind == "split" and bool(colon) == bool(argument):
        return fixed_split([clip.split for clip in clips], argument or None)
    raise FusionError(
        f"--folds {text!r}: subject, session, kfold:K or group-kfold:K with a number K, split or split:NAME "
        "expected"
    )


def divide_again(
    fold: Fold, kind: str, clips: Sequence[Clip], count: int, session_pattern: str = SESSION, seed: int = 0
) -> list[Fold]:
    """Divide a fold's training clips into at most ``count`` inner folds.

    Inner folds keep sessions or subjects whole if all clips name one, and are stratified otherwise. With
    ``kfold:K`` they are always stratified, as the outer folds do not keep subjects whole either.

    Args:
        fold: the fold to divide, as indices into ``clips``.
        kind: how the fold was made, as for :func:`divide`.
        clips: all clips.
        count: maximum number of inner folds.
        session_pattern, seed: as for :func:`divide`.

    Raises:
        FusionError: there are too few clips to divide.
    """
    own = [clips[i] for i in fold.train]
    labels = [str(clip.label) for clip in own]
    by_session, stratified = kind == "session", kind.startswith("kfold:")
    groups = sessions(own, session_pattern) if by_session else [clip.subject for clip in own]
    if not stratified and all(groups) and len({*groups}) > 1:
        return inside(fold, group_k_fold(labels, groups, min(count, len({*groups})), seed))
    fewest = min(labels.count(name) for name in {*labels})
    return inside(fold, k_fold(labels, max(2, min(count, fewest)), seed))


def sessions(clips: Sequence[Clip], pattern: str) -> list[str | None]:
    """Return the session of each clip: the stored one, else the match of ``pattern`` in its ``split/id``.

    If ``pattern`` is not the default one, stored sessions are ignored.

    Raises:
        FusionError: the pattern is not a valid regular expression.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise FusionError(f"--session-pattern {pattern!r} is not a regular expression: {error}") from error
    stored = pattern == SESSION
    found = (compiled.search(str(clip)) for clip in clips)
    named = ((match[1] if compiled.groups else match[0]) if match else None for match in found)
    return [(stored and clip.session) or name for clip, name in zip(clips, named, strict=True)]


def leave_one_out(
    groups: Sequence[str | None], clips: Sequence[str] = (), what: str = "subject"
) -> list[Fold]:
    """Return a fold for each group, tested on the clips of this group and trained on all others.

    Args:
        groups: subject or session of each clip. Folds are in natural order of these names (2 before 10).
        clips: names of the clips in error messages (default: numbers from 1).
        what: ``subject`` or ``session``, for error messages.

    Raises:
        FusionError: a clip has no group, or there is only one group.
    """
    _check_named(groups, clips, what)
    names = sorted({str(group) for group in groups}, key=natural)
    if len(names) < 2:
        raise FusionError(
            f"all {len(groups)} clips are of the {what} {', '.join(names) or '(none)'}; leaving one out "
            "needs two or more: use stratified folds (--folds kfold:K)"
        )
    of_clips = np.array(groups)
    return [Fold(name, np.flatnonzero(of_clips != name), np.flatnonzero(of_clips == name)) for name in names]


def k_fold(labels: Sequence[str], k: int, seed: int = 0) -> list[Fold]:
    """Return ``k`` shuffled, stratified folds.

    Raises:
        FusionError: ``k`` is below 2, or a class has fewer than ``k`` clips.
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


def group_k_fold(
    labels: Sequence[str],
    groups: Sequence[str | None],
    k: int,
    seed: int = 0,
    clips: Sequence[str] = (),
    what: str = "subject",
) -> list[Fold]:
    """Return ``k`` approximately stratified folds of whole groups.

    Args:
        labels: class of each clip.
        groups, clips, what: as for :func:`leave_one_out`.
        k: from 2 to the number of groups.
        seed: seed for shuffling the groups.

    Raises:
        FusionError: a clip has no group, or ``k`` is out of range.
    """
    _check_named(groups, clips, what)
    count = len({*groups})
    if not 2 <= k <= count:
        raise FusionError(f"{k} folds cannot be made of {count} {what}s; k of 2 to {count} expected")
    if k == count:  # one group per fold, so folds can be named after them
        return leave_one_out(groups, clips, what)
    splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # about a class with fewer clips than folds; the caller reports which folds lack it
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        parts = list(splitter.split(np.zeros(len(labels)), list(labels), list(groups)))
    return [Fold(str(i), train, test) for i, (train, test) in enumerate(parts, start=1)]


def fixed_split(splits: Sequence[str], tested: str | None = None) -> list[Fold]:
    """Return one fold that trains on split ``train`` and tests on split ``tested``; other clips are unused.

    Args:
        splits: split of each clip.
        tested: None for ``test``, or ``val`` if there is no ``test``.

    Raises:
        FusionError: there are no clips in one of the two splits, or ``tested`` is ``train``.
    """
    have = sorted({*splits})
    name = tested or next((each for each in ("test", "val") if each in have), "test")
    if name == "train" or not {"train", name} <= {*have}:
        raise FusionError(
            f"the labelled clips are in the splits {', '.join(have)}; to train on 'train' and test on "
            f"{name!r}, rename the splits in the manifest, or use other --folds"
        )
    of_clips = np.array(splits)
    return [Fold(name, np.flatnonzero(of_clips == "train"), np.flatnonzero(of_clips == name))]


def inside(fold: Fold, parts: Sequence[Fold]) -> list[Fold]:
    """Convert ``parts``, whose indices count within ``fold.train``, to folds with indices into all clips."""
    return [Fold(f"{fold.name}.{part.name}", fold.train[part.train], fold.train[part.test]) for part in parts]


def shared_subjects(folds: Iterable[Fold], subjects: Sequence[str | None]) -> dict[str, list[str]]:
    """Return fold → subjects on both sides of it, for folds with any; clips without a subject are ignored."""
    both = {
        fold.name: {subjects[i] for i in fold.train} & {subjects[i] for i in fold.test} - {None}
        for fold in folds
    }
    return {fold: sorted(map(str, names), key=natural) for fold, names in both.items() if names}


def check_disjoint(folds: Iterable[Fold], subjects: Sequence[str | None]) -> None:
    """Check that no subject is in both training and test; clips without a subject are ignored.

    Raises:
        FusionError: a fold has a subject on both sides.
    """
    for fold, names in shared_subjects(folds, subjects).items():
        raise FusionError(
            f"fold {fold} trains and tests on the same subject: {', '.join(names[:3])}"
            f"{f' and {len(names) - 3} more' if len(names) > 3 else ''}; divide by whole subjects (avemo-fuse"
            " cv --folds subject or group-kfold:K), or give --allow-same-subjects, which marks the results"
        )


def _check_named(groups: Sequence[str | None], clips: Sequence[str], what: str) -> None:
    unnamed = [clips[i] if clips else f"clip {i + 1}" for i, group in enumerate(groups) if not group]
    if unnamed:
        raise FusionError(
            f"{len(unnamed)} of {len(groups)} clips name no {what}: {', '.join(unnamed[:3])}"
            f"{' and others' if len(unnamed) > 3 else ''}; {_REMEDIES[what]}, or use stratified folds "
            "(--folds kfold:K)"
        )


_REMEDIES = {
    "subject": "give each its subject in the manifest",
    "session": "give a --session-pattern that finds it in their names",
}
