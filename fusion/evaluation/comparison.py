"""Matches two sets of scores: their common clips, and the errors of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import FusionError
from .ensemble import known_classes
from .scores import Scores, check_same_classes


@dataclass(frozen=True, eq=False)
class MatchedScores:
    """The labelled clips that two sets of scores have in common.

    Attributes:
        first, second: their scores, clips in one order and with the same true classes.
        only_first, only_second: number of clips in one set only, left out.
        unlabelled: number of common clips without a true class, left out.
    """

    first: Scores
    second: Scores
    only_first: int
    only_second: int
    unlabelled: int


def match(first: Scores, second: Scores) -> MatchedScores:
    """Match clips by split and id, or by id alone if one set names no splits.

    Raises:
        FusionError: the classes differ, the two sets give a clip different true classes, no labelled clip is
            in both, or clips are matched by id and an id is not unique.
    """
    check_same_classes(first.classes, second.classes)
    if any(first.splits) != any(second.splits):
        first, second = _without_splits(first), _without_splits(second)
    places = [{clip: place for place, clip in enumerate(scores.clips)} for scores in (first, second)]
    common = sorted({*first.clips} & {*second.clips})
    sides = [
        scores.take([own[clip] for clip in common])
        for scores, own in zip((first, second), places, strict=True)
    ]
    truth = known_classes(sides)
    labelled = [place for place, name in enumerate(truth) if name is not None]
    if not labelled:
        raise FusionError(
            f"none of the {len(first.clips)} and {len(second.clips)} clips is in both and labelled; compare "
            "scores of the same clips, with their true classes in a column 'truth' of at least one"
        )
    a, b = (replace(side, truth=truth).take(labelled) for side in sides)
    return MatchedScores(
        a,
        b,
        len(first.clips) - len(common),
        len(second.clips) - len(common),
        len(common) - len(labelled),
    )


def errors(members: Sequence[Scores], known: Scores) -> np.ndarray:
    """Return the share of ``members`` that err on each clip of ``known``, ``[N]``, 0 to 1.

    Args:
        members: scores of at least these clips.
        known: the clips, with their true classes.

    Raises:
        FusionError: a member lacks a clip.
    """
    total = np.zeros(len(known.clips))
    for number, member in enumerate(members):
        predicted = dict(zip(member.clips, member.predicted, strict=True))
        lacking = [clip for clip in known.clips if clip not in predicted]
        if lacking:
            raise FusionError(
                f"member {number} lacks {len(lacking)} of {len(known.clips)} clips, {'/'.join(lacking[0])} "
                "among them; run the command that made it again; it continues where it stopped"
            )
        total += [predicted[clip] != truth for clip, truth in zip(known.clips, known.truth, strict=True)]
    return total / len(members)


def _without_splits(scores: Scores) -> Scores:
    ids = [clip for _, clip in scores.clips]
    twice = next((clip for clip in ids if ids.count(clip) > 1), None) if len({*ids}) < len(ids) else None
    if twice is not None:
        raise FusionError(
            f"one file names no splits, and the other has clip {twice!r} in more than one; choose one by "
            "--split"
        )
    return scores.in_split("")
