"""``--detector auto``: YuNet where its weights are, dlib elsewhere, and what a store has in any case."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.extract.errors import ExtractError
from avemo.pipelines.cli.main import main
from avemo.pipelines.cli.recipe import run as recipe_run
from avemo.pipelines.detector_choice import choose_detector

MakeClip = Callable[..., Path]
FILE = "face_detection_yunet_2026may.onnx"


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights in place of the user's own."""
    path = tmp_path / "weights"
    path.mkdir()
    monkeypatch.setenv("AVEMO_WEIGHTS", str(path))
    return path


@pytest.fixture
def yunet(shared: Path) -> Path:
    return shared / "weights" / FILE


def extract(folder: Path, *options: str) -> Result:
    arguments = ["extract", str(folder / "clips"), "--store", str(folder / "store")]
    return CliRunner().invoke(main, [*arguments, "--tta", "none", "--workers", "1", *options])


def detectors(folder: Path) -> dict[str, str]:
    with FeatureStore(folder / "store") as store:
        return {row.clip.id: row.entries["faces"].key.settings["detector"] for row in store.rows}


def a_store(path: Path, *settings: dict[str, object]) -> FeatureStore:
    """A clip for each of these settings of a face track."""
    store = FeatureStore(path, create=True)
    with store.writer() as writer:
        for number, each in enumerate(settings):
            key = FeatureKey("faces", each)
            arrays = {"times": np.zeros(1)}
            writer.add(Clip(str(number), "train", ""), None, {"faces": Outcome(key, arrays=arrays)})
    store.refresh()
    return store


@pytest.mark.slow
def test_a_store_keeps_its_detector_when_a_file_appears(
    tmp_path: Path, make_clip: MakeClip, weights: Path, yunet: Path
) -> None:
    (tmp_path / "clips").mkdir()
    make_clip(tmp_path / "clips/one.mp4", frames=2)
    first = extract(tmp_path)
    assert "faces are found by dlib (`avemo weights fetch yunet` gets a faster one)" in first.output
    shutil.copy(yunet, weights / FILE)
    again = extract(tmp_path)
    assert again.exit_code == 0 and "nothing to do" in again.output
    make_clip(tmp_path / "clips/two.mp4", frames=2)
    assert f"faces are found by dlib (as in {tmp_path / 'store'})" in extract(tmp_path).output
    assert detectors(tmp_path) == {"one": "dlib", "two": "dlib"}

    assert "extracted again" in extract(tmp_path, "--detector", "yunet").output
    assert detectors(tmp_path) == {"one": "yunet", "two": "yunet"}
    kept = extract(tmp_path)
    assert "nothing to do" in kept.output and "faces are found by yunet@2026may (as in" in kept.output
    (weights / FILE).unlink()
    gone = extract(tmp_path)
    assert gone.exit_code == 2 and "--detector yunet@FILE" in gone.output and "ebafce4e3c" in gone.output
    assert extract(tmp_path, "--detector", f"yunet@{yunet}").exit_code == 0


def test_a_new_store_has_yunet_where_its_weights_are(
    tmp_path: Path, make_clip: MakeClip, weights: Path, yunet: Path
) -> None:
    shutil.copy(yunet, weights / FILE)
    (tmp_path / "clips").mkdir()
    make_clip(tmp_path / "clips/one.mp4", frames=2)
    result = extract(tmp_path)
    assert "faces are found by yunet@2026may (its weights are here; --detector dlib" in result.output
    assert detectors(tmp_path) == {"one": "yunet"}


def test_the_detectors_of_a_store(tmp_path: Path, weights: Path, yunet: Path) -> None:
    shutil.copy(yunet, weights / FILE)
    dlib: dict[str, object] = {"detector": "dlib", "detector.upsample": 1}
    ssd: dict[str, object] = {"detector": "ssd", "detector.weights": "0" * 64}
    imported = a_store(tmp_path / "imported", {"imported": True})
    assert choose_detector("auto", imported).text == "yunet@2026may"
    alike = a_store(tmp_path / "alike", dlib, {**dlib, "max_frames": 3})
    assert choose_detector("auto", alike) == ("dlib", f"as in {alike.path}")
    mixed = a_store(tmp_path / "mixed", dlib, ssd)
    with pytest.raises(ExtractError, match="found by dlib and by ssd; choose one with --detector"):
        choose_detector("auto", mixed)
    assert choose_detector("dlib", mixed) == ("dlib", "")
    with pytest.raises(ExtractError, match=r"SHA-256 000000.*--detector ssd@FILE"):
        choose_detector("auto", a_store(tmp_path / "ssd", ssd))
    with mixed.writer() as writer:  # the second clip once more, by the other detector
        key = FeatureKey("faces", dlib)
        writer.add(Clip("1", "train", ""), None, {"faces": Outcome(key, arrays={"times": np.zeros(1)})})
    mixed.refresh()
    assert choose_detector("auto", mixed).text == "dlib"


def test_predict_has_the_same_rule(tmp_path: Path, make_clip: MakeClip, weights: Path, yunet: Path) -> None:
    film = make_clip(tmp_path / "film.mp4", frames=2)

    def found(name: str, *options: str) -> tuple[str, str]:
        arguments = ["predict", str(film), "--out", str(tmp_path / name), "--device", "cpu", *options]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        facts = json.loads((tmp_path / name / "film.json").read_text())
        return facts["settings"]["detector"], result.output

    assert found("without")[0] == "dlib"
    shutil.copy(yunet, weights / FILE)
    detector, output = found("with")
    assert detector == "yunet" and "faces are found by yunet@2026may" in output
    detector, output = found("named", "--detector", "dlib")
    assert detector == "dlib" and "faces are found" not in output


def test_papers_name_dlib() -> None:
    option = next(each for each in recipe_run.params if each.name == "detector")
    assert option.default == "dlib"
