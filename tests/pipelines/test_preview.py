"""``avemo preview``: sheets that show what was found, a page that finds what was not, and bad input."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageColor
from playwright.sync_api import Browser, Page

from avemo.cache.clips import Clip
from avemo.cache.store import FeatureStore
from avemo.extract.align import CHIP_SIZE, compose, window_transform
from avemo.extract.decode.media import Media
from avemo.pipelines.cli.main import main
from avemo.pipelines.pages.preview.facts import (
    Subject,
    TrackFacts,
    jumps,
    seconds_of,
    subject_of,
    track_facts,
)
from avemo.pipelines.pages.preview.index import index
from avemo.pipelines.pages.preview.sheet import FACE, MARGIN, NO_FACE, POINT, SPEECH, TIMELINE, draw, strip

from ..browsing import DESKTOP, PHONE, opened

MakeClip = Callable[..., Path]
COPIES = 30
HEAVY = ("torch", "cv2", "numpy", "h5py", "librosa", "dlib", "av", "PIL", "joblib")


def preview(*arguments: str | Path) -> Result:
    """Run the command in this process; a bug raises."""
    result = CliRunner().invoke(main, ["preview", *map(str, arguments), "--workers", "1"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def listed(out: Path) -> dict[str, list[object]]:
    """The clips that the page at ``out`` holds, by the last part of their ids."""
    text = (out / "index.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="clips">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return {row[0].rpartition("/")[2]: row for row in json.loads(found[1])["clips"]}


def sheets(out: Path) -> dict[str, int]:
    """Each sheet at ``out`` with the time at which it was written."""
    return {path.name: path.stat().st_mtime_ns for path in (out / "sheets").iterdir()}


def pixels(image: Image.Image, colour: str) -> int:
    """How many pixels of a sheet have just this colour."""
    return int((np.asarray(image) == ImageColor.getrgb(colour)).all(-1).sum())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> Path:
    """Class folders with a face, the same without sound, nobody, sound alone, and a file that is no video."""
    pytest.importorskip("skimage", reason="needs scikit-image, whose photograph the demo set is made of")
    from avemo.pipelines.demo.set import claim
    from avemo.pipelines.demo.set import make_clip as make_demo_clip

    made = tmp_path_factory.mktemp("preview")
    shot = claim(made / "demo", 1, seed=3)[0]
    make_demo_clip(made / "demo", shot)
    face = made / "demo" / shot.path
    clips = made / "clips"
    for name in ("Happy", "Sad"):
        (clips / name).mkdir(parents=True)
    shutil.copy(face, clips / "Happy" / "face.mp4")
    pictures = [frame.image for frame in Media(face, 8).frames()]
    make_clip(clips / "Happy" / "silent.mp4", pictures=pictures, sound=False)
    make_clip(clips / "Sad" / "nobody.mp4", frames=12)
    make_clip(clips / "Sad" / "tone.m4a", frames=0)
    (clips / "Sad" / "broken.mp4").write_bytes(b"no film at all" * 50)
    return made


@pytest.fixture(scope="module")
def shown(folder: Path) -> tuple[Path, Result]:
    """All of that previewed: the folder of the page, and what the command said."""
    out = folder / "preview"
    return out, preview(folder / "clips", "--out", out, "--max-frames", "6", "--frames", "4")


@pytest.fixture
def store(shown: tuple[Path, Result], folder: Path, tmp_path: Path) -> Path:
    """A copy of its store, and of its clips at ``clips`` beside it."""
    shutil.copytree(folder / "clips", tmp_path / "clips")
    copied = tmp_path / "store"
    result = preview(tmp_path / "clips", "--out", tmp_path / "first", "--store", copied, "--max-frames", "6")
    assert result.exit_code == 1
    return copied


def test_help_answers_without_heavy_imports() -> None:
    code = f"""import sys
from click.testing import CliRunner
from avemo.pipelines.cli.main import main
result = CliRunner().invoke(main, ["preview", "--help"])
assert result.exit_code == 0 and "Examples:" in result.output, result.output
print([name for name in {HEAVY} if name in sys.modules])"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_every_kind_of_clip_is_shown(shown: tuple[Path, Result]) -> None:
    out, result = shown
    assert result.exit_code == 1
    assert "failed: all/Sad/broken: not a video or sound that FFmpeg reads" in result.stderr
    rows = listed(out)
    assert list(rows) == ["broken", "nobody", *sorted(("face", "silent"), key=lambda c: rows[c][6]), "tone"]
    rates = {name: row[4] for name, row in rows.items()}
    assert rates == {"broken": None, "nobody": 0.0, "face": 1.0, "silent": 1.0, "tone": None}
    assert rows["face"][1:3] == ["all", "Happy"]
    assert "not a video" in str(rows["broken"][-3])
    assert rows["nobody"][-2] == "no face in any frame"
    assert rows["tone"][-2] == "no video stream: sound only"
    drawn = {name: str(row[-1]) for name, row in rows.items() if row[-1]}
    assert sorted(drawn) == ["face", "nobody", "silent", "tone"]
    for path in drawn.values():
        with Image.open(out / path) as sheet:
            assert sheet.width == 1280
            assert (out / path).stat().st_size < 250_000
    assert f"{out / 'index.html'}: 5 clips, 4 sheets" in result.output


def test_a_sheet_shows_box_points_chip_ribbon_and_speech(shown: tuple[Path, Result]) -> None:
    with FeatureStore(shown[0] / "store") as opened_store:
        rows = {Path(row.clip.id).name: row for row in opened_store.rows}
        subjects = {name: subject_of(opened_store, row) for name, row in rows.items()}
        tracks = {n: opened_store.read(rows[n], "faces") for n in ("face", "silent", "nobody")}
    face = draw(subjects["face"], tracks["face"], 4)
    assert pixels(face, FACE) > 5000 and pixels(face, POINT) > 40 and pixels(face, SPEECH) > 2000
    assert pixels(face, NO_FACE) == 0
    nobody = draw(subjects["nobody"], tracks["nobody"], 4)
    assert pixels(nobody, NO_FACE) > 30_000 and pixels(nobody, FACE) == 0 and pixels(nobody, POINT) == 0
    assert pixels(draw(subjects["silent"], tracks["silent"], 4), SPEECH) == 0
    jumping = {**tracks["face"], "box": tracks["face"]["box"].copy()}
    jumping["box"][3:] += 500
    ribbon = (0, face.height - TIMELINE, face.width, face.height)
    assert pixels(face.crop(ribbon), POINT) == 0
    assert pixels(draw(subjects["face"], jumping, 4).crop(ribbon), POINT) > 60
    assert pixels(draw(subjects["tone"], None, 4), FACE) == 0

    side, below = strip(4)[0] - 6, TIMELINE
    row = int(0.5 * 6 / 4)  # of the six frames looked at, what the first of four columns shows
    time_shown = tracks["face"]["times"][row]
    frames = {frame.time: frame.image for frame in Media(rows["face"].clip.path).frames()}
    matrix = compose(window_transform((0, 0, 1), CHIP_SIZE, side), tracks["face"]["transform"][row])
    expected = sampled(frames[time_shown], matrix, side)
    top = face.height - below - strip(4)[0]
    chip = np.asarray(face)[top : top + side, MARGIN : MARGIN + side].astype(float)
    assert np.abs(chip - expected).mean() < 1.5


def sampled(frame: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Bilinear sampling in plain float64; outside the frame is black."""
    linear = np.linalg.inv(matrix[:, :2])
    y, x = np.mgrid[:size, :size]
    points = (np.stack([x, y], -1) - matrix[:, 2]) @ linear.T
    padded = np.pad(frame.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    at = np.clip(points + 1, 0, np.array(padded.shape[1::-1]) - 1.000001)
    low = at.astype(int)
    part = at - low
    values = np.zeros((size, size, 3))
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dx - part[..., 0]) * np.abs(1 - dy - part[..., 1])
            values += weight[..., None] * padded[low[..., 1] + dy, low[..., 0] + dx]
    return values


def test_figures_of_a_track() -> None:
    nowhere = np.full(4, np.nan, np.float32)
    box = np.array([[0, 0, 40, 40], [20, 0, 60, 40], nowhere, [100, 100, 130, 120], [100, 100, 130, 120]])
    track = {
        "times": np.array([0.5, 1.5, 2.5, 3.5, 4.5]),
        "box": box.astype(np.float32),
        "confidence": np.array([1.0, 0.5, 0, 0.25, 0.25], np.float32),
        "has_face": np.array([True, True, False, True, True]),
    }
    assert jumps(track) == pytest.approx([0, 1 - 800 / 2400, 0, 0, 0])
    facts = track_facts(track)
    assert (facts.frames, facts.faces, facts.rate, facts.seconds) == (5, 4, 0.8, 5.0)
    assert (facts.confidence, facts.lowest_confidence, facts.smallest_face) == (0.5, 0.25, 20)
    assert facts.largest_jump == pytest.approx(2 / 3)
    every_frame = np.arange(50) / 25
    assert seconds_of(every_frame) == pytest.approx(2.0)
    assert seconds_of(every_frame[:0]) == 0


def test_what_is_there_is_kept_and_what_changed_is_drawn_anew(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert preview(store, "--out", out).exit_code == 1
    first = sheets(out)
    preview(store, "--out", out)
    assert sheets(out) == first
    (missing,) = (name for name in first if "nobody" in name)
    (out / "sheets" / missing).unlink()
    preview(store, "--out", out)
    assert {name for name, written in sheets(out).items() if first[name] != written} == {missing}
    preview(store, "--out", out, "--frames", "3")
    assert len(sheets(out)) == len(first) and not set(sheets(out)) & set(first)


def test_a_store_is_only_read(store: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    preview(store, "--out", tmp_path / "out")
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def test_a_clip_that_is_gone_or_changed(store: Path, tmp_path: Path, make_clip: MakeClip) -> None:
    (tmp_path / "clips" / "Happy" / "face.mp4").unlink()
    make_clip(tmp_path / "clips" / "Sad" / "nobody.mp4", frames=20)
    os.utime(tmp_path / "clips" / "Happy" / "silent.mp4")  # touched, and the same still
    out = tmp_path / "out"
    result = preview(store, "--out", out)
    assert result.exit_code == 1
    assert "failed: all/Happy/face: its file is gone" in result.stderr
    rows = listed(out)
    assert set(list(rows)[:2]) == {"face", "broken"}
    assert rows["face"][4] == 1.0 and rows["face"][-1]
    with Image.open(out / str(rows["face"][-1])) as sheet:  # its ribbon stands, its frames are not there
        colours = np.asarray(sheet).astype(int)
    assert (np.abs(colours - ImageColor.getrgb(FACE)).max(-1) < 12).sum() > 5000
    assert rows["nobody"][-2] == "its file has changed since its faces were found; no face in any frame"
    assert rows["silent"][-3:-1] == ["", ""]


def test_a_damaged_shard_costs_its_clips_only(store: Path, tmp_path: Path) -> None:
    with FeatureStore(store) as opened_store:
        row = next(row for row in opened_store.rows if row.clip.id == "Happy/face")
        stored = opened_store.read(row, "faces")["confidence"].tobytes()
    (shard,) = (store / "shards").iterdir()
    data = shard.read_bytes()
    assert data.count(stored) == 1
    shard.write_bytes(data.replace(stored, bytes(len(stored))))
    result = preview(store, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "failed: all/Happy/face: its stored face track cannot be read" in result.stderr
    rows = listed(tmp_path / "out")
    assert {name: row[4] for name, row in rows.items()}["silent"] == 1 and len(rows) == 5


def test_sheets_of_the_worst_alone(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = preview(store, "--out", out, "--sheets", "1", "--json")
    told = json.loads(result.stdout)
    assert [clip["id"] for clip in told["clips"] if clip["sheet"]] == ["Sad/nobody"]
    by_id = {Path(clip["id"]).name: clip for clip in told["clips"]}
    assert by_id["broken"]["problem"] and by_id["broken"]["detection_rate"] is None
    assert by_id["face"]["detection_rate"] == 1 and by_id["face"]["smallest_face"] > 50
    assert "2 of 5 clips have no sheet yet" in (out / "index.html").read_text()
    preview(store, "--out", out, "--sheets", "0")
    preview(store, "--out", out, "--sheets", "1")
    assert len(sheets(out)) == 4  # those drawn before are shown still


def test_arguments_that_make_no_sense(store: Path, tmp_path: Path, folder: Path) -> None:
    cases: list[tuple[list[str | Path], tuple[str, ...]]] = [
        ([store, "--detector", "dlib"], ("is a store", "--detector")),
        ([store, tmp_path / "clips"], ("is a store", "alone")),
        ([tmp_path / "nothing"], ("nothing", "does not exist")),
        ([folder / "clips" / "Sad" / "nobody.mp4", tmp_path / "no.mp4"], ("no.mp4", "does not exist")),
        ([folder / "clips" / "Sad" / "nobody.mp4", folder], ("is a folder", "alone")),
        ([tmp_path / "clips", "--store", store, "--max-frames", "7"], ("6 / 7", "--store")),
        ([folder / "clips", "--out", folder / "preview", "--max-frames", "7"], ("6 / 7", "--store")),
        (
            [*[folder / "clips" / "Sad" / f"{n}.mp4" for n in ("nobody", "broken")], "--labels", "a"],
            ("--labels",),
        ),
        ([tmp_path / "clips", "--detector", "eyes"], ("no detector 'eyes'",)),
    ]
    for arguments, words in cases:
        result = preview("--out", tmp_path / "out", *arguments)
        assert result.exit_code == 2, (arguments, result.output)
        for word in words:
            assert word in result.stderr
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    result = preview(store, "--out", tmp_path / "site")
    assert result.exit_code == 2 and "not a preview" in result.stderr
    assert (tmp_path / "site" / "index.html").read_text() == "mine"


def test_several_files(folder: Path, tmp_path: Path) -> None:
    files = [folder / "clips" / "Happy" / "silent.mp4", folder / "clips" / "Sad" / "nobody.mp4"]
    result = preview(*files, "--out", tmp_path / "out", "--max-frames", "2")
    assert result.exit_code == 0, result.output
    assert {name: row[4] for name, row in listed(tmp_path / "out").items()} == {"silent": 1, "nobody": 0}


@pytest.mark.slow
def test_interrupted_and_gone_on_with(folder: Path, tmp_path: Path) -> None:
    for number in range(COPIES):
        (tmp_path / "clips").mkdir(exist_ok=True)
        shutil.copy(folder / "clips" / "Sad" / "nobody.mp4", tmp_path / "clips" / f"{number}.mp4")
    store, out = tmp_path / "store", tmp_path / "out"
    preview(tmp_path / "clips", "--store", store, "--out", tmp_path / "first", "--max-frames", "1")
    code = "from avemo.pipelines.cli.main import main; main()"
    arguments = [sys.executable, "-c", code, "preview", str(store), "--out", str(out), "--workers", "1"]
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        patience = time.monotonic() + 60
        while not list(out.glob("sheets/*.jpg")) and time.monotonic() < patience:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
    drawn = {name for name in sheets(out) if name.endswith(".jpg")}
    assert 0 < len(drawn) < COPIES
    assert {Path(str(row[-1])).name for row in listed(out).values() if row[-1]} == drawn
    assert preview(store, "--out", out).exit_code == 0
    assert len(sheets(out)) == COPIES


def test_real_clips(shared: Path, tmp_path: Path) -> None:
    media = [shared / "data" / "media" / f"{name}.mp4" for name in ("no_face", "no_audio", "single_face")]
    recorded = shared / "data" / "java_sed" / "clips" / "01-02-03_01.mp4"
    result = preview(*media, recorded, "--out", tmp_path / "out", "--max-frames", "4", "--frames", "4")
    assert result.exit_code == 0, result.output
    rates = {name: row[4] for name, row in listed(tmp_path / "out").items()}
    assert (
        rates["no_face"] == 0 and min(float(str(rates[name])) for name in ("no_audio", "single_face")) >= 0.5
    )
    assert 0.25 <= float(str(rates["01-02-03_01"])) < 1  # it begins with dark frames
    assert len(sheets(tmp_path / "out")) == 4


def names(page: Page) -> list[str]:
    return page.locator(".card b").all_text_contents()


@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (PHONE, True)])
def test_the_page_in_a_browser(
    shown: tuple[Path, Result], browser: Browser, size: tuple[int, int], dark: bool
) -> None:
    with opened(browser, shown[0] / "index.html", size, dark) as page:
        assert names(page)[:2] == ["all/Sad/broken", "all/Sad/nobody"]
        assert "not a video" in page.locator(".card").first.inner_text()
        page.wait_for_function("[...document.images].every((image) => image.naturalWidth === 1280)")
        assert len(page.query_selector_all(".card img")) == 4

        page.select_option("#sort", "name")
        assert names(page) == [
            f"all/{n}" for n in ("Sad/broken", "Happy/face", "Happy/silent", "Sad/nobody", "Sad/tone")
        ]
        page.click("#reverse")
        assert names(page) == [
            f"all/{n}" for n in ("Sad/broken", "Sad/tone", "Sad/nobody", "Happy/silent", "Happy/face")
        ]
        page.click("#reverse")
        page.select_option("#label", "Happy")
        assert names(page) == ["all/Happy/face", "all/Happy/silent"]
        page.select_option("#label", "*")
        page.select_option("#show", "faceless")
        assert names(page) == ["all/Sad/nobody"]
        page.select_option("#show", "all")
        page.fill("#find", "SILENT mp4")
        assert names(page) == ["all/Happy/silent"] and page.inner_text("#count") == "1 of 5"
        page.fill("#find", "")

        page.locator(".card", has_text="all/Happy/face").focus()
        page.keyboard.press("Enter")
        assert page.inner_text("#name") == "all/Happy/face"
        page.wait_for_function("document.querySelector('#sheet img').naturalWidth === 1280")
        page.keyboard.press("ArrowRight")
        assert page.inner_text("#name") == "all/Happy/silent"
        page.keyboard.press("End")
        assert page.inner_text("#name") == "all/Sad/tone" and page.is_disabled("#next")
        page.keyboard.press("Home")
        assert page.inner_text("#name") == "all/Sad/broken" and "not a video" in page.inner_text("#facts")
        page.click("#next")
        page.keyboard.press("Escape")
        assert not page.is_visible("#large")
        assert page.evaluate("document.activeElement.innerText").startswith("all/Happy/face")


def made_up(count: int) -> list[Subject]:
    """Clips as a large corpus has them: long ids and paths, some failed."""
    draws = np.random.default_rng(0)
    subjects = []
    for number in range(count):
        clip = Clip(
            f"Session{number % 5}_recording_{number:06d}",
            ("train", "val", "test")[number % 3],
            f"/data/corpus/part{number % 7}/recording_{number:06d}.mp4",
            ("Angry", "Happy", "Sad")[number % 3],
        )
        rate, confidence, jump = draws.random(3)
        facts = TrackFacts(100, int(rate * 100), 3.2, confidence, confidence / 2, 80.0, jump)
        problem = "not a video or sound that FFmpeg reads (Invalid data); replace it"
        subjects.append(Subject(clip, facts, problem if number % 100 == 0 else "", (), ""))
    return subjects


def test_ten_thousand_clips(browser: Browser, tmp_path: Path) -> None:
    subjects = made_up(10_000)
    paths = {s.clip.key: f"sheets/{s.clip.split}_{s.clip.id}-0123456789ab.jpg" for s in subjects[:1000]}
    (tmp_path / "sheets").mkdir()
    for path in paths.values():
        Image.new("RGB", (1280, 549)).save(tmp_path / path, quality=1)
    page_path = tmp_path / "index.html"
    page_path.write_text(index("corpus", "Faces.", subjects, paths, 8), encoding="utf-8")
    assert page_path.stat().st_size < 3e6
    started = time.monotonic()
    with opened(browser, page_path) as page:
        assert page.locator(".card").count() < 400
        assert time.monotonic() - started < 10
        assert page.locator(".card").first.inner_text().endswith("replace it")
        started = time.monotonic()
        page.fill("#find", "recording_009999")
        assert names(page) == ["train/Session4_recording_009999"]
        page.fill("#find", "")
        page.select_option("#sort", "confidence")
        assert time.monotonic() - started < 10
        before = page.locator(".card").count()
        page.keyboard.press("End")
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        page.wait_for_function(f"document.querySelectorAll('.card').length > {before}")


HOSTILE = (
    "</script><img src=x onerror=ran()>",
    '"><script>ran()</script>',
    "'><svg onload=ran()>",
    "javascript:ran()",
    "<!--<script>",
    "]]>&lt;b&gt;{{ 7 * 7 }}${7 * 7}",
    "\u2028ran()//",
)


def test_names_are_text(browser: Browser, tmp_path: Path) -> None:
    subjects = [Subject(Clip(name, name, name, name, name), None, name, (name,), "") for name in HOSTILE]
    sheets = {subject.clip.key: name for subject, name in zip(subjects, HOSTILE, strict=True)}
    page_path = tmp_path / "index.html"
    page_path.write_text(index(HOSTILE[1], HOSTILE[0], subjects, sheets, 8), encoding="utf-8")
    with browser.new_context(offline=True) as context:
        page = context.new_page()
        ran: list[str] = []
        page.expose_function("ran", lambda: ran.append("a script of a name"))
        page.on("pageerror", lambda error: ran.append(str(error)))
        page.goto(page_path.as_uri())
        assert {*names(page)} == {f"{name}/{name}" for name in HOSTILE}
        for place in range(len(HOSTILE)):
            page.locator(".card").nth(place).click()
            assert page.inner_text("#name").replace("\n", "\u2028") in {f"{name}/{name}" for name in HOSTILE}
            page.keyboard.press("Escape")
        for name in HOSTILE:
            page.select_option("#label", name)
        made = page.evaluate(
            "[...document.querySelectorAll('*')].flatMap((e) => [...e.attributes]"
            ".filter((a) => a.name.startsWith('on') || /^ *javascript:/i.test(a.value) && a.name !== 'value')"
            ".map((a) => e.tagName + a.name + a.value))"
        )
        assert made == [] and page.locator("svg, #list script, #facts *").count() == 0
        assert ran == []
