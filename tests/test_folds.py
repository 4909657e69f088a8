"""Folds: every clip is tested once, nobody is on both sides."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from avemo.fusion.errors import FusionError
from avemo.fusion.folds import Fold, check_disjoint, k_fold, leave_one_subject_out


def test_leave_one_subject_out() -> None:
    subjects = ["s2", "s10", "s2", "s1", "s10", "s10"]
    folds = leave_one_subject_out(subjects)
    assert [fold.name for fold in folds] == ["s1", "s2", "s10"]
    for fold in folds:
        assert {subjects[i] for i in fold.test} == {fold.name}
        assert sorted([*fold.train, *fold.test]) == list(range(6))
    check_disjoint(folds, subjects)


def test_every_clip_needs_a_subject() -> None:
    with pytest.raises(FusionError, match="4 of 5 clips name no subject: clip 2, clip 3, clip 4 and others"):
        leave_one_subject_out(["a", None, None, "", None])
    with pytest.raises(FusionError, match="1 of 2 clips name no subject: val/x;"):
        leave_one_subject_out(["a", None], ["val/w", "val/x"])
    with pytest.raises(FusionError, match="all 2 clips are of the subject a"):
        leave_one_subject_out(["a", "a"])


def test_k_folds_are_stratified() -> None:
    labels = ["a"] * 30 + ["b"] * 20 + ["c"] * 10
    folds = k_fold(labels, 5, seed=3)
    assert sorted(int(i) for fold in folds for i in fold.test) == list(range(60))
    for fold in folds:
        assert Counter(labels[i] for i in fold.test) == {"a": 6, "b": 4, "c": 2}
        assert sorted([*fold.train, *fold.test]) == list(range(60))


def test_the_seed_decides_the_folds() -> None:
    labels = ["a", "b"] * 20
    tests = [[fold.test.tolist() for fold in k_fold(labels, 4, seed)] for seed in (1, 1, 2)]
    assert tests[0] == tests[1]
    assert tests[0] != tests[2]


@pytest.mark.parametrize("k", [0, 1, 3])
def test_impossible_folds_are_refused(k: int) -> None:
    with pytest.raises(FusionError, match=f"{k} folds cannot be made: the class 'b' has 2 clips"):
        k_fold(["a", "a", "a", "b", "b"], k)


def test_a_subject_on_both_sides_is_refused() -> None:
    subjects = ["a", "b", "a", None, None]
    folds = [Fold("1", np.array([0, 3]), np.array([1, 4])), Fold("2", np.array([0, 1]), np.array([2]))]
    check_disjoint(folds[:1], subjects)
    with pytest.raises(FusionError, match="fold 2 trains and tests on the same subject: a"):
        check_disjoint(folds, subjects)
