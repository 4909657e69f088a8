"""What is handed in: the CSV and the challenge's zip."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from avemo.fusion.errors import FusionError
from avemo.fusion.evaluation.scores import Scores
from avemo.fusion.evaluation.submission import write_challenge_zip, write_submission

CLASSES = ("Angry", "Happy", "Sad")


def some(*ids: str) -> Scores:
    values = np.random.default_rng(0).dirichlet(np.ones(3), len(ids))
    return Scores(tuple(("test", clip) for clip in ids), CLASSES, values, (None,) * len(ids))


def test_the_csv_has_the_label_and_every_score(tmp_path: Path) -> None:
    scores = some("000046280", "12", "a b")
    write_submission(scores, tmp_path / "out/submission.csv")
    with (tmp_path / "out/submission.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["clip", "label", "status", "guess", *CLASSES]
    assert [row[0] for row in rows] == ["000046280", "12", "a b"]
    for row, values in zip(rows, scores.values, strict=True):
        assert row[1] == CLASSES[int(np.argmax(values))]
        assert [float(cell) for cell in row[4:]] == values.tolist()
    assert Scores.read(tmp_path / "out/submission.csv").values.tobytes() == scores.values.tobytes()


def test_a_guess_is_said_to_be_one(tmp_path: Path) -> None:
    values = np.array([[0.1, 0.6, 0.3], [np.nan] * 3])
    scores = Scores((("test", "a"), ("test", "b")), CLASSES, values, (None, None), status=("ok", "failed"))
    write_submission(scores, tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text().splitlines()[1:] == [
        "a,Happy,ok,,0.1,0.6,0.3",
        "b,Happy,failed,yes,,,",
    ]
    with zipfile.ZipFile(write_challenge_zip(scores, tmp_path, "T")) as archive:
        assert archive.read("b.txt") == b"Happy"
    assert Scores.read(tmp_path / "s.csv").status == ("ok", "failed")


def test_the_zip_has_a_class_name_a_clip_and_nothing_else(tmp_path: Path) -> None:
    scores = some("000046280", "000000001", "x")
    path = write_challenge_zip(scores, tmp_path, "Team 1")
    assert path == tmp_path / "Team 1.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["000000001.txt", "000046280.txt", "x.txt"]
        for (_, clip), label in zip(scores.clips, scores.predicted, strict=True):
            assert archive.read(f"{clip}.txt") == label.encode()


def test_equal_scores_give_equal_bytes(tmp_path: Path) -> None:
    scores = some("a", "b", "c")
    first = write_challenge_zip(scores, tmp_path / "1", "T").read_bytes()
    assert write_challenge_zip(scores.take([2, 0, 1]), tmp_path / "2", "T").read_bytes() == first


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "..", ".hidden", "C:x", "a\nb", "/etc/x"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(FusionError, match=r"clip id .* is not a valid file name"):
        write_challenge_zip(some("good", name), tmp_path / "out", "Team")
    with pytest.raises(FusionError, match=r"team .* is not a valid file name"):
        write_challenge_zip(some("good"), tmp_path / "out", name)
    assert not list(tmp_path.iterdir())


def test_ids_of_two_splits_are_refused(tmp_path: Path) -> None:
    scores = Scores((("val", "1"), ("test", "1")), CLASSES, np.ones((2, 3)) / 3, (None, None))
    for write in (
        lambda: write_submission(scores, tmp_path / "s.csv"),
        lambda: write_challenge_zip(scores, tmp_path, "T"),
    ):
        with pytest.raises(FusionError, match="'1' is in the splits 'val' and 'test'"):
            write()
