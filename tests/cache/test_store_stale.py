"""Clips that leave their folder, and ids that come to name other files: nothing happens without a word."""

from __future__ import annotations

import json
import os
import wave
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from avemo.cache.clips import Clip
from avemo.cache.store import FeatureStore
from avemo.extract import run as running
from avemo.extract.errors import ExtractError
from avemo.extract.plan import Plan
from avemo.extract.run import Extraction
from avemo.pipelines.cli.main import main

SOUND = Plan(pictures=False)
MORE = Plan(pictures=False, segments=True)


def write_sound(path: Path, tone: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = (9000 * np.sin(np.arange(16_000) * tone / 2546)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())
    return path


def extracted(path: Path, *clips: Clip, plan: Plan = SOUND) -> FeatureStore:
    store = FeatureStore(path, create=True)
    for _ in Extraction(clips, plan, store, workers=1):
        pass
    store.refresh()
    return store


def avemo(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, words)])


def test_a_touched_file_is_read_once_more_and_not_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = Clip("a", "train", str(write_sound(tmp_path / "a.wav", 440)))
    extracted(tmp_path / "s", clip)
    os.utime(clip.path, (1, 1))
    read, reads = running.read_source, []
    monkeypatch.setattr(running, "read_source", lambda path: (reads.append(path), read(path))[1])
    for _ in range(3):
        store = FeatureStore(tmp_path / "s")
        run = Extraction([clip], SOUND, store, workers=1)
        assert run.jobs == []
        list(run)
    assert len(reads) == 1
    assert len(list((tmp_path / "s/journal").iterdir())) == 2


def test_what_is_stored_of_a_file_that_is_gone_is_kept(tmp_path: Path) -> None:
    clip = Clip("a", "train", str(write_sound(tmp_path / "a.wav", 440)), "Happy")
    extracted(tmp_path / "s", clip)
    Path(clip.path).unlink()
    run = Extraction([clip], SOUND, FeatureStore(tmp_path / "s"))
    assert (run.jobs, run.gone) == ([], [clip])
    store = extracted(tmp_path / "s", clip, plan=MORE)  # what it lacks cannot be made: that alone fails
    (row,) = store.rows
    assert row.has("spectrogram") and row.has("logmel")
    assert set(row.failures) == {"segments"}


def test_another_file_with_another_label_is_refused(tmp_path: Path) -> None:
    first = Clip("a", "train", str(write_sound(tmp_path / "one/a.wav", 440)), "Happy")
    second = Clip("a", "train", str(write_sound(tmp_path / "two/a.wav", 300)), "Sad")
    store = extracted(tmp_path / "s", first)
    with pytest.raises(
        ExtractError, match=r"train/a is stored as .*one/a.wav, Happy, but is another file .*two/a.wav, Sad"
    ):
        Extraction([second], SOUND, store)
    with pytest.raises(ExtractError, match="without a label"):
        Extraction([Clip("a", "train", second.path)], SOUND, store)
    run = Extraction([second], SOUND, store, replace=True)
    assert run.replaced == [(first, second)]
    same_label = Clip("a", "train", second.path, "Happy")
    assert Extraction([same_label], SOUND, store).replaced == [(first, same_label)]
    moved = Clip("a", "train", str(write_sound(tmp_path / "three/a.wav", 440)), "Sad")
    assert Extraction([moved], SOUND, store).renewed == [moved]  # the same file, labelled anew


def test_extract_says_what_is_no_longer_there_and_prunes_it(tmp_path: Path) -> None:
    for name, tone in (("Happy/a", 300), ("Happy/b", 350), ("Sad/c", 400), ("Sad/d", 450)):
        write_sound(tmp_path / f"clips/{name}.wav", tone)
    write_sound(tmp_path / "clips2/e.wav", 500)
    store = tmp_path / "s"
    words = ("extract", tmp_path / "clips", "--dataset", "folders", "--store", store, "--workers", "1")
    assert avemo("extract", tmp_path / "clips2", "--store", store, "--workers", "1").exit_code == 0
    result = avemo(*words)
    assert result.exit_code == 0, result.output
    assert "no longer" not in result.output  # clips2 is another folder, whatever its name begins with
    (tmp_path / "clips/Happy/b.wav").unlink()
    result = avemo(*words, "--json")
    assert "1 stored clip no longer in" in result.stderr and "--prune removes" in result.stderr
    assert json.loads(result.stdout)["no_longer_there"] == ["all/Happy/b"]
    assert "no longer" not in avemo(*words, "--part", "1/3", "--prune").stderr
    with FeatureStore(store) as opened:
        assert sorted(row.clip.id for row in opened.rows) == ["Happy/a", "Sad/c", "Sad/d", "e"]
    assert "no longer" not in avemo(*words).output


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Clips without features; the file of one is there."""
    here = write_sound(tmp_path / "here.wav", 440)
    with FeatureStore(tmp_path / "s", create=True).writer() as writer:
        for key in (("x", "train"), ("x", "val"), ("angry/b", "train"), ("val/x", "test")):
            writer.add(Clip(*key), None, {})
        writer.add(Clip("here", "train", str(here)), None, {})
        writer.add(Clip("gone", "train", str(tmp_path / "gone.wav")), None, {})
    return tmp_path / "s"


def left(path: Path) -> list[str]:
    with FeatureStore(path) as store:
        return [str(row.clip) for row in store.rows]


def test_remove(store: Path) -> None:
    whole = left(store)
    for words, why in [
        ((), "name the clips to remove"),
        (("here", "nobody"), "holds no clip 'nobody'"),
        (("x",), "may be train/x or val/x"),
    ]:
        result = avemo("store", "remove", *words, "--store", store)
        assert (result.exit_code, why in result.stderr) == (2, True)
    assert left(store) == whole
    result = avemo("store", "remove", "angry/b", "val/x", "--store", store)
    assert result.stdout == f"{store}: removed 2 clips: train/angry/b, val/x; 4 left\n"
    result = avemo("store", "remove", "--gone", "--store", store)
    assert result.stdout == f"{store}: removed 1 clip: train/gone; 3 left\n"
    assert left(store) == ["test/val/x", "train/here", "train/x"]
    assert "every clip's file exists" in avemo("store", "remove", "--gone", "--store", store).stdout
