"""Scores: lossless on disk, matched by name, and wrong files refused with file, row and column."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from avemo.fusion.errors import FusionError
from avemo.fusion.evaluation.scores import Scores, joined
from avemo.fusion.files import as_cell, replacing

CLASSES = ("Angry", "Happy", "Sad")


def some(count: int = 5, seed: int = 0, split: str = "val") -> Scores:
    values = np.random.default_rng(seed).dirichlet([1, 1, 1], count)
    clips = tuple((split, f"{i:09d}") for i in range(count))
    truth = tuple((*CLASSES, None)[i % 4] for i in range(count))
    return Scores(clips, CLASSES, values, truth)


def test_the_csv_is_lossless(tmp_path: Path) -> None:
    values = np.array([[1 / 3, 1 / 3, 1 / 3], [5e-324, 1.0, 0.0], [0.1, 0.2, 0.7]])
    clips = (("train", "000046280"), ("train", 'Zoë, "two"\nlines'), ("test", "000046280"))
    scores = Scores(clips, CLASSES, values, ("Sad", None, None))
    scores.write(tmp_path / "sub/scores.csv")
    back = Scores.read(tmp_path / "sub/scores.csv")
    assert (back.clips, back.classes, back.truth) == (clips, CLASSES, scores.truth)
    assert back.values.tobytes() == values.tobytes()
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["scores.csv"]


def test_marks_stay_with_scores(tmp_path: Path) -> None:
    scores = some().marked("transductive: by x", "b")
    scores.write(tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text().splitlines()[0] == "clip,split,truth,status,marks,Angry,Happy,Sad"
    back = Scores.read(tmp_path / "s.csv")
    assert back.marks == scores.marks == ("b", "transductive: by x")
    assert back.classes == CLASSES and back.values.tobytes() == scores.values.tobytes()
    for other in (back.take([1, 2]), back.reorder(CLASSES[::-1]), back.labelled, back.select("val")):
        assert other.marks == scores.marks
    assert joined([back, some(split="test").marked("c")]).marks == ("b", "c", "transductive: by x")
    assert some().marks == ()


def test_a_clip_without_scores_has_empty_cells_and_a_guess(tmp_path: Path) -> None:
    values = np.array([[0.1, 0.6, 0.3], [np.nan] * 3, [0.5, 0.3, 0.2]])
    clips, status = (("val", "a"), ("val", "b"), ("val", "c")), ("ok", "failed", "no face")
    scores = Scores(clips, CLASSES, values, ("Happy", "Happy", None), status=status)
    scores.write(tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text().splitlines()[2] == "b,val,Happy,failed,,,"
    back = Scores.read(tmp_path / "s.csv")
    np.testing.assert_array_equal(back.values, values)
    assert back.status == status and back.scored.tolist() == [True, False, True]
    assert back.predicted == ("Happy", "Happy", "Angry")  # the mean of the others is highest for Happy
    assert back.unscored.clips == (("val", "b"),)
    assert joined([back, some(split="test")]).status == (*status, *[""] * 5)
    for changed in (back.take([2, 1]), back.reorder(CLASSES[::-1]).take([2, 1]), back.labelled):
        assert "failed" in changed.status
    for wrong in ("b,val,,ok,,,", "b,val,,,,,", "b,val,,failed,0.5,,"):
        (tmp_path / "w.csv").write_text(f"clip,split,truth,status,Angry,Happy,Sad\n{wrong}\n")
        with pytest.raises(FusionError, match="'' is not a number"):
            Scores.read(tmp_path / "w.csv")


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("\ufeffSad,label,clip,Happy\n0.25,Happy,a b,0.75\n\n1,Sad,c,0\n", encoding="utf-8")
    scores = Scores.read(path)
    assert scores.clips == (("", "a b"), ("", "c"))
    assert scores.classes == ("Sad", "Happy")
    assert scores.truth == (None, None)
    assert scores.predicted == ("Happy", "Sad")
    assert scores.in_split("test").clips == (("test", "a b"), ("test", "c"))


def test_classes_are_reordered_by_name() -> None:
    scores = some()
    turned = scores.reorder(["Sad", "Angry", "Happy"])
    np.testing.assert_array_equal(turned.values, scores.values[:, [2, 0, 1]])
    assert turned.predicted == scores.predicted
    with pytest.raises(FusionError, match=r"Angry, Happy, Sad are not the classes Angry, Happy, Fear.*Fear"):
        scores.reorder(["Angry", "Happy", "Fear"])


def test_a_split_is_selected() -> None:
    both = joined([some(2, split="train"), some(3, split="val").reorder(CLASSES[::-1])])
    assert both.splits == ("train", "val")
    np.testing.assert_array_equal(both.select("val").values, some(3).values)
    with pytest.raises(FusionError, match="'test'; the splits are 'train', 'val'"):
        both.select("test")


def test_labelled_clips() -> None:
    assert [clip for _, clip in some(5).labelled.clips] == [f"{i:09d}" for i in (0, 1, 2, 4)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1: no column 'clip'"),
        ("clip;Happy;Sad\na;1;0\n", "row 1: no column 'clip' among 'clip;Happy;Sad'"),
        ("clip,Happy,Sad\n", "no rows"),
        ("clip,Happy\na,1\n", "two or more expected"),
        ("clip,Happy,Happy\na,1,0\n", "row 1: column 'Happy' appears twice"),
        ("clip,Happy,\na,1,0\n", "'' cannot be a class"),
        ("clip,Happy,Sad\na,1,0\nb,1\n", "row 3: 2 columns, but the header has 3"),
        ('clip,Happy,Sad\na,1,0\nb,"0,5",0.5\n', "row 3, column 'Happy': '0,5' is not a number"),
        ("clip,Happy,Sad\na,nan,0\n", "row 2: column 'Happy', clip a: nan is not a probability"),
        ("clip,Happy,Sad\n\na,1.5,-0.5\n", "row 3: column 'Sad', clip a: -0.5 is not a probability"),
        ("clip,Happy,Sad\na,87,13\n", "row 2: the classes of clip a add up to 100, not to 1"),
        ("clip,Happy,Sad\na,1,0\na,1,0\n", "row 3: clip a appears a second time"),
        ("clip,Happy,Sad\n,1,0\n", "row 2: column 'clip' is empty"),
        ("clip,truth,Happy,Sad\na,happy,1,0\n", "row 2: column 'truth': 'happy' is not one of the classes"),
        ('clip,Happy,Sad\na,1,"0\n', "cannot be read"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(text)
    with pytest.raises(FusionError) as caught:
        Scores.read(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"\xff\xfe\x00\x80")
    for name in ("film.mp4", "absent.csv", "."):
        with pytest.raises(FusionError, match="cannot be read"):
            Scores.read(tmp_path / name)


def test_parts_must_fit() -> None:
    with pytest.raises(FusionError, match=r"shape \[1, 2\].*\[1, 3\]"):
        Scores((("val", "a"),), CLASSES, np.ones((1, 2)), (None,))
    with pytest.raises(FusionError, match="0 true classes"):
        Scores((("val", "a"),), CLASSES, np.ones((1, 3)) / 3, ())


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    some().write(path)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half of it")
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["scores.csv"]
    with pytest.raises(FusionError, match="cannot write"):
        some().write(path / "below.csv")


@pytest.mark.parametrize("text", ["=1+1", "+A1", "-x", "@SUM(A1)", "\tx", "'=1", "''=1", "＝1", "\n=1"])
def test_no_spreadsheet_runs_a_cell_and_all_read_back(text: str, tmp_path: Path) -> None:
    scores = Scores((("val", text), ("val", "'")), (text, "b"), np.array([[0.5, 0.5], [1, 0]]), (text, None))
    scores.write(tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert f"'{text}" in cells
    assert not any(cell.lstrip().startswith(("=", "+", "-", "@", "＝")) for cell in cells)
    again = Scores.read(tmp_path / "scores.csv")
    assert (again.clips, again.classes, again.truth) == (scores.clips, scores.classes, scores.truth)


@pytest.mark.parametrize("value", [-0.5, "-0.5", "+1.5e-3", "-", "12 %", "a=b", "", None, True])
def test_numbers_and_plain_texts_are_written_as_they_are(value: object) -> None:
    assert as_cell(value) == value
