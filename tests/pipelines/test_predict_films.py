"""``avemo predict``: expressions in any film, from the command line and from Python."""

from __future__ import annotations

import csv
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner, Result
from scipy.ndimage import gaussian_filter1d

import avemo
from avemo.extract.align import CHIP_SIZE, frame_transform
from avemo.extract.backbones import WeightsError, get
from avemo.extract.decode.media import Media
from avemo.extract.errors import ClipError, ExtractError
from avemo.extract.views import VIEW_SETS
from avemo.pipelines.cli.main import main
from avemo.pipelines.cli.predict import predict
from avemo.pipelines.predict.classifier import FaceClassifier
from avemo.pipelines.predict.expressions import LOOKS, MEANING, FilmExpressions, PredictSettings
from avemo.pipelines.predict.smoothing import smoothed
from avemo.pipelines.predict.tables import write_frames, write_json, write_windows
from avemo.pretrain.card import read_classifier

MakeClip = Callable[..., Path]
CLASSES = ("Angry", "Contempt", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


def embedded(name: str) -> Path:
    default = get(name).default_weights
    assert default is not None
    return default()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> Path:
    """A film of 30 frames: a photograph that drifts, in the middle of which is a blank."""
    astronaut = pytest.importorskip("skimage.data").astronaut()[:270, 60:420]
    pictures = [np.roll(astronaut, 2 * number, axis=1) for number in range(30)]
    pictures[10:20] = [np.zeros_like(astronaut)] * 10
    return make_clip(tmp_path_factory.mktemp("films") / "film.mp4", pictures=pictures)


@pytest.fixture(scope="module")
def found(film: Path) -> FilmExpressions:
    return avemo.predict(film, smooth=0.1, device="cpu")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments), "--device", "cpu"])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# the network


@pytest.mark.parametrize("views", ["none", "flip"])
def test_probabilities_are_those_of_the_network_that_pretraining_wrote(views: str) -> None:
    """Classes, mean over views and temperature, against the network run plainly in fp32."""
    image = np.random.default_rng(0).integers(0, 256, (CHIP_SIZE, CHIP_SIZE, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 20)
    classifier = FaceClassifier("ferplusnet", LOOKS[views], "cpu", "fp32")
    looks = classifier.looks(image, frame_transform(CHIP_SIZE, CHIP_SIZE))
    plain, _, classes = read_classifier(embedded("ferplusnet"))
    assert classifier.classes == classes == CLASSES
    grey = looks.float() @ torch.tensor([0.299, 0.587, 0.114]) / 255
    with torch.inference_mode():
        logits = plain(grey[:, None])
    mean = logits.softmax(1).mean(0)
    expected = (mean.log() / classifier.temperature).softmax(0)
    assert len(looks) == len(LOOKS[views])
    np.testing.assert_allclose(classifier([looks])[0], expected.numpy(), atol=1e-4)


def test_the_card_tells_the_temperature_of_each_set_of_views() -> None:
    found = {name: FaceClassifier("ferplusnet", views, "cpu").temperature for name, views in LOOKS.items()}
    assert found == {"none": 1.01, "default": 0.97, "wide": 0.85, "flip": 0.98}


def test_weights_without_a_card_have_no_temperature(tmp_path: Path) -> None:
    copy = tmp_path / "mine.safetensors"
    copy.write_bytes(embedded("ferplusnet").read_bytes())
    assert FaceClassifier(f"ferplusnet@{copy}", VIEW_SETS["none"], "cpu").temperature == 1.0


def test_the_old_network_under_the_new_name_is_refused(film: Path, tmp_path: Path) -> None:
    result = call(film, "--backbone", f"ferplusnet@{embedded('ferresnet')}", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "not weights of 'ferplusnet', but of ferresnet; give it as ferresnet@" in result.stderr
    assert not (tmp_path / "out").exists()


def test_weights_that_name_no_classes_are_refused(tmp_path: Path) -> None:
    torch.save(get("mobilefacenet").build().state_dict(), tmp_path / "net.pt")
    with pytest.raises(WeightsError, match="does not name its classes"):
        FaceClassifier(f"mobilefacenet@{tmp_path / 'net.pt'}", VIEW_SETS["none"], "cpu")
    state = safetensors.torch.load_file(embedded("ferplusnet"))
    state["emotion.bias"] = state["emotion.bias"][:3]
    metadata = {"architecture": "ferplusnet", "classes": json.dumps(CLASSES)}
    safetensors.torch.save_file(state, tmp_path / "cut.safetensors", metadata=metadata)
    with pytest.raises(WeightsError, match=r"expected \(8, 512\) and \(8,\)"):
        FaceClassifier(f"ferplusnet@{tmp_path / 'cut.safetensors'}", VIEW_SETS["none"], "cpu")


def test_the_old_network_has_its_own_classes(film: Path) -> None:
    found = avemo.predict(film, backbone="ferresnet", device="cpu")
    assert found.classes == tuple(name for name in CLASSES if name != "Contempt")


# smoothing


def test_smoothing_is_scipys_gaussian_without_the_frames_that_have_no_face() -> None:
    """Normalised convolution (Knutsson & Westin 1993): filtered values over filtered weights."""
    generator = np.random.default_rng(0)
    values = generator.dirichlet(np.ones(4), 200)
    values[generator.random(200) < 0.2] = np.nan
    known = ~np.isnan(values[:, 0])
    filled = np.where(known[:, None], values, 0)

    def filtered(array: np.ndarray) -> np.ndarray:
        return gaussian_filter1d(array, sigma=5, axis=0, mode="constant", truncate=3)

    expected = filtered(filled) / filtered(known.astype(float))[:, None]
    found = smoothed(np.arange(200) / 25, values, np.zeros(200, int), 0.2)
    np.testing.assert_allclose(found[known], expected[known], atol=1e-12)
    np.testing.assert_array_equal(np.isnan(found[:, 0]), ~known)
    np.testing.assert_allclose(found[known].sum(axis=1), 1)


def test_smoothing_weighs_by_time_and_not_by_number_of_frames() -> None:
    times = np.array([0.0, 0.1, 0.2, 0.3, 0.7])
    values = np.array([[1.0], [0.0], [0.0], [1.0], [0.0]])
    weights = np.exp(-0.5 * ((times - 0.2) / 0.1) ** 2) * (np.abs(times - 0.2) <= 0.3 + 1e-9)
    found = smoothed(times, values, np.zeros(5, int), 0.1)
    assert found[2, 0] == pytest.approx((weights @ values[:, 0]) / weights.sum())
    assert found[4, 0] == 0.0


def test_nothing_is_smoothed_over_a_cut_or_without_deviation() -> None:
    times, values = np.arange(10) / 25, np.repeat([[1.0, 0.0], [0.0, 1.0]], 5, axis=0)
    shots = np.repeat([0, 1], 5)
    np.testing.assert_allclose(smoothed(times, values, shots, 0.2), values)
    assert smoothed(times, values, shots * 0, 0.2)[4, 1] > 0.3
    np.testing.assert_array_equal(smoothed(times, values, shots * 0, 0), values)


# a film, from Python


def test_a_film_in_two_lines(found: FilmExpressions, film: Path) -> None:
    times = np.array([frame.time for frame in Media(film).frames()])
    np.testing.assert_array_equal(found.times, times)
    assert found.classes == CLASSES and found.film == film
    assert found.boxes.shape == (30, 4) and found.probabilities.shape == (30, 8)
    assert found.has_face[:8].all() and not found.has_face[13:17].any() and found.has_face[23:].all()
    np.testing.assert_allclose(found.probabilities[found.has_face].sum(axis=1), 1, atol=1e-5)
    assert np.isnan(found.probabilities[~found.has_face]).all()
    assert found.mean.argmax() == CLASSES.index("Happy")  # the astronaut smiles
    assert "Happy" in repr(found) and "30 frames" in repr(found)


def test_windows_are_means_over_the_frames_with_a_face(found: FilmExpressions) -> None:
    windows = found.windows(0.4)
    np.testing.assert_allclose(windows.spans, [[0, 0.4], [0.4, 0.8], [0.8, 1.2]])
    np.testing.assert_allclose(windows.faces, found.has_face.reshape(3, 10).mean(axis=1))
    expected = np.nanmean(found.unsmoothed[:10], axis=0)
    np.testing.assert_allclose(windows.probabilities[0], expected, atol=1e-6)
    whole = found.windows(100.0)
    assert whole.spans.tolist() == [[0.0, pytest.approx(found.seconds)]]
    np.testing.assert_allclose(whole.probabilities[0], found.mean)
    assert len(found.windows(0.4, hop=0.1).spans) == 9
    with pytest.raises(ValueError, match="above 0"):
        found.windows(0)


def test_pandas_is_optional(found: FilmExpressions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        found.to_pandas()


def test_a_row_of_the_table_is_a_frame(found: FilmExpressions) -> None:
    pytest.importorskip("pandas")
    table = found.to_pandas()
    assert list(table.columns) == ["time", "x0", "y0", "x1", "y1", "class", *CLASSES]
    np.testing.assert_array_equal(table["time"], found.times)
    np.testing.assert_array_equal(table[list(CLASSES)], found.probabilities)


def test_importing_avemo_is_light() -> None:
    code = (
        "import sys, avemo; heavy = {'torch', 'numpy', 'h5py', 'av', 'cv2', 'click'} & {*sys.modules};"
        "assert not heavy, heavy; import avemo.extract.plan;"
        "assert callable(avemo.extract); avemo.extract.plan"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_extract_and_open_store_from_python(film: Path, tmp_path: Path) -> None:
    done = avemo.extract(film, tmp_path / "features", tta="none", max_frames=3, device="cpu", workers=1)
    assert done.whole and [row.clip.id for row in done.rows] == ["film"]
    with avemo.open_store(tmp_path / "features") as store:
        assert store.read(store.rows[0], "faces")["has_face"].shape == (3,)


def test_what_cannot_be_used_is_told(film: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected one of none, default, wide, flip"):
        avemo.predict(film, tta="18")
    with pytest.raises(ValueError, match="detect_every 0"):
        PredictSettings(detect_every=0)
    with pytest.raises(ClipError, match="no such file"):
        avemo.predict(tmp_path / "film.mp4")
    with pytest.raises(ExtractError, match="no backbone"):
        avemo.predict(film, backbone="vgg99")


# a film, from the command line


def test_the_command_writes_tables_json_and_the_film(
    film: Path, found: FilmExpressions, tmp_path: Path
) -> None:
    out, shown = tmp_path / "out", tmp_path / "shown.mp4"
    result = call(film, "--out", out, "--overlay", shown, "--window", 0.4, "--smooth", 0.1, "--json")
    assert result.exit_code == 0, result.output
    frames, windows = rows(out / "film.frames.csv"), rows(out / "film.windows.csv")
    assert [float(row["time"]) for row in frames] == pytest.approx(found.times.tolist(), abs=1e-6)
    for row, seen, values in zip(frames, found.has_face, found.probabilities, strict=True):
        assert (row["class"] != "") == (row["x0"] != "") == seen
        if seen:
            assert [float(row[name]) for name in CLASSES] == pytest.approx(values.tolist(), abs=2e-6)
            assert row["class"] == CLASSES[values.argmax()]
    assert [row["faces"] for row in windows] == [str(share) for share in found.windows(0.4).faces.round(6)]
    told = json.loads((out / "film.json").read_text(encoding="utf-8"))
    assert told["meaning"] == MEANING and told["settings"]["temperature"] == 1.01
    assert len(told["frames"]) == 30 and told["frames"][15]["probabilities"] is None
    assert told["windows"][0]["class"] == windows[0]["class"] == "Happy"
    assert len(list(Media(shown).frames())) == 30
    summary = json.loads(result.stdout)
    assert summary["real_time_factor"] > 0
    assert summary["films"][str(film)]["class"] == "Happy"
    assert "real time factor" in result.stderr and MEANING in result.stderr

    again = call(film, "--out", out)
    assert again.exit_code == 2 and "--overwrite" in again.stderr
    assert call(film, "--out", out, "--overwrite").exit_code == 0
    assert call(film, "--out", tmp_path / "new", "--overlay", film, "--overwrite").exit_code == 2


def test_a_bad_film_costs_that_film(film: Path, make_clip: MakeClip, tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    (films / "good.mp4").write_bytes(film.read_bytes())
    (films / "empty.mp4").touch()
    (films / "text.mp4").write_text("not a film")
    make_clip(films / "sound.mp4", pictures=[])
    make_clip(films / "blank.mp4", frames=5)
    result = call(films, tmp_path / "none.mp4", "--out", tmp_path / "out")
    assert result.exit_code == 1
    for name, why in {
        "empty.mp4": "the file is empty",
        "text.mp4": "not a video",
        "sound.mp4": "no video stream",
    }.items():
        assert f"failed: {films / name}: " in result.stderr and why in result.stderr
    assert f"failed: {tmp_path / 'none.mp4'}: there is no such file" in result.stderr
    assert f"note: {films / 'blank.mp4'}: has no face" in result.stderr
    written = sorted(path.name for path in (tmp_path / "out").glob("*.json"))
    assert written == ["blank.json", "good.json"]
    blank = rows(tmp_path / "out/blank.frames.csv")
    assert len(blank) == 5 and {row["class"] for row in blank} == {""}


@pytest.mark.parametrize("name", ["none.mp4", "empty"])
def test_without_any_film_it_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    result = call(tmp_path / name)
    assert result.exit_code == 2 and "no film in" in result.stderr


def test_a_window_longer_than_the_film_is_the_film(film: Path, tmp_path: Path) -> None:
    result = call(film, "--out", tmp_path / "out", "--window", 60)
    assert result.exit_code == 0 and "is shorter than --window 60" in result.stderr
    assert len(rows(tmp_path / "out/film.windows.csv")) == 1


def test_films_of_one_name_do_not_overwrite_each_other(
    film: Path, make_clip: MakeClip, tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        make_clip(tmp_path / folder / "film.mp4", frames=3)
    assert call(tmp_path, "--out", tmp_path / "out").exit_code == 0
    assert len(list((tmp_path / "out").glob("*.json"))) == 2
    one = call(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "more", "--overlay", tmp_path / "one.mp4")
    assert one.exit_code == 2 and "name a folder" in one.stderr


def test_several_people_are_told(make_clip: MakeClip, tmp_path: Path) -> None:
    astronaut = pytest.importorskip("skimage.data").astronaut()[:270, 60:420]
    small = cv2.resize(astronaut, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    picture = np.zeros((270, 620, 3), np.uint8)
    picture[:, :360], picture[: small.shape[0], 360 : 360 + small.shape[1]] = astronaut, small
    clip = make_clip(tmp_path / "two.mp4", pictures=[picture] * 6)
    result = call(clip, "--out", tmp_path / "out")
    assert result.exit_code == 0 and "several faces in 2 of the 2 frames" in result.stderr
    assert all(float(row["x1"]) < 360 for row in rows(tmp_path / "out/two.frames.csv"))


def test_no_class_is_taken_for_a_formula(tmp_path: Path) -> None:
    strange = FilmExpressions(
        Path("film.mp4"),
        ("=1+1", "Sad"),
        np.array([0.0, 0.04]),
        np.array([[0, 0, 9, 9], [np.nan] * 4], np.float32),
        np.array([[0.25, 0.75], [np.nan, np.nan]], np.float32),
        np.array([[0.25, 0.75], [np.nan, np.nan]], np.float32),
    )
    write_frames(strange, tmp_path / "frames.csv")
    write_windows(strange, strange.windows(), tmp_path / "windows.csv")
    for name in ("frames.csv", "windows.csv"):
        assert not any(cell.startswith("=") for cell in (tmp_path / name).read_text().split(","))
    write_json(strange, strange.windows(), tmp_path / "all.json")
    told = json.loads((tmp_path / "all.json").read_text())
    assert told["classes"] == ["=1+1", "Sad"] and told["frames"][1]["box"] is None


@pytest.mark.slow
def test_real_faces_are_named_alike_however_often_they_are_looked_for(shared: Path) -> None:
    """Measured over 23 clips: 0.016 of the probability lies elsewhere (total variation)."""
    for clip in ("media/single_face.mp4", "java_sed/clips/01-01-03_01.mp4"):
        often, seldom = (avemo.predict(shared / "data" / clip, detect_every=n) for n in (1, 5))
        both = often.has_face & seldom.has_face
        assert both.mean() > 0.95
        differing = np.abs(often.probabilities - seldom.probabilities)[both].sum(axis=1) / 2
        assert differing.mean() < 0.05


def test_a_device_that_fails_is_told_in_one_line(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> FilmExpressions:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore of it")

    monkeypatch.setattr("avemo.pipelines.predict.films.expressions_of", broken)
    result = call(film, "--out", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == "Error: CUDA error: an illegal memory access was encountered"


def test_the_command_the_function_and_the_settings_have_the_same_defaults() -> None:
    command = {option.name: option.default for option in predict.params}
    function = {name: each.default for name, each in inspect.signature(avemo.predict).parameters.items()}
    for field in fields(PredictSettings):
        if field.name != "face_seconds":
            assert command[field.name] == field.default
            assert function.get(field.name, field.default) == field.default
    assert function.keys() - {"film"} <= {field.name for field in fields(PredictSettings)}
