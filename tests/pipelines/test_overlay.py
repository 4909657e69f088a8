"""Overlays: what is drawn is what the files say, on the frames and with the sound of the video."""

from __future__ import annotations

import csv
import json
import struct
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from avemo.extract.decode.media import Frame, Media
from avemo.extract.plan import Plan
from avemo.pipelines.cli.fuse import main
from avemo.pipelines.corpora.clips.find import find_clips
from avemo.pipelines.demo.set import Shot
from avemo.pipelines.demo.set import make_clip as make_demo_clip
from avemo.pipelines.pages.overlay import video as overlay
from avemo.pipelines.pages.overlay.boxes import Boxes
from avemo.pipelines.pages.overlay.picture import FAINT, GROUND, Canvas, Colour, OverlayLayout, strip_of_time
from avemo.pipelines.pages.overlay.video import write_overlay
from avemo.pipelines.pages.palette import EMOTIONS, SPARE, class_colours, rgb
from avemo.pipelines.stage_one import into_store

MakeClip = Callable[..., Path]
QUICK = ("--epochs", 20, "--lr", 0.01, "--device", "cpu")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three demo clips, and a run that was trained on them."""
    pytest.importorskip("skimage", reason="the demo's photograph is scikit-image's, which is not installed")
    home = tmp_path_factory.mktemp("overlay")
    for actor, emotion in enumerate(("Angry", "Happy", "Sad"), start=1):
        make_demo_clip(home / "clips", Shot(f"{emotion}/{emotion}.mp4", actor, emotion, 0))
    plan = Plan(view_sets=("none",), max_frames=8, device="cpu", precision="fp32")
    assert into_store(find_clips(home / "clips"), plan, home / "features", workers=1) == 0
    fuse("train", "--store", home / "features", "--out", home / "run", *QUICK)
    return home


def fuse(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def drawn(home: Path, film: Path, target: Path, *options: object) -> str:
    """The overlay of ``film`` at ``target``, with what lies beside it."""
    files = ("--overlay", target, "--out", target.with_name("whole.csv"))
    return fuse("predict", home / "run", film, *files, *options, "--device", "cpu", "--workers", 1)


def length_of_bar(image: np.ndarray, layout: OverlayLayout, number: int, ink: Colour) -> float:
    """Pixels of a bar that are drawn: where its colour is nearer than its track's."""
    left, top, right, bottom = layout.bars[number]
    row = image[(top + bottom) // 2, left:right].astype(float)
    track, colour = np.array((52, 56, 65)), np.array(ink)
    share = ((row - track) @ (colour - track)) / ((colour - track) @ (colour - track))
    return float((share > 0.5).sum())


def box_in(image: np.ndarray, layout: OverlayLayout, ink: Colour) -> np.ndarray | None:
    """The box that is drawn: where straight lines of the class's colour are longest, longer than its tag is
    wide; None without any."""
    left, top, right, bottom = layout.picture
    ycc = cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_RGB2YCrCb).astype(float)
    colour = cv2.cvtColor(np.array([[ink]], np.uint8), cv2.COLOR_RGB2YCrCb)[0, 0].astype(float)
    near = (np.abs(ycc - colour) < (60, 34, 34)).all(axis=2)
    columns, rows = near.sum(axis=0), near.sum(axis=1)
    if columns.max() < 20:
        return None
    x, y = (np.flatnonzero(count > 0.85 * count.max()) for count in (columns, rows))
    return np.array([left + x[0], top + y[0], left + x[-1], top + y[-1]], float)


def check(film: Path, target: Path) -> tuple[int, int]:
    """Hold each frame of an overlay against its CSV and JSON; how many frames have a box, and have none."""
    with target.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    told = json.loads(target.with_suffix(".json").read_text())
    classes = [name for name in rows[0] if name not in {"start", "end", "class", "has_face", "has_sound"}]
    spans = np.array([[float(row["start"]), float(row["end"])] for row in rows])
    times = np.array([face["time"] for face in told["faces"]])
    boxes = np.array([face["box"] or [np.nan] * 4 for face in told["faces"]])
    frames, originals = list(Media(target).frames()), list(Media(film).frames())
    np.testing.assert_allclose([f.time for f in frames], [f.time for f in originals], atol=1e-3)
    height, width = originals[0].image.shape[:2]
    layout = OverlayLayout.of(width, height, len(classes))
    assert frames[0].image.shape[:2] == layout.size[::-1]
    inks = [rgb(colour) for colour in class_colours(classes)]
    seen = missing = 0
    for frame in frames:
        row = rows[int(np.abs(spans.mean(axis=1) - frame.time).argmin())]
        for number, name in enumerate(classes):
            left, _, right, _ = layout.bars[number]
            ink = inks[number] if row["has_face"] == "1" else FAINT
            assert length_of_bar(frame.image, layout, number, ink) == pytest.approx(
                float(row[name]) * (right - left), abs=2.5
            )
        found = box_in(frame.image, layout, inks[classes.index(row["class"])])
        expected = Boxes({"times": times, "box": boxes}).at(frame.time)
        if expected is None:
            missing += 1
            assert found is None
            continue
        seen += 1
        assert found is not None
        np.testing.assert_allclose(found, layout.box(expected, (height, width)), atol=4)
    return seen, missing


def test_each_frame_shows_what_the_files_say(home: Path, tmp_path: Path) -> None:
    film = home / "clips/Happy/Happy.mp4"
    text = drawn(home, film, tmp_path / "o.mp4", "--window", 0.6, "--hop", 0.23)  # no frame between two
    assert "real time factor" in text and "sound copied (aac)" in text
    seen, missing = check(film, tmp_path / "o.mp4")
    assert seen >= 25 and missing == 0
    assert [path.suffix for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_each_frame_of_a_real_clip_shows_what_the_files_say(home: Path, tmp_path: Path, shared: Path) -> None:
    film = shared / "data/java_sed/clips/04-02-05_01.mp4"
    if not film.exists():
        pytest.skip("needs Java-SED, which is not here")
    text = drawn(home, film, tmp_path / "o.mp4", "--window", 1.5)
    assert "sound copied (mp3)" in text
    seen, _ = check(film, tmp_path / "o.mp4")
    assert seen > 100


def test_no_face_no_box(home: Path, tmp_path: Path, make_clip: MakeClip) -> None:
    film = make_clip(tmp_path / "grey.mp4", 20, size=(160, 120), sound=False)
    text = drawn(home, film, tmp_path / "o.mp4", "--window", 0.4)
    assert "without a face" in text and "no sound" in text
    assert check(film, tmp_path / "o.mp4") == (0, 20)


def plain(frame: Frame) -> np.ndarray:
    return cv2.resize(frame.image, (64, 48))


def copied(film: Path, target: Path) -> overlay.Film:
    return write_overlay(film, target, plain, lambda seconds: None)


def samples(path: Path) -> np.ndarray:
    return np.concatenate(list(Media(path).sound()))


@pytest.mark.parametrize("delay", [0.0, 0.3])
def test_sound_is_copied(tmp_path: Path, make_clip: MakeClip, delay: float) -> None:
    film = make_clip(tmp_path / "a.mp4", 50, sound_delay=delay)
    assert copied(film, tmp_path / "o.mp4").sound == "sound copied (aac)"
    ours, theirs = samples(tmp_path / "o.mp4"), samples(film)
    assert len(ours) == len(theirs)
    np.testing.assert_array_equal(ours, theirs)


def test_sound_that_mp4_does_not_hold_becomes_aac(tmp_path: Path, make_clip: MakeClip) -> None:
    film = make_clip(tmp_path / "a.mp4", 50)
    turned = tmp_path / "a.mkv"
    with av.open(str(film)) as source, av.open(str(turned), "w") as target:
        video = target.add_stream_from_template(source.streams.video[0])
        audio = target.add_stream("pcm_s16le", rate=44_100, layout="mono")
        for packet in source.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "video":
                packet.stream = video
                target.mux(packet)
            else:
                for frame in packet.decode():
                    target.mux(audio.encode(frame))
    assert copied(turned, tmp_path / "o.mp4").sound == "sound encoded as AAC (was pcm_s16le)"
    ours, theirs = samples(tmp_path / "o.mp4"), samples(turned)
    assert len(ours) == pytest.approx(len(theirs), abs=2048)
    count = min(len(ours), len(theirs))
    assert np.corrcoef(ours[:count], theirs[:count])[0, 1] > 0.98


def test_times_of_a_variable_rate_are_kept(tmp_path: Path, make_clip: MakeClip) -> None:
    times = [0.0, 0.04, 0.2, 0.21, 0.7, 1.5, 1.54]
    film = make_clip(tmp_path / "a.mkv", len(times), times=times)
    copied(film, tmp_path / "o.mp4")
    ours, theirs = Media(tmp_path / "o.mp4"), Media(film)
    np.testing.assert_allclose([f.time for f in ours.frames()], [f.time for f in theirs.frames()], atol=1e-4)
    assert ours.seconds() == pytest.approx(theirs.seconds(), abs=0.1)


def test_a_turned_video_is_shown_upright(home: Path, tmp_path: Path) -> None:
    film = tmp_path / "a.mp4"
    data = (home / "clips/Happy/Happy.mp4").read_bytes()
    height, width = next(Media(home / "clips/Happy/Happy.mp4").frames()).image.shape[:2]
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, height << 16, 0, 1 << 30)
    at = data.index(upright, data.index(b"tkhd"))
    film.write_bytes(data[:at] + quarter + data[at + len(quarter) :])
    drawn(home, film, tmp_path / "o.mp4")
    check(film, tmp_path / "o.mp4")
    layout = OverlayLayout.of(height, width, 3)
    left, top, right, bottom = layout.picture
    ours = next(Media(tmp_path / "o.mp4").frames()).image[top:bottom, left:right].astype(int)
    theirs = next(Media(film).frames()).image.astype(int)
    assert np.abs(ours - theirs).mean() < 6


@pytest.mark.parametrize("size", [(64, 48), (322, 242)])
def test_a_video_that_breaks_off_is_shown_as_far_as_it_goes(
    tmp_path: Path, make_clip: MakeClip, size: tuple[int, int]
) -> None:
    film = make_clip(tmp_path / "a.avi", 100, size=size)
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    written = copied(film, tmp_path / "o.mp4")
    assert 10 < written.frames < 100 and written.problems
    assert len(list(Media(tmp_path / "o.mp4").frames())) == written.frames


def test_an_interrupt_leaves_no_file(tmp_path: Path, make_clip: MakeClip) -> None:
    film = make_clip(tmp_path / "a.mp4", 30)
    (tmp_path / "o.mp4").write_text("what was there")

    def interrupt(seconds: float) -> None:
        if seconds > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_overlay(film, tmp_path / "o.mp4", plain, interrupt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "o.mp4"]
    assert (tmp_path / "o.mp4").read_text() == "what was there"


def test_without_x264_another_encoder_does(
    tmp_path: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlay, "ENCODERS", {"no-such-encoder": {}, "mpeg4": overlay.ENCODERS["mpeg4"]})
    film = make_clip(tmp_path / "a.mp4", 30)
    assert copied(film, tmp_path / "o.mp4").encoder == "mpeg4"
    shown = [frame.image.mean() for frame in Media(tmp_path / "o.mp4").frames()]
    np.testing.assert_allclose(shown, [frame.image.mean() for frame in Media(film).frames()], atol=8)


@pytest.mark.parametrize("classes", [2, 7, 15])
@pytest.mark.parametrize("size", [(64, 48), (321, 243), (360, 270), (1920, 1080), (1080, 1920), (640, 640)])
def test_everything_has_its_place(size: tuple[int, int], classes: int) -> None:
    layout = OverlayLayout.of(*size, classes)
    assert layout.size[0] % 2 == layout.size[1] % 2 == 0
    canvas = np.zeros(layout.size[::-1], int)
    for left, top, right, bottom in (layout.picture, *layout.bars, layout.strip):
        assert 0 <= left < right <= layout.size[0] and 0 <= top < bottom <= layout.size[1]
        canvas[top:bottom, left:right] += 1
    assert canvas.max() == 1
    assert min(layout.picture[2] - layout.picture[0], layout.picture[3] - layout.picture[1]) >= 240
    names = [f"a class of a long name, number {n}" for n in range(classes)]
    values = np.full((1, classes), 1 / classes)
    draw = Canvas(
        names, values, ["no face"], np.array([True]), np.array([True]), 2.0, lambda t: np.zeros(t.shape, int)
    )
    image = np.zeros((size[1], size[0], 3), np.uint8)
    whole = np.array([-5.0, -5.0, *size])
    assert draw(image, whole, 9.0).shape == (layout.size[1], layout.size[0], 3)
    assert draw(image[: size[1] // 2], None, 0.0).shape == (layout.size[1], layout.size[0], 3)


def test_the_strip_of_time_is_in_proportion() -> None:
    values = np.array([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0]])
    palette = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    strip = strip_of_time(values, np.array([True, False]), 100, palette)
    for number, pixels in enumerate((50, 30, 20)):
        assert (strip[:, 0] == palette[number]).all(axis=1).sum() == pixels
    assert len(np.unique(strip[:, 1], axis=0)) == 1
    assert strip[0, 1].sum() < sum(palette[1]) / 2


def test_a_box_moves_evenly_between_frames_and_jumps_at_cuts() -> None:
    nothing = [np.nan] * 4
    box = np.array([[0, 0, 10, 10], [4, 0, 14, 10], nothing, [500, 0, 510, 10]], np.float32)
    boxes = Boxes({"times": np.array([0.0, 1.0, 2.0, 3.0]), "box": box})
    np.testing.assert_allclose(boxes.at(0.25), [1, 0, 11, 10])
    np.testing.assert_allclose(boxes.at(1.4), box[1])
    assert boxes.at(1.6) is None and boxes.at(2.0) is None and boxes.at(2.4) is None
    np.testing.assert_allclose(boxes.at(9.0), box[3])
    jump = Boxes({"times": np.array([0.0, 1.0]), "box": box[[0, 3]]})
    np.testing.assert_allclose(jump.at(0.4), box[0])
    np.testing.assert_allclose(jump.at(0.6), box[3])


def luminance(colour: Colour) -> float:
    """Relative luminance as WCAG 2 defines it."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", [*EMOTIONS.values(), *SPARE])
def test_a_class_can_be_told_on_paper_and_on_the_dark_ground(colour: str) -> None:
    own, ground = luminance(rgb(colour)), luminance(GROUND)
    assert (1.05 / (own + 0.05)) >= 3  # on white
    assert ((own + 0.05) / (ground + 0.05)) >= 3


def test_an_emotion_has_one_colour_whatever_the_others_are_and_however_it_is_spelt() -> None:
    seven = ["Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"]
    whole = dict(zip(seven, class_colours(seven), strict=True))
    assert len({*whole.values()}) == 7
    assert class_colours(["Neutral", "Angry"]) == [whole["Neutral"], whole["Angry"]]
    assert class_colours(["anger", "joy"]) == [whole["Angry"], whole["Happy"]]
    others = class_colours(["bored", "Sad", "calm"])
    assert (
        others[1] == whole["Sad"] and len({*others}) == 3 and not {others[0], others[2]} & {*whole.values()}
    )


def canvas_of(has_face: bool, has_sound: bool, mark: str = "") -> np.ndarray:
    flags = np.array([has_face]), np.array([has_sound])
    values = np.array([[0.5, 0.3, 0.2]])
    draw = Canvas(
        ("Happy", "Neutral", "Sad"), values, [""], *flags, 1.0, lambda t: np.zeros(t.shape, int), mark
    )
    return draw(np.zeros((240, 320, 3), np.uint8), None, 0.5)


def coloured(image: np.ndarray) -> int:
    return int((image.max(axis=2).astype(int) - image.min(axis=2) > 40).sum())


def test_without_a_face_nothing_is_announced_in_colour() -> None:
    layout = OverlayLayout.of(320, 240, 3)
    left, top, right, bottom = layout.panel
    seen, heard, neither = (canvas_of(*flags) for flags in ((True, True), (False, True), (False, False)))
    assert coloured(seen[top:bottom, left:right]) > 500
    assert coloured(heard[top:bottom, left:right]) == coloured(neither[top:bottom, left:right]) == 0
    assert (heard != neither).any()  # "sound only" where there is sound, "a guess" where there is none


def test_a_run_of_the_demo_set_is_marked_in_the_picture() -> None:
    plain, marked = canvas_of(True, True), canvas_of(True, True, "trained on the demo set")
    left, top, right, bottom = OverlayLayout.of(320, 240, 3).picture
    assert not plain[top:bottom, left:right].any() and marked[top:bottom, left:right].any()
