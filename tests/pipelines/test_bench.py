"""``avemo bench``: what is timed, what the times mean, and the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from avemo.cache.clips import Clip
from avemo.extract.decode.media import Media
from avemo.extract.errors import ClipError
from avemo.extract.plan import Plan
from avemo.extract.run import usable_cores
from avemo.extract.stopwatch import DECODE, DETECT, NETWORK, OPEN, REST, SOUND, WARP, WRITE, Spent
from avemo.pipelines.bench import sample
from avemo.pipelines.bench.measure import Measured, TimedRun
from avemo.pipelines.bench.sample import ClipLength, excerpt, length_of, spread
from avemo.pipelines.bench.verdict import judge
from avemo.pipelines.cli.bench import duration
from avemo.pipelines.cli.main import main

CPU = Plan(device="cpu", precision="fp32", backbones=("dlib",))


def measured(decode: float, detect: float, network: float) -> Measured:
    """Ten clips of 2 s and 50 frames, of which 1 s and 25 frames were timed on all cores without any loss."""
    spent = {DECODE: Spent(decode, decode), DETECT: Spent(detect, detect), NETWORK: Spent(network, network)}
    alone = TimedRun(1.0, decode + detect + network, spent, 10, 250, {}, 1, 1)
    cores = usable_cores()
    whole = replace(alone, start=3.0, wall=(decode + detect + network) / cores, workers=cores)
    return Measured(alone, whole, 10.0, [ClipLength(2.0, 50.0)] * 10, 40)


def test_the_wall_and_what_to_change() -> None:
    verdict = judge(measured(1.0, 6.0, 3.0), CPU)
    assert (verdict.wall, verdict.slowest) == (DETECT, "cores")
    assert verdict.ratio == pytest.approx(1.0) and verdict.own == pytest.approx(1.0)
    assert [(each.stage, each.share) for each in verdict.stages] == [
        (DECODE, pytest.approx(0.1)),
        (DETECT, pytest.approx(0.6)),
        (NETWORK, pytest.approx(0.3)),
    ]
    assert verdict.stages[1].seconds == pytest.approx(0.6)  # 6 s of 10 clips
    assert verdict.stages[1].ms_a_frame == pytest.approx(24.0)  # 6 s of 250 frames
    saves = {change.option: change.saves for change in verdict.changes}
    assert [*saves][:2] == ["--detect-every 3", "--detector yunet"]
    assert saves["--detect-every 3"] == pytest.approx(0.4)  # two of three frames in 60 %
    assert saves["--tta none"] == pytest.approx(0.3 * 17 / 18)
    assert saves["--max-frames 16"] == pytest.approx(0.9 * 34 / 50)


def test_what_is_done_already_is_not_advised() -> None:
    plan = replace(CPU, detect_every=3, max_frames=16, view_sets=("none",), detector="yunet@a.onnx")
    options = [change.option for change in judge(measured(1.0, 6.0, 3.0), plan).changes]
    assert options[-1] == "--part I/N"
    assert not {"--detect-every 3", "--max-frames 16", "--tta none", "--detector yunet"} & {*options}


def test_how_long_a_corpus_takes() -> None:
    verdict = judge(measured(1.0, 6.0, 3.0), CPU)
    clip = 2 * 1.0 / usable_cores()  # a timed second of film took 1 s of all cores, and a clip has 2
    assert verdict.seconds_a_clip == pytest.approx(clip)
    assert verdict.corpus_seconds == pytest.approx(3.0 + 40 * clip)
    assert verdict.thousand_seconds == pytest.approx(3.0 + 1000 * clip)


def test_the_frames_taken_decide_and_not_the_length() -> None:
    """Of a clip ten times as long, as many frames: only decoding takes longer."""
    longer = replace(measured(1.0, 6.0, 3.0), lengths=[ClipLength(20.0, 25.0)])
    assert judge(longer, CPU).seconds_a_clip == pytest.approx((20 * 0.1 + 0.9) / usable_cores())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (40, "40 s"), (720, "12 min"), (7800, "2 h 10 min"), (3600 * 76, "3 days 4 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_excerpt_is_the_start_of_a_clip(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    whole = Clip("a", "all", str(make_clip(tmp_path / "a.mp4", frames=50)))
    (tmp_path / "cuts").mkdir()
    cut = excerpt(whole, 1.0, tmp_path / "cuts")
    frames, before = list(Media(cut.path)), list(Media(whole.path))
    assert 24 <= len(frames) <= 28 and Media(cut.path).has_sound
    assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, before, strict=False))
    assert length_of(whole, None) == ClipLength(pytest.approx(2.0, abs=0.1), pytest.approx(50, abs=3))
    assert length_of(whole, 16) == ClipLength(pytest.approx(2.0, abs=0.1), 16)


def test_what_cannot_be_read_has_no_length_and_no_excerpt(tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no film")
    clip = Clip("bad", "all", str(bad))
    assert length_of(clip, None) is None
    with pytest.raises(ClipError, match="cannot be cut out"):
        excerpt(clip, 1.0, tmp_path)


def test_clips_are_spread_over_the_folder() -> None:
    clips = [Clip(str(number), "all") for number in range(101)]
    assert [clip.id for clip in spread(clips, 3)] == ["0", "50", "100"]
    assert spread(clips[:2], 3) == clips[:2]


def test_clips_are_made_without_scikit_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "find_spec", lambda name: None)
    monkeypatch.setattr(sample, "MADE", 1)
    (path,) = sample.made_clips(tmp_path)
    frames = list(Media(path))
    assert len(frames) == 40 and frames[0].image.shape == (270, 360, 3) and Media(path).has_sound
    assert np.abs(frames[0].image.astype(int) - frames[9].image).mean() > 5  # it moves


def test_nothing_to_time(tmp_path: Path) -> None:
    def told(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["bench", *arguments])
        assert result.exit_code == 2
        return " ".join(result.output.split())

    assert f"{tmp_path}" in told(str(tmp_path)) and "--pattern" in told(str(tmp_path))
    (tmp_path / "bad.mp4").write_bytes(b"no film")
    assert "none of 1 clips can be read" in told(str(tmp_path))
    assert "--vad would do nothing" in told(str(tmp_path), "--vad", "none")
    assert "--pattern would do nothing" in told("--pattern", "{emotion}")
    assert "no backbone is called 'nosuch'" in told(str(tmp_path), "--backbone", "nosuch")


@pytest.mark.slow
def test_two_clips_and_a_bad_one(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    for name in "ab":
        make_clip(tmp_path / f"{name}.mp4", frames=20)
    (tmp_path / "bad.mp4").write_bytes(b"no film")
    result = CliRunner().invoke(main, ["bench", str(tmp_path), "--seconds", "1", "--json"])
    assert result.exit_code == 1, result.output
    assert "failed: bad: not a video" in result.stderr
    told = json.loads(result.stdout)
    assert {*told["whole"]["failed"]} == {"bad"}
    assert told["alone"]["clips"] == told["whole"]["clips"] == 2
    assert told["whole"]["frames"] == told["alone"]["frames"] > 10
    assert told["corpus"] == 3
    names = [each["stage"] for each in told["stages"]]
    assert names == [OPEN, DECODE, DETECT, WARP, NETWORK, SOUND, WRITE, REST]
    assert sum(each["share"] for each in told["stages"]) == pytest.approx(1.0)
    seconds = 2 * sum(each["seconds"] for each in told["stages"])
    assert seconds == pytest.approx(sum(busy for _, busy, _ in told["alone"]["spent"].values()))
    # One process did all of it after another, so its stages are most of its time.
    walls = sum(wall for wall, *_ in told["alone"]["spent"].values())
    assert 0.5 * told["alone"]["wall"] < walls < 1.1 * told["alone"]["wall"]
    assert told["thousand_seconds"] > told["corpus_seconds"] > told["whole"]["start"]
