"""Folds: every clip is tested once, nobody is on both sides."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from avemo.fusion.errors import FusionError
from avemo.fusion.training.folds import (
    Fold,
    check_disjoint,
    fixed_split,
    group_k_fold,
    inside,
    k_fold,
    leave_one_out,
    shared_subjects,
)


def test_leave_one_subject_out() -> None:
    subjects = ["s2", "s10", "s2", "s1", "s10", "s10"]
    folds = leave_one_out(subjects)
    assert [fold.name for fold in folds] == ["s1", "s2", "s10"]
    for fold in folds:
        assert {subjects[i] for i in fold.test} == {fold.name}
        assert sorted([*fold.train, *fold.test]) == list(range(6))
    check_disjoint(folds, subjects)


def test_every_clip_needs_a_subject() -> None:
    with pytest.raises(FusionError, match="4 of 5 clips name no subject: clip 2, clip 3, clip 4 and others"):
        leave_one_out(["a", None, None, "", None])
    with pytest.raises(FusionError, match="1 of 2 clips name no subject: val/x;"):
        leave_one_out(["a", None], ["val/w", "val/x"])
    with pytest.raises(FusionError, match="all 2 clips are of the subject a"):
        leave_one_out(["a", "a"])


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


def test_the_way_out_of_shared_subjects_is_named() -> None:
    folds = [Fold("1", np.array([0, 1, 2, 3]), np.array([4, 5, 6, 7]))]
    subjects = [*"abcd"] * 2
    assert shared_subjects(folds, subjects) == {"1": ["a", "b", "c", "d"]}
    with pytest.raises(
        FusionError, match=r"a, b, c and 1 more; .*group-kfold:K\), or give --allow-same-subjects"
    ):
        check_disjoint(folds, subjects)


def test_group_folds_keep_groups_whole_and_classes_in_their_shares() -> None:
    subjects = [f"s{i // 12}" for i in range(120)]
    labels = [f"c{i % 3}" for i in range(120)]
    folds = group_k_fold(labels, subjects, 5, seed=1)
    assert sorted(int(i) for fold in folds for i in fold.test) == list(range(120))
    for fold in folds:
        assert Counter(labels[i] for i in fold.test) == {"c0": 8, "c1": 8, "c2": 8}
        assert sorted([*fold.train, *fold.test]) == list(range(120))
    check_disjoint(folds, subjects)
    again, other = (
        [fold.test.tolist() for fold in group_k_fold(labels, subjects, 5, seed)] for seed in (1, 2)
    )
    assert again == [fold.test.tolist() for fold in folds] != other
    assert [fold.name for fold in group_k_fold(labels, subjects, 10)] == [f"s{i}" for i in range(10)]


def test_impossible_group_folds_are_refused() -> None:
    with pytest.raises(FusionError, match="3 folds cannot be made of 2 subjects; k of 2 to 2 expected"):
        group_k_fold(["a", "b"] * 2, ["x", "x", "y", "y"], 3)
    with pytest.raises(FusionError, match="1 of 2 clips name no subject: clip 2"):
        group_k_fold(["a", "b"], ["x", None], 2)


def test_sessions_are_left_out_too() -> None:
    folds = leave_one_out(["Ses1", "Ses2", "Ses1"], what="session")
    assert [(fold.name, fold.test.tolist()) for fold in folds] == [("Ses1", [0, 2]), ("Ses2", [1])]
    with pytest.raises(FusionError, match="1 of 2 clips name no session: a/x; give a --session-pattern"):
        leave_one_out([None, "Ses2"], ["a/x", "a/y"], "session")


def test_fixed_splits() -> None:
    splits = ["train", "val", "train", "test", "val"]
    for tested, name, test in ((None, "test", [3]), ("val", "val", [1, 4]), ("test", "test", [3])):
        (fold,) = fixed_split(splits, tested)
        assert (fold.name, fold.train.tolist(), fold.test.tolist()) == (name, [0, 2], test)
    assert fixed_split(["train", "val"])[0].name == "val"
    for splits, tested in ((["all"], None), (["train", "val"], "test"), (["train", "val"], "train")):
        with pytest.raises(FusionError, match="to train on 'train' and test on"):
            fixed_split(splits, tested)


def test_inner_folds_are_inside_the_training_part() -> None:
    fold = Fold("7", np.array([2, 4, 6, 8]), np.array([0, 1]))
    first, second = inside(fold, k_fold(["a", "b", "a", "b"], 2))
    assert {*first.name.split("."), *second.name.split(".")} == {"7", "1", "2"}
    for part in (first, second):
        assert sorted([*part.train, *part.test]) == [2, 4, 6, 8]
