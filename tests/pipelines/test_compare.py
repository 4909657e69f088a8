"""Significance against hand-worked numbers and scipy, and ``avemo-fuse compare``."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy import stats

from avemo.fusion.errors import FusionError
from avemo.fusion.evaluation.comparison import errors, match
from avemo.fusion.evaluation.metrics import summary
from avemo.fusion.evaluation.scores import Scores
from avemo.fusion.evaluation.significance import matched_pair, mcnemar
from avemo.fusion.training import cards
from avemo.pipelines.cli.fuse import main

CLASSES = ("Angry", "Happy", "Sad")


def some(seed: int, right: float, split: str = "val", count: int = 150) -> Scores:
    """Clips of which about a share of ``right`` is predicted right."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % 3
    predicted = np.where(rng.random(count) < right, truth, (truth + 1) % 3)
    clips = tuple((split, f"{i:03d}") for i in range(count))
    values = 0.7 * np.eye(3)[predicted] + 0.1
    return Scores(clips, CLASSES, values, tuple(CLASSES[i] for i in truth))


def compare(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def told(*arguments: object) -> str:
    result = compare(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_matched_pair_test_by_hand() -> None:
    """d = 1, 0, 0, 1, -1, 1, 0, 1: mean 3/8, variance (4 + 1 - 8 · 9/64 + ...) / 7 worked out below."""
    first, second = [1, 0, 1, 1, 0, 1, 0, 1], [0, 0, 1, 0, 1, 0, 0, 0]
    mean = 3 / 8
    variance = (5 - 8 * mean**2) / 7  # five of the eight differences are 1 or -1
    z = mean / math.sqrt(variance / 8)
    found = matched_pair(first, second)
    assert (found.clips, found.difference) == (8, mean)
    assert found.z == pytest.approx(z, rel=1e-14) == pytest.approx(1.4256, abs=1e-4)
    assert found.one_tailed == pytest.approx(0.0770, abs=1e-4)
    assert found.two_tailed == pytest.approx(0.1540, abs=1e-4)
    half = 1.959964 * math.sqrt(variance / 8)
    assert found.interval == pytest.approx((mean - half, mean + half), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_tests_against_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.random((2, 200)) < [[0.5], [0.4]]
    found = matched_pair(first, second)
    expected = stats.ttest_rel(first.astype(float), second.astype(float))
    assert found.z == pytest.approx(expected.statistic, rel=1e-12)
    assert found.two_tailed == pytest.approx(expected.pvalue, abs=0.01)  # t of 199 degrees is nearly normal
    other = matched_pair(second, first)
    assert other.z == pytest.approx(-found.z)
    assert other.one_tailed == pytest.approx(1 - found.one_tailed)
    exact = mcnemar(~first, ~second)
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    assert (exact.only_second, exact.only_first) == (b, c)
    assert exact.two_tailed == pytest.approx(stats.binomtest(b, b + c).pvalue)
    assert exact.one_tailed == pytest.approx(stats.binom.sf(b - 1, b + c, 0.5))


def test_mcnemar_by_hand() -> None:
    """A alone right once, B alone right 7 times: p = (1 + 8) / 2^8 one-tailed, twice that two-tailed."""
    first = [True] + [False] * 7 + [True] * 4
    second = [False] + [True] * 7 + [True] * 4
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (1, 7)
    assert found.one_tailed == pytest.approx(9 / 256)
    assert found.two_tailed == pytest.approx(18 / 256)


def test_errors_may_be_shares() -> None:
    first, second = np.array([0.2, 0.4, 1, 0]), np.array([0, 0.6, 0.5, 0])
    expected = stats.ttest_rel(first, second).statistic
    assert matched_pair(first.tolist(), second.tolist()).z == pytest.approx(expected)


def test_no_difference_and_nothing_but_difference() -> None:
    same = matched_pair([1, 0, 1], [1, 0, 1])
    assert (same.z, same.one_tailed, same.two_tailed) == (0, 0.5, 1)
    assert mcnemar([True, False], [True, False]).two_tailed == 1
    all_better = matched_pair([1, 1, 1], [0, 0, 0])
    assert (all_better.z, all_better.one_tailed, all_better.two_tailed) == (math.inf, 0, 0)
    assert matched_pair([0, 0], [1, 1]).one_tailed == 1


@pytest.mark.parametrize(("first", "second"), [([1], [0]), ([1, 0], [1]), ([], [])])
def test_too_few_clips_are_refused(first: Sequence[float], second: Sequence[float]) -> None:
    with pytest.raises(FusionError, match="to compare; the same two or more expected"):
        matched_pair(first, second)
    if len(first) != 1:
        with pytest.raises(FusionError, match="to compare; the same one or more expected"):
            mcnemar([bool(e) for e in first], [bool(e) for e in second])


def test_clips_are_matched_by_split_and_id() -> None:
    first = some(1, 0.6)
    turned = some(2, 0.6).take(list(range(149, 9, -1)))
    second = replace(turned.reorder(CLASSES[::-1]), truth=(None,) * 140)
    found = match(first, second)
    assert (found.only_first, found.only_second, found.unlabelled) == (10, 0, 0)
    assert found.first.clips == found.second.clips and len(found.first.clips) == 140
    assert found.first.truth == found.second.truth
    by_clip = dict(zip(second.clips, second.predicted, strict=True))
    assert list(found.second.predicted) == [by_clip[clip] for clip in found.first.clips]
    known = replace(first, truth=(*first.truth[:100], *(None,) * 50))
    assert match(known, second).unlabelled == 50


def test_files_without_splits_are_matched_by_id() -> None:
    first, second = some(1, 0.6), some(2, 0.6).in_split("")
    assert len(match(first, second).first.clips) == 150
    both = Scores(
        first.clips + some(3, 0.6, "test").clips,
        CLASSES,
        np.concatenate([first.values] * 2),
        first.truth * 2,
    )
    with pytest.raises(FusionError, match="has clip '000' in more than one; choose one by --split"):
        match(both, second)


def test_scores_that_cannot_be_compared() -> None:
    first = some(1, 0.6)
    with pytest.raises(FusionError, match="missing: Fear; extra: Sad"):
        match(first, Scores(first.clips, ("Angry", "Happy", "Fear"), first.values, (None,) * 150))
    with pytest.raises(FusionError, match="members disagree on the true class of clip val/000"):
        match(first, replace(first, truth=("Sad", *first.truth[1:])))
    for other in (some(1, 0.6, "test"), replace(first, truth=(None,) * 150)):
        with pytest.raises(FusionError, match="none of the 150 and 150 clips is in both and labelled"):
            match(replace(first, truth=(None,) * 150), other)
    with pytest.raises(FusionError, match="member 1 lacks 1 of 150 clips, val/000 among them"):
        errors([first, first.take(range(1, 150))], first)


def test_the_command(tmp_path: Path) -> None:
    first, second = some(1, 0.5), some(2, 0.7)
    first.write(tmp_path / "a.csv")
    second.write(tmp_path / "b.csv")
    text = told(tmp_path / "a.csv", tmp_path / "b.csv")
    wrong = [np.array([t != p for t, p in zip(s.truth, s.predicted, strict=True)]) for s in (first, second)]
    pair, exact = matched_pair(*wrong), mcnemar(*(~own for own in wrong))
    assert "matched     150 labelled clips" in text
    assert f"{summary(first).accuracy:.3f}" in text and f"{summary(second).accuracy:.3f}" in text
    assert f"{pair.difference:+.3f} (95 % {pair.interval[0]:+.3f} to {pair.interval[1]:+.3f})" in text
    assert f"A alone right {exact.only_first}, B {exact.only_second}" in text
    found = json.loads(told(tmp_path / "a.csv", tmp_path / "b.csv", "--json"))
    assert found["clips"] == 150 and found["first"]["accuracy"] == summary(first).accuracy
    assert found["matched_pair"]["z"] == pair.z and found["matched_pair"]["one_tailed"] == pair.one_tailed
    assert found["mcnemar"]["two_tailed"] == exact.two_tailed
    assert "matched_pair_one_member" not in found


def test_clips_in_one_file_only_are_counted(tmp_path: Path) -> None:
    some(1, 0.5).write(tmp_path / "a.csv")
    some(2, 0.7).take(range(5, 150)).write(tmp_path / "b.csv")
    result = compare(tmp_path / "a.csv", tmp_path / "b.csv", "--json")
    assert result.exit_code == 0
    assert "warning: clips only in A, left out: 5" in result.stderr
    assert json.loads(result.stdout)["left_out"] == {"only_first": 5, "only_second": 0, "unlabelled": 0}


def test_scores_of_other_protocols_are_told_apart(tmp_path: Path) -> None:
    some(1, 0.5).write(tmp_path / "a.csv")
    some(2, 0.7).marked("transductive: normalised by subject").write(tmp_path / "b.csv")
    result = compare(tmp_path / "a.csv", tmp_path / "b.csv")
    assert "A is not marked, B is transductive: normalised by subject" in result.stderr
    assert "b.csv (transductive: normalised by subject)" in result.stdout
    found = json.loads(told(tmp_path / "a.csv", tmp_path / "b.csv", "--json"))
    assert found["second"]["marks"] == ["transductive: normalised by subject"]


def a_run(folder: Path, seeds: Sequence[int], right: float, kind: str = "cv") -> Path:
    settings = {"fit_on": "train"} if kind == "train" else {}
    cards.claim(folder, cards.Card(kind, settings, {}))
    splits = ("train", "val") if kind == "train" else ("val",)
    for split in splits:
        for number, seed in enumerate(seeds):
            scores = some(seed, right, split)
            name = f"member-{number:03d}" + (f"-{split}" if kind == "train" else "")
            scores.write(folder / f"{name}.csv")
        some(seeds[0], right, split).write(
            folder / (f"scores-{split}.csv" if kind == "train" else "scores.csv")
        )
    return folder


def test_members_of_folders_are_compared_too(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / "a", range(5), 0.5), a_run(tmp_path / "b", range(10, 14), 0.6)]
    found = json.loads(told(*runs, "--json"))
    shares = [
        np.mean([[t != p for t, p in zip(s.truth, s.predicted, strict=True)] for s in own], axis=0)
        for own in ([some(seed, 0.5) for seed in range(5)], [some(seed, 0.6) for seed in range(10, 14)])
    ]
    expected = matched_pair(*(share.tolist() for share in shares))
    assert found["matched_pair_one_member"]["z"] == pytest.approx(expected.z, rel=1e-12)
    assert "matched pair, one member (mean of 5 and 4)" in told(*runs)


def test_clips_that_were_trained_on_are_left_out(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / "a", range(2), 0.5, "train"), a_run(tmp_path / "b", range(5, 7), 0.6, "train")]
    result = compare(*runs)
    assert "matched     150 labelled clips" in result.stdout
    assert "clips of A that one of the two was trained on, left out: 150" in result.stderr
    forced = compare(*runs, "--split", "train")
    assert "train was trained on, so the tests say nothing about other clips" in forced.stderr


def test_wrong_input(tmp_path: Path) -> None:
    some(1, 0.5).write(tmp_path / "a.csv")
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ([tmp_path / "a.csv"], "Missing argument"),
        ([tmp_path / "a.csv", tmp_path / "no.csv"], "cannot be read"),
        ([tmp_path / "a.csv", tmp_path / "empty"], "holds no scores"),
        ([tmp_path / "a.csv", tmp_path / "a.csv", "--split", "x"], "no scores of split 'x'"),
    ):
        result = compare(*arguments)
        assert result.exit_code == 2
        assert message in result.stderr.replace("\n", " ")
