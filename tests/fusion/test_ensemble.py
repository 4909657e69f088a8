"""The mean of members: by name, order-independent, against a plain loop."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from avemo.fusion.errors import FusionError
from avemo.fusion.evaluation.ensemble import average
from avemo.fusion.evaluation.scores import Scores

CLASSES = ("Angry", "Happy", "Sad")
CLIPS = tuple(("val", str(i)) for i in range(8))


def member(seed: int) -> Scores:
    """Random scores with clips and classes in a random order."""
    rng = np.random.default_rng(seed)
    clips = tuple(CLIPS[i] for i in rng.permutation(len(CLIPS)))
    classes = tuple(CLASSES[i] for i in rng.permutation(len(CLASSES)))
    return Scores(clips, classes, rng.dirichlet(np.ones(3), len(clips)), (None,) * len(clips))


def value(scores: Scores, clip: tuple[str, str], name: str) -> float:
    return float(scores.values[scores.clips.index(clip), scores.classes.index(name)])


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5, 4.0]])
def test_average_against_a_loop(weights: list[float] | None) -> None:
    members = [member(seed) for seed in range(4)]
    found = average(members, weights)
    shares = weights or [1.0] * 4
    for clip in CLIPS:
        for name in CLASSES:
            total = sum(w * value(m, clip, name) for w, m in zip(shares, members, strict=True))
            assert value(found, clip, name) == pytest.approx(total / sum(shares), rel=1e-14)


def test_the_order_of_members_changes_no_bit() -> None:
    members = [member(seed) for seed in range(4)]
    first = average(members)
    for order in permutations(members):
        again = average(order)
        assert (again.clips, again.classes) == (first.clips, first.classes)
        assert again.values.tobytes() == first.values.tobytes()


def test_a_clip_that_some_members_cannot_score_has_the_mean_of_the_others() -> None:
    members = [replace(member(seed), status=("ok",) * len(CLIPS)) for seed in range(3)]
    for number in (0, 1, 2):
        values, status = members[number].values.copy(), list(members[number].status)
        for clip in (CLIPS[2], *(() if number == 1 else (CLIPS[5],))):
            place = members[number].clips.index(clip)
            values[place], status[place] = np.nan, "failed" if number else "no sound"
        members[number] = replace(members[number], values=values, status=tuple(status))
    found = average(members, [1.0, 2.0, 3.0])
    assert not found.scored[found.clips.index(CLIPS[2])]
    for name in CLASSES:
        assert value(found, CLIPS[5], name) == pytest.approx(value(members[1], CLIPS[5], name), rel=1e-14)
    assert {clip: found.status[i] for i, clip in enumerate(found.clips)} == {
        **dict.fromkeys(CLIPS, "ok"),
        CLIPS[2]: "no sound",
        CLIPS[5]: "no sound",
    }


def test_one_member_is_itself() -> None:
    found = average([member(1)])
    assert all(value(found, clip, name) == value(member(1), clip, name) for clip in CLIPS for name in CLASSES)


def test_known_classes_are_united() -> None:
    one, two = member(1), member(2)
    one = replace(one, truth=tuple("Sad" if clip == CLIPS[3] else None for clip in one.clips))
    two = replace(two, truth=tuple("Happy" if clip == CLIPS[5] else None for clip in two.clips))
    found = average([one, two])
    assert dict(zip(found.clips, found.truth, strict=True)) == {
        **dict.fromkeys(CLIPS),
        CLIPS[3]: "Sad",
        CLIPS[5]: "Happy",
    }
    with pytest.raises(FusionError, match="disagree on the true class of clip val/3: Happy and Sad"):
        average([one, replace(two, truth=("Happy",) * 8)])


def test_a_mark_of_one_member_is_a_mark_of_all() -> None:
    found = average([member(1), member(2).marked("transductive: by b", "a"), member(3).marked("a")])
    assert found.marks == ("a", "transductive: by b")
    assert average([member(1)]).marks == ()


def test_other_clips_are_refused() -> None:
    one, two = member(1), member(2)
    lacking = two.take([i for i, clip in enumerate(two.clips) if clip[1] in "01234"])
    with pytest.raises(
        FusionError, match=r"a\.csv and b\.csv score .*: b\.csv lacks 3 \(val/5, val/6, val/7\)"
    ):
        average([one, lacking], names=["a.csv", "b.csv"])
    with pytest.raises(FusionError, match=r"member 1 lacks 8 .*, \.\.\.\); member 2 lacks 8"):
        average([one.in_split("test"), two])


def test_other_classes_are_refused() -> None:
    with pytest.raises(FusionError, match=r"missing: Fear; extra: Sad|missing: Sad; extra: Fear"):
        average([member(1).reorder(CLASSES), replace(member(2), classes=("Angry", "Happy", "Fear"))])


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, float("nan")]])
def test_wrong_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(FusionError, match="for 2 members"):
        average([member(1), member(2)], weights)


def test_nothing_has_no_mean() -> None:
    with pytest.raises(FusionError, match="no scores to average"):
        average([])
