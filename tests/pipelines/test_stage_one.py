"""Stage 1 as a function: its outcome, and that it prints nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from avemo.cache.store import FeatureStore
from avemo.extract.plan import Plan
from avemo.pipelines.stage_one import ClipFolder, ExtractSettings, extract

MakeClip = Callable[..., Path]
PLAN = Plan(view_sets=("none",), device="cpu")


def test_an_extraction_is_silent_and_says_what_it_did(
    tmp_path: Path, make_clip: MakeClip, capfd: pytest.CaptureFixture[str]
) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    make_clip(clips / "01_sad.mp4", frames=3)
    make_clip(clips / "02_joy.mp4", frames=3)
    folder = ClipFolder(clips, pattern="{subject}_{emotion}", labels="joy=Happy,sad=Sad")
    settings = ExtractSettings(folder, PLAN, tmp_path / "store", workers=1)
    done = extract(settings)
    assert done.whole and not done.failures and not done.gone
    assert [(row.clip.label, row.clip.subject) for row in done.rows] == [("Sad", "01"), ("Happy", "02")]
    (clips / "01_sad.mp4").unlink()
    (clips / "03_sad.mp4").write_text("no video")
    done = extract(settings)
    assert (done.whole, done.failures, [clip.id for clip in done.gone]) == (False, 1, ["01_sad"])
    extract(ExtractSettings(folder, PLAN, tmp_path / "store", workers=1, prune=True))
    with FeatureStore(tmp_path / "store") as store:
        assert sorted(row.clip.id for row in store.rows) == ["02_joy", "03_sad"]
    assert capfd.readouterr().out == ""
