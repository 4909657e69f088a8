"""``avemo-fuse ensemble``: from files and runs to a table and a submission; and the umbrella's help."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from avemo.fusion.evaluation.calibration import expected_calibration_error, temperature, tempered
from avemo.fusion.evaluation.metrics import summary
from avemo.fusion.evaluation.priors import reestimate, reweight
from avemo.fusion.evaluation.scores import Scores
from avemo.fusion.training import cards
from avemo.pipelines.cli.main import main
from avemo.pipelines.cli.table import aligned
from avemo.pipelines.fuse.priors import EMOTIW2019_TEST_COUNTS, REESTIMATED

AFEW = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
COUNTS = dict(zip(AFEW, (133, 74, 81, 150, 144, 117, 74), strict=True))


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["fuse", "ensemble", *map(str, arguments)])


def some(seed: int, split: str, labelled: bool = True) -> Scores:
    rng = np.random.default_rng(seed)
    clips = tuple((split, f"{i:09d}") for i in range(60))
    values = 0.8 * rng.dirichlet(np.ones(7), 60) + 0.2 * np.eye(7)[np.arange(60) % 7]
    return Scores(clips, AFEW, values, tuple(AFEW[i % 7] if labelled else None for i in range(60)))


def a_run(folder: Path, seed: int, fit_on: str = "train", demo: str | None = None, **counts: int) -> Path:
    """A run folder as training leaves it: validation clips labelled, test clips not."""
    facts = {"train_counts": {**COUNTS, **counts}, "demo": demo}
    cards.claim(folder, cards.Card("train", {"fit_on": fit_on}, facts))
    some(seed, "val").write(folder / "scores-val.csv")
    some(seed + 50, "test", labelled=False).write(folder / "scores-test.csv")
    return folder


def figures(result: Result, name: str) -> list[float]:
    line = next(line for line in result.stdout.splitlines() if line.startswith(name))
    return [float(cell) for cell in line.removeprefix(name).split()]


def test_files_are_averaged_and_judged(tmp_path: Path) -> None:
    members = [some(seed, "val") for seed in (1, 2)]
    for name, scores in zip("ab", members, strict=True):
        scores.write(tmp_path / f"{name}.csv")
    result = run(tmp_path / "a.csv", tmp_path / "b.csv", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    mean = Scores.read(tmp_path / "out/scores.csv")
    np.testing.assert_allclose(mean.values, (members[0].values + members[1].values) / 2, rtol=1e-15)
    for name, scores in ((str(tmp_path / "a.csv"), members[0]), ("mean of 2", mean)):
        expected = [summary(scores).accuracy, summary(scores).uar]
        assert figures(result, name) == pytest.approx(expected, abs=5e-4)
    assert "split val: 60 clips, 60 of them labelled" in result.stdout


def test_runs_with_the_prior_of_their_training_labels(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / name, seed) for name, seed in (("r1", 1), ("r2", 2))]
    result = run(*runs, "--prior", "train", "--out", tmp_path / "out", "--zip", "Team")
    assert result.exit_code == 0, result.output
    total = sum(np.sqrt(list(COUNTS.values())))
    assert f"Angry {np.sqrt(133) / total:.3f}" in result.stdout
    assert "split test: 60 clips, 0 of them labelled" in result.stdout
    roots = {name: np.sqrt(count) for name, count in COUNTS.items()}
    mean, test_mean = (
        replace(some(one, split), values=(some(one, split).values + some(two, split).values) / 2)
        for split, one, two in (("val", 1, 2), ("test", 51, 52))
    )
    degree = temperature(mean)
    both = [summary(mean), summary(reweight(tempered(mean, degree), roots))]
    expected = [figure for found in both for figure in (found.accuracy, found.uar)]
    assert figures(result, "mean of 2") == pytest.approx(expected, abs=5e-4)
    final = reweight(tempered(test_mean, degree), roots)
    written = Scores.read(tmp_path / "out/submission.csv")
    np.testing.assert_allclose(written.values, final.values, rtol=1e-14)
    with zipfile.ZipFile(tmp_path / "out/Team.zip") as archive:
        handed_in = {name: archive.read(name).decode() for name in archive.namelist()}
    labels = zip(final.clips, final.predicted, strict=True)
    assert handed_in == {f"{clip}.txt": label for (_, clip), label in labels}


def test_the_challenge_prior_says_what_it_is(tmp_path: Path) -> None:
    result = run(a_run(tmp_path / "r", 1), "--prior", "emotiw2019")
    assert result.exit_code == 0
    assert "a prior over that challenge's test labels" in result.stdout
    assert not list(tmp_path.glob("*.csv"))


def test_counts_and_weights_from_files(tmp_path: Path) -> None:
    some(1, "val").write(tmp_path / "a.csv")
    (tmp_path / "counts.csv").write_text("class,count\n" + "".join(f"{n},{c}\n" for n, c in COUNTS.items()))
    by_counts = run(tmp_path / "a.csv", "--prior", "train", "--counts", tmp_path / "counts.csv")
    by_file = run(tmp_path / "a.csv", "--prior", tmp_path / "counts.csv")
    assert by_counts.exit_code == by_file.exit_code == 0
    assert figures(by_counts, "mean of 1") == figures(by_file, "mean of 1")
    result = run(tmp_path / "a.csv", "--prior", "train")
    assert result.exit_code == 2
    assert "--counts" in result.stderr


def test_runs_of_different_training_sets_have_no_common_counts(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / "r1", 1), a_run(tmp_path / "r2", 2, Happy=999)]
    result = run(*runs, "--prior", "train")
    assert result.exit_code == 2
    assert "different clips" in result.stderr
    assert run(*runs).exit_code == 0


def test_clips_that_were_trained_on_are_no_test(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "r", 1, fit_on="train+val")
    assert "split val" not in run(folder).stdout
    result = run(folder, "--split", "val")
    assert "trained on val: figures over these clips say nothing about others" in result.stdout


def test_scores_of_the_demo_are_labelled_so(tmp_path: Path) -> None:
    assert "made of one photograph" in run(a_run(tmp_path / "r", 1, demo="made of one photograph")).stdout


def test_a_submission_can_be_averaged_again(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "r", 1)
    assert run(folder, "--temperature", "none", "--out", tmp_path / "one").exit_code == 0
    result = run(folder, tmp_path / "one/submission.csv", "--out", tmp_path / "two")
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(
        Scores.read(tmp_path / "two/scores.csv").values, some(51, "test").values, rtol=1e-15
    )


def test_splits(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "r", 1)
    assert "split test, val: 120 clips, 60 of them labelled" in run(folder, "--split", "all").stdout
    result = run(folder, "--split", "train")
    assert result.exit_code == 2
    assert "no scores of split 'train'; the splits are" in result.stderr


def test_members_with_other_orders_of_classes_and_clips(tmp_path: Path) -> None:
    one, two = some(1, "val"), some(2, "val")
    one.write(tmp_path / "a.csv")
    two.reorder(AFEW[::-1]).take(range(59, -1, -1)).write(tmp_path / "b.csv")
    assert run(tmp_path / "a.csv", tmp_path / "b.csv", "--out", tmp_path / "out").exit_code == 0
    mean = Scores.read(tmp_path / "out/scores.csv")
    np.testing.assert_allclose(mean.values, (one.values + two.values) / 2, rtol=1e-15)


def test_members_that_lack_a_class_or_name_another(tmp_path: Path) -> None:
    one = some(1, "val")
    one.write(tmp_path / "a.csv")
    rest = one.values[:, 1:] / one.values[:, 1:].sum(axis=1, keepdims=True)
    six = replace(one, classes=AFEW[1:], values=rest, truth=(None,) * 60)
    six.write(tmp_path / "six.csv")
    replace(one, classes=("Anger", *AFEW[1:]), truth=(None,) * 60).write(tmp_path / "other.csv")
    for name, message in (
        ("six", "missing: Angry; extra: nothing"),
        ("other", "missing: Angry; extra: Anger"),
    ):
        result = run(tmp_path / "a.csv", tmp_path / f"{name}.csv")
        assert result.exit_code == 2
        text = " ".join(result.stderr.split())
        assert f"{name}.csv, beside {tmp_path / 'a.csv'}: the classes" in text and message in text


def test_the_prior_of_validation_labels(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / name, seed) for name, seed in (("r1", 1), ("r2", 2))]
    result = run(*runs, "--prior", "val", "--temperature", "none", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "was fitted on these clips: the finished figures are optimistic" in result.stdout
    counts = [9, 9, 9, 9, 8, 8, 8]
    assert f"Angry {3 / sum(np.sqrt(counts)):.3f}" in result.stdout
    mean = replace(some(51, "test", False), values=(some(51, "test").values + some(52, "test").values) / 2)
    expected = reweight(mean, dict(zip(AFEW, np.sqrt(counts).tolist(), strict=True)))
    np.testing.assert_allclose(Scores.read(tmp_path / "out/scores.csv").values, expected.values, rtol=1e-13)
    some(1, "test").write(tmp_path / "a.csv")
    result = run(tmp_path / "a.csv", "--prior", "val")
    assert result.exit_code == 2 and "labelled clips of the split val" in result.stderr


def test_the_prior_of_the_clips_themselves(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "r", 1)
    result = run(folder, "--prior", "em", "--temperature", "none", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = [reestimate(some(seed, split), COUNTS) for seed, split in ((51, "test"), (1, "val"))]
    for each in found:  # of the test clips, then of the validation clips, each by their own scores
        assert f"Angry {each.shares['Angry']:.3f} (trained {133 / 773:.3f})" in result.stdout
        assert f"{each.iterations} iterations" in result.stdout
    written = Scores.read(tmp_path / "out/scores.csv")
    np.testing.assert_allclose(
        written.values, reweight(some(51, "test"), found[0].weights).values, rtol=1e-12
    )
    assert written.marks == Scores.read(tmp_path / "out/submission.csv").marks == (REESTIMATED,)
    assert f"split test: 60 clips, 0 of them labelled ({REESTIMATED})" in result.stdout
    sure = some(1, "val")
    replace(sure, values=np.eye(7)[sure.values.argmax(axis=1)]).write(tmp_path / "hard.csv")
    (tmp_path / "c.csv").write_text("class,count\n" + "".join(f"{n},{c}\n" for n, c in COUNTS.items()))
    result = run(tmp_path / "hard.csv", "--prior", "em", "--counts", tmp_path / "c.csv")
    assert result.exit_code == 2 and "60 of 60 clips have hard scores" in " ".join(result.stderr.split())
    result = run(tmp_path / "hard.csv", "--prior", "em")
    assert result.exit_code == 2 and "--prior em needs" in result.stderr


def test_calibration(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "r", 1)
    result = run(folder, "--temperature", "val", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    degree = temperature(some(1, "val"))
    assert f"temperature {degree:.3g}, fitted on 60 labelled clips of val" in result.stdout
    expected = tempered(some(51, "test"), degree)
    np.testing.assert_allclose(Scores.read(tmp_path / "out/scores.csv").values, expected.values, rtol=1e-12)
    before, after = (
        expected_calibration_error(scores) for scores in (some(1, "val"), tempered(some(1, "val"), degree))
    )
    assert (
        f"expected calibration error of the mean (15 bins): {before:.3f}, finished {after:.3f}"
        in result.stdout
    )
    assert "fitted on these clips" in result.stdout
    assert "finished" not in run(folder, "--temperature", "none").stdout
    by_itself = run(folder, "--out", tmp_path / "auto")
    assert by_itself.exit_code == 0
    np.testing.assert_array_equal(
        Scores.read(tmp_path / "auto/scores.csv").values, Scores.read(tmp_path / "out/scores.csv").values
    )
    assert run(folder, "--temperature", "2.5").exit_code == 0
    trained = a_run(tmp_path / "t", 1, fit_on="train+val")
    for arguments, message in (
        ([trained, "--temperature", "val"], "no member that was trained on them"),
        ([folder, "--temperature", "warm"], "--temperature 'warm': auto, val, none or a number expected"),
        ([folder, "--temperature", "0"], "a temperature of 0"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2 and message in " ".join(result.stderr.split())


def flat(split: str) -> Scores:
    """Scores that are mostly right and nearly uniform, as those of members trained a little are."""
    scores = some(1, split)
    return replace(scores, values=0.97 / 7 + 0.03 * scores.values)


def test_flat_scores_are_calibrated_before_a_prior_weighs_them(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    cards.claim(folder, cards.Card("train", {"fit_on": "train"}, {"train_counts": COUNTS}))
    flat("val").write(folder / "scores-val.csv")
    some(51, "test", labelled=False).write(folder / "scores-test.csv")
    plain = summary(flat("val")).accuracy
    ruined = figures(run(folder, "--prior", "emotiw2019", "--temperature", "none"), "mean of 1")
    kept = figures(run(folder, "--prior", "emotiw2019"), "mean of 1")
    assert ruined[0] == kept[0] == pytest.approx(plain, abs=5e-4)
    assert ruined[2] == pytest.approx(1 / 7, abs=0.05)  # nearly all Neutral, the heaviest
    assert kept[2] > plain - 0.1


def test_a_prior_that_lowers_accuracy_is_said_to(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    cards.claim(folder, cards.Card("train", {"fit_on": "train"}, {"train_counts": COUNTS}))
    flat("val").write(folder / "scores-val.csv")
    some(51, "test", labelled=False).write(folder / "scores-test.csv")
    text = run(folder, "--prior", "emotiw2019", "--temperature", "none").stdout
    before = summary(flat("val")).accuracy
    roots = {name: np.sqrt(count) for name, count in EMOTIW2019_TEST_COUNTS.items()}
    after = summary(reweight(flat("val"), roots)).accuracy
    assert f"the prior emotiw2019 lowers accuracy on val from {before:.3f} to {after:.3f}" in text
    assert "warning" not in run(folder).stdout


def test_wrong_input(tmp_path: Path) -> None:
    some(1, "val").write(tmp_path / "a.csv")
    some(1, "val").take(range(50)).write(tmp_path / "b.csv")
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ([], "Missing argument"),
        ([tmp_path / "a.csv", "--zip", "T"], "add --out DIR"),
        ([tmp_path / "none.csv"], "cannot be read"),
        ([tmp_path / "empty"], "holds no scores"),
        ([tmp_path / "a.csv", tmp_path / "b.csv"], "b.csv lacks 10 (val/000000050"),
        ([tmp_path / "a.csv", "--out", tmp_path / "o", "--zip", "../T"], "is not a valid file name"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert message in result.stderr.replace("\n", " ")
    assert not (tmp_path / "o").exists()


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from avemo.pipelines.cli.main import main\n"
        "for words in ([], ['store', 'status'], ['fuse'], ['fuse', 'ensemble']):\n"
        "    main([*words, '--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'numpy', 'sklearn', 'h5py', 'cv2', 'librosa', 'dlib'} & {*sys.modules}\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "merge and export feature stores" in done.stdout


def test_tables_are_aligned() -> None:
    text = aligned(
        ["name", "clips", "UAR", "share"], [["a", 5, 0.25, "9.5%"], ["longer name", 123, None, "-"]]
    )
    assert text.splitlines() == [
        "name         clips    UAR  share",
        "a                5  0.250   9.5%",
        "longer name    123      -      -",
    ]
    assert aligned(["empty"], []) == "empty"
