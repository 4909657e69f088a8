"""A store and runs that the first version of avemo wrote (``tests/data/first-release``) still read.

They are of six clips that avemo made itself (``avemo demo``, three frames a clip), and hold what that version
computed of them: nothing here was made by the code under test.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from avemo.cache.store import FeatureStore
from avemo.fusion.evaluation.scores import Scores
from avemo.pipelines.cli.fuse.predict import predict

FIRST = Path(__file__).parent / "data" / "first-release"


def test_its_store_reads():
    with FeatureStore(FIRST / "features") as store:
        assert [(row.clip.split, row.clip.id, row.clip.label) for row in store.rows] == [
            ("train", "001075240", "Angry"),
            ("train", "001511134", "Happy"),
            ("train", "001636958", "Sad"),
            ("val", "005460918", "Angry"),
            ("val", "005685541", "Sad"),
            ("val", "005804985", "Happy"),
        ]
        row = store.rows[0]
        views = store.read(row, "ferresnet/default")
        assert {name: array.shape for name, array in views.items()} == dict.fromkeys(
            ("basic", "mean", "std"), (3, 512)
        )
        np.testing.assert_allclose(
            [float(np.abs(array).sum()) for array in views.values()],
            [265.36462, 258.58878, 27.88738],
            rtol=1e-5,
        )
        assert row.has_face and all(
            row.has(name) for name in ("faces", "logmel", "spectrogram", "descriptors")
        )


@pytest.mark.parametrize("head", ["fbp", "am-fbp", "concat"])
def test_its_runs_score_clips_as_they_did(head: str, tmp_path: Path):
    out = tmp_path / "scores.csv"
    words = [FIRST / f"run-{head}", FIRST / "features", "--out", out]
    result = CliRunner().invoke(predict, list(map(str, words)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    now, then = Scores.read(out), Scores.read(FIRST / f"scores-{head}.csv")
    assert (now.clips, now.classes, now.truth) == (then.clips, then.classes, then.truth)
    np.testing.assert_allclose(now.values, then.values, rtol=1e-5)
