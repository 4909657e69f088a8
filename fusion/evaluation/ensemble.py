"""Averages the scores of members."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import FusionError
from .scores import Scores, check_same_classes, joined_status


def average(
    members: Sequence[Scores], weights: Sequence[float] | None = None, names: Sequence[str] = ()
) -> Scores:
    """Average the probabilities of M members, matching clips and classes by name.

    If some members could not score a clip, the mean is over the others.

    Clips and classes of the result are sorted and sums are taken in order of size, so the result does not
    depend on the order of members, to the last bit.

    Args:
        members: scores of the same clips and classes, in any order.
        weights: M weights above 0 (default: equal weights).
        names: names of the members in error messages (default: numbers).

    Raises:
        FusionError: there are no members, or their clips, classes or true labels differ.
    """
    if not members:
        raise FusionError("no scores to average; name one or more sets of scores")
    shares = _shares(len(members), weights)
    clips = tuple(sorted(members[0].clips))
    classes = tuple(sorted(members[0].classes))
    names = names or [f"member {i}" for i in range(1, len(members) + 1)]
    for name, member in zip(names, members, strict=True):
        try:
            check_same_classes(member.classes, classes)
        except FusionError as error:
            raise FusionError(f"{name}, beside {names[0]}: {error}") from error
        _check_same_clips(names[0], members[0], name, member)
    aligned = [_aligned(member, clips, classes) for member in members]
    values = np.stack([share * member.values for share, member in zip(shares, aligned, strict=True)])
    mean = np.sort(values, axis=0).sum(axis=0)
    given = shares @ np.stack([member.scored for member in aligned])  # total weight of members with a score
    some = np.isnan(mean).any(axis=1) & (given > 0)
    mean[some] = np.nansum(np.sort(values[:, some], axis=0), axis=0) / given[some, None]
    marks = tuple(mark for member in members for mark in member.marks)
    status = tuple(map(joined_status, zip(*(member.status for member in aligned), strict=True)))
    return Scores(clips, classes, mean, known_classes(aligned), marks, status)


def _shares(count: int, weights: Sequence[float] | None) -> np.ndarray:
    given = np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)
    if given.shape != (count,) or not np.all(np.isfinite(given) & (given > 0)):
        raise FusionError(f"weights {given.tolist()} for {count} members; as many numbers above 0 expected")
    shares: np.ndarray = given / np.sort(given).sum()
    return shares


def _aligned(scores: Scores, clips: Sequence[tuple[str, str]], classes: Sequence[str]) -> Scores:
    position = {clip: i for i, clip in enumerate(scores.clips)}
    return scores.reorder(classes).take([position[clip] for clip in clips])


def _check_same_clips(name: str, scores: Scores, other_name: str, other: Scores) -> None:
    lacking = {
        name: sorted({*other.clips} - {*scores.clips}),
        other_name: sorted({*scores.clips} - {*other.clips}),
    }
    problems = [
        f"{who} lacks {len(clips)} ({', '.join('/'.join(clip) for clip in clips[:3])}"
        f"{', ...' if len(clips) > 3 else ''})"
        for who, clips in lacking.items()
        if clips
    ]
    if problems:
        raise FusionError(
            f"{name} and {other_name} score different clips: {'; '.join(problems)}; score the same "
            "clips with every member"
        )


def known_classes(members: Sequence[Scores]) -> tuple[str | None, ...]:
    """Return the true class of each clip, or None if no member knows it.

    Args:
        members: scores of the same clips, in the same order.

    Raises:
        FusionError: two members give a clip different true classes.
    """
    known = []
    labels_of_clips = zip(*(member.truth for member in members), strict=True)
    for clip, labels in zip(members[0].clips, labels_of_clips, strict=True):
        names = sorted({name for name in labels if name is not None})
        if len(names) > 1:
            raise FusionError(
                f"members disagree on the true class of clip {'/'.join(clip)}: {' and '.join(names)}; "
                "correct the one that is wrong"
            )
        known.append(names[0] if names else None)
    return tuple(known)
