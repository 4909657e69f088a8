"""``avemo-extract`` as people use it: what each kind of bad input costs, says, and returns."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from avemo.cache.clips import Clip
from avemo.cache.store import VERSION, FeatureStore
from avemo.extract import DEFAULT_BACKBONE
from avemo.extract.backbones import get
from avemo.extract.clip import ClipJob, ClipResult
from avemo.pipelines.cli.extract import main
from avemo.pipelines.cli.extraction import Notes
from avemo.pipelines.cli.store import merge, status

MakeClip = Callable[..., Path]
HEAVY = ("torch", "torchvision", "cv2", "numpy", "h5py", "librosa", "dlib", "av", "sklearn", "joblib")


def extract(folder: Path, *options: str | Path) -> Result:
    """Run the command over ``folder/clips`` into ``folder/store``, in this process; a bug raises."""
    arguments = [folder / "clips", "--store", folder / "store", "--tta", "none", "--workers", "1", *options]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def lines_on(output: str, name: str) -> list[str]:
    """The lines that speak of ``name``; the progress bar, drawn over itself, is none."""
    lines = (line.strip() for line in re.split(r"[\r\n]", output))
    return [line for line in lines if name in line and "clip/s" not in line]


def only_line_on(output: str, name: str) -> str:
    (line,) = lines_on(output, name)
    return line


def assert_refused(result: Result, *words: str | Path) -> None:
    """Exit code 2, and one line for people with all of ``words``, in letters of any case."""
    assert result.exit_code == 2, result.output
    line = only_line_on(result.output, "Error: ").lower()
    for word in words:
        assert str(word).lower() in line
    assert "[errno" not in line


def stored(folder: Path) -> dict[str, str]:
    """What became of each clip's faces: a status by id."""
    with FeatureStore(folder / "store") as store:
        return {row.clip.id: row.entries["faces"].status for row in store.rows}


@pytest.fixture
def folder(tmp_path: Path, make_clip: MakeClip) -> Path:
    """``clips`` with one good clip in it."""
    (tmp_path / "clips").mkdir()
    make_clip(tmp_path / "clips" / "good.mp4", frames=3)
    return tmp_path


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from avemo.pipelines.cli.extract import main\n"
        "try: main(['--help'])\n"
        f"finally: print('heavy:', sorted(set({HEAVY}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "--backbone" in done.stdout
    assert done.stdout.endswith("heavy: []\n")


def test_a_whole_run_and_a_second_one(folder: Path) -> None:
    first = extract(folder)
    assert first.exit_code == 0
    assert "1 of 1 clip" in first.output
    again = extract(folder)
    assert again.exit_code == 0
    assert "nothing to do" in again.output


def test_failed_clips_alone_are_tried_again_and_counted_by_stage(folder: Path, make_clip: MakeClip) -> None:
    assert_refused(extract(folder, "--retry-failed"), "--retry-failed would do nothing", "no store")
    (folder / "clips" / "bad.mp4").write_text("no clip")
    first = extract(folder)
    assert first.exit_code == 1
    assert (
        only_line_on(first.output, "failed in") == "failed in: open 1; --retry-failed tries these clips again"
    )
    told = CliRunner().invoke(status, [str(folder / "store")])
    assert "failed in open 1:" in told.output

    for name in ("bad", "new"):
        make_clip(folder / "clips" / f"{name}.mp4", frames=2)
    again = extract(folder, "--retry-failed")
    assert again.exit_code == 0, again.output
    assert stored(folder) == {"bad": "ok", "good": "ok"}  # a new clip is none that failed


def test_parts_of_a_corpus_join(folder: Path, make_clip: MakeClip) -> None:
    for number in range(4):
        make_clip(folder / "clips" / f"more-{number}.mp4", frames=2)
    (folder / "clips" / "bad.mp4").write_text("no video")
    for number in (1, 2, 3):
        result = extract(folder, "--part", f"{number}/3", "--store", folder / f"part-{number}")
        assert only_line_on(result.output, "2 of 2 clips")
    parts = [folder / f"part-{number}" for number in (1, 2, 3)]
    merged = CliRunner().invoke(merge, [str(folder / "whole"), *map(str, parts)])
    assert merged.exit_code == 0, merged.output
    with FeatureStore(folder / "whole") as store:
        names = sorted(row.clip.id for row in store.rows)
    assert names == ["bad", "good", "more-0", "more-1", "more-2", "more-3"]
    assert extract(folder, "--part", "2/3", "--store", folder / "whole").exit_code == 0


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "1/" + 5000 * "9"])
def test_a_part_that_is_none(folder: Path, text: str) -> None:
    assert_refused(extract(folder, "--part", text), repr(text), "as 3/16")


def test_processes_and_names_of_all_kinds(folder: Path, make_clip: MakeClip) -> None:
    """In a process of its own with workers: what a shell gets."""
    names = ["with space", "smörgås 表情", "-dash", "a;b&c'd", "100%{x}"]
    for name in names:
        make_clip(folder / "clips" / f"{name}.mp4", frames=2)
    (folder / "clips" / "bäd one.mp4").write_text("not a clip")
    call = "from avemo.pipelines.cli.extract import main; main()"
    options = ["--store", "store", "--tta", "none", "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-c", call, "clips", *options],
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert only_line_on(done.stderr, "bäd one").startswith("failed: all/bäd one (")
    assert stored(folder) == {**dict.fromkeys(["good", *names], "ok"), "bäd one": "failed"}


def text(path: Path, make_clip: MakeClip) -> None:
    path.write_text("not a clip")


def empty(path: Path, make_clip: MakeClip) -> None:
    path.write_bytes(b"")


def without_video(path: Path, make_clip: MakeClip) -> None:
    make_clip(path, frames=0)


def without_sound(path: Path, make_clip: MakeClip) -> None:
    make_clip(path, frames=3, sound=False)


def nobody(path: Path, make_clip: MakeClip) -> None:
    make_clip(path, frames=3)


def one_frame(path: Path, make_clip: MakeClip) -> None:
    make_clip(path, frames=1)


def copied(path: Path, make_clip: MakeClip, **layout: str) -> bytes:
    """The bytes of a clip of six seconds whose container is laid out in a certain way."""
    whole = path.with_name(f"whole{path.suffix}")
    plain = make_clip(path.with_name("plain.mp4"), frames=60, fps=10, sound=False)
    with av.open(str(plain)) as source, av.open(str(whole), "w", options=layout) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    content = whole.read_bytes()
    plain.unlink()
    whole.unlink()
    return content


def cut_before_its_index(path: Path, make_clip: MakeClip) -> None:
    content = copied(path, make_clip)
    path.write_bytes(content[: len(content) // 2])


def cut_after_its_index(path: Path, make_clip: MakeClip) -> None:
    content = copied(path, make_clip, movflags="faststart")
    path.write_bytes(content[: len(content) // 2])


def cut_without_an_index(path: Path, make_clip: MakeClip) -> None:
    content = copied(path, make_clip)
    path.write_bytes(content[: len(content) // 2])


BAD_CLIPS = [
    (text, "mp4", "failed", "failed", ("not a video or sound", "replace")),
    (empty, "mp4", "failed", "failed", ("empty", "copy it again")),
    (cut_before_its_index, "mp4", "failed", "failed", ("not a video or sound", "replace")),
    (cut_after_its_index, "mp4", "damaged", "ok", ("cut short", "what could be read is used")),
    (cut_without_an_index, "mkv", "damaged", "ok", ("cut short", "what could be read is used")),
    (without_video, "mp4", "note", "absent", ("no video stream", "masked")),
    (without_sound, "mp4", "note", "ok", ("no sound", "masked")),
    (nobody, "mp4", "note", "ok", ("no face", "whole frames are used")),
    (one_frame, "mp4", "note", "ok", ("no face", "whole frames are used")),
]


@pytest.mark.parametrize(
    ("make", "suffix", "said", "status", "words"), BAD_CLIPS, ids=[case[0].__name__ for case in BAD_CLIPS]
)
def test_a_bad_clip_costs_itself_only(
    folder: Path,
    make_clip: MakeClip,
    make: Callable[[Path, MakeClip], None],
    suffix: str,
    said: str,
    status: str,
    words: tuple[str, ...],
) -> None:
    path = folder / "clips" / f"odd.{suffix}"
    make(path, make_clip)
    result = extract(folder)
    assert result.exit_code == (0 if said == "note" else 1), result.output
    (line,) = [line for line in lines_on(result.output, str(path)) if words[0] in line]
    assert line.startswith(f"{said}: all/odd (")
    for word in words:
        assert word in line
    assert stored(folder) == {"good": "ok", "odd": status}


def test_dropped_frames_are_no_damage(folder: Path) -> None:
    """An AVI counts the frames that a camera dropped; nothing of the file is missing."""
    path = folder / "clips" / "dropped.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in (0, 1, 2, 5, 6, 9):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    result = extract(folder)
    assert result.exit_code == 0, result.output
    assert "damaged" not in result.output


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may read every file")
def test_a_clip_that_may_not_be_read(folder: Path, make_clip: MakeClip) -> None:
    path = make_clip(folder / "clips" / "locked.mp4")
    path.chmod(0)
    result = extract(folder)
    assert result.exit_code == 1
    line = only_line_on(result.output, str(path))
    assert "is not readable; change its permissions" in line
    assert stored(folder) == {"good": "ok", "locked": "failed"}


def test_what_failed_is_tried_again(folder: Path, make_clip: MakeClip) -> None:
    path = folder / "clips" / "odd.mp4"
    path.write_text("not a clip")
    assert extract(folder).exit_code == 1
    assert "1 of 2 clips to do" in extract(folder).output
    make_clip(path, frames=2)
    assert extract(folder).exit_code == 0
    assert stored(folder) == {"good": "ok", "odd": "ok"}


def test_two_clips_of_one_id(folder: Path, make_clip: MakeClip) -> None:
    for place in ("Train_AFEW/Happy", "Train_AFEW/Sad", "Val_AFEW/Sad"):
        (folder / "clips" / place).mkdir(parents=True)
        make_clip(folder / "clips" / place / "0001.mp4", frames=2)
    (folder / "clips" / "good.mp4").unlink()
    result = extract(folder)
    assert result.exit_code == 1
    line = only_line_on(result.output, "left out")
    for word in ("Train_AFEW/Sad/0001.mp4", "'0001'", "Train_AFEW/Happy/0001.mp4", "rename"):
        assert word in line
    with FeatureStore(folder / "store") as store:
        assert [row.clip.key for row in store.rows] == [("train", "0001"), ("val", "0001")]


def test_an_unknown_class_folder(folder: Path, make_clip: MakeClip) -> None:
    for name in ("Happy", "Sad", "Hapy"):
        (folder / "clips" / "Train_AFEW" / name).mkdir(parents=True)
        make_clip(folder / "clips" / "Train_AFEW" / name / f"{name}.mp4", frames=2)
    (folder / "clips" / "good.mp4").unlink()
    result = extract(folder)
    assert result.exit_code == 1
    line = only_line_on(result.output, "left out")
    assert "Train_AFEW/Hapy" in line
    assert "unknown class folder" in line
    assert "Surprise" in line  # the classes that there are
    assert set(stored(folder)) == {"Happy", "Sad"}


def test_no_clips(folder: Path) -> None:
    (folder / "clips" / "good.mp4").rename(folder / "clips" / "good.txt")
    assert_refused(extract(folder), "no clips", folder / "clips", ".mp4")
    (folder / "clips" / "good.txt").unlink()
    assert_refused(extract(folder), "no clips", folder / "clips", ".mp4")
    (folder / "clips").rmdir()
    assert_refused(extract(folder), folder / "clips", "does not exist", "name a folder")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--backbone", "resnet81", "resnet18"),
        ("--audio-backbone", "alexnot@x", "alexnet"),
        ("--detector", "dlob", "yunet"),
        ("--dataset", "afev", "afew"),
        ("--tta", "meanst", "meanstd2"),
        ("--precision", "fp8", "bf16"),
        ("--device", "gpu", "cuda"),
        ("--device", "cpu:0,1", "cuda:0,1"),
        ("--max-frames", "0", "1"),
    ],
)
def test_an_unknown_name(folder: Path, option: str, value: str, expected: str) -> None:
    assert_refused(extract(folder, option, value), value.partition("@")[0], expected)
    assert not (folder / "store").exists()  # nothing is left behind


@pytest.mark.parametrize(
    ("device", "present"),
    [
        ("cuda", torch.cuda.is_available()),
        ("cuda:9", torch.cuda.device_count() > 9),
        ("mps", torch.backends.mps.is_available()),
    ],
)
def test_a_device_that_is_not_there(folder: Path, device: str, present: bool) -> None:
    if present:
        pytest.skip(f"this machine has {device}")
    assert_refused(extract(folder, "--device", device), device, "cpu")


@pytest.mark.parametrize("backbone", ["resnet18", "mobilefacenet", "ir50", "dlib"])
def test_a_web_page_for_a_checkpoint(folder: Path, backbone: str) -> None:
    page = folder / "weights file.pt"
    page.write_text("<!DOCTYPE html><html>Please log in</html>")
    assert_refused(extract(folder, "--backbone", f"{backbone}@{page}"), page, "fetch")


def test_a_checkpoint_of_another_network(folder: Path) -> None:
    tensors = {"backbone.stem.weight": torch.zeros(8, 3, 3, 3)}
    for path, save in ((folder / "other.pt", torch.save), (folder / "other.safetensors", save_file)):
        save(tensors, path)
        for option in ("--backbone=resnet18", "--audio-backbone=alexnet"):
            result = extract(folder, f"{option}@{path}")
            assert_refused(result, path, "missing", "backbone.stem.weight", "Give the checkpoint that fits")


def test_a_checkpoint_of_the_old_default_network_under_the_new_name(folder: Path) -> None:
    path = folder / "old.safetensors"
    save_file(get("ferresnet").build().state_dict(), path)
    result = extract(folder, "--backbone", f"{DEFAULT_BACKBONE}@{path}")
    assert_refused(result, f"not weights of '{DEFAULT_BACKBONE}', but of ferresnet", f"ferresnet@{path}")
    assert not (folder / "store").exists()  # it is told before there is one


def test_a_checkpoint_that_would_run_code(folder: Path) -> None:
    path = folder / "model.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    assert_refused(extract(folder, "--backbone", f"resnet18@{path}"), path, "refused", "state_dict")


def test_a_network_without_its_file(folder: Path) -> None:
    assert_refused(extract(folder, "--backbone", "resnet18"), "resnet18@FILE")
    assert_refused(extract(folder, "--audio-backbone", "alexnet"), "alexnet@FILE")
    assert_refused(extract(folder, "--detector", "yunet"), "yunet@FILE", "avemo weights fetch")
    gone = folder / "gone.pt"
    for option in ("--backbone=resnet18", "--backbone=dlib", "--audio-backbone=alexnet", "--detector=yunet"):
        assert_refused(extract(folder, f"{option}@{gone}"), gone, "no such file")


def test_a_web_page_for_a_detector(folder: Path) -> None:
    page = folder / "yunet.onnx"
    page.write_text("<html>Please log in</html>")
    assert_refused(extract(folder, "--detector", f"yunet@{page}"), page, "fetch it again")


def test_a_store_of_another_version(folder: Path) -> None:
    assert extract(folder).exit_code == 0
    card = folder / "store" / "store.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "version": VERSION + 1}))
    assert_refused(extract(folder), folder / "store", f"version {VERSION + 1}", "extract into a new folder")


def test_a_store_that_is_something_else(folder: Path) -> None:
    (folder / "store").write_text("a file")
    assert_refused(extract(folder), folder / "store", "name")
    (folder / "store").unlink()
    (folder / "store").mkdir()
    (folder / "store" / "holiday.jpg").write_bytes(b"")
    assert_refused(extract(folder), folder / "store", "other files", "new folder")


def write_manifest(folder: Path, *rows: tuple[str, ...]) -> Path:
    path = folder / "my clips.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def test_a_row_of_a_manifest_that_cannot_be_used(folder: Path) -> None:
    manifest = write_manifest(
        folder, ("path", "label"), ("clips/good.mp4", "Happy"), ("clips/gone.mp4", "Sad")
    )
    result = extract(folder, "--manifest", manifest)
    assert result.exit_code == 1
    line = only_line_on(result.output, "gone.mp4")
    assert "row 3 of my clips.csv" in line
    assert "no file" in line
    assert stored(folder) == {"clips/good": "ok"}


def test_a_manifest_that_is_none(folder: Path) -> None:
    without_path = write_manifest(folder, ("file", "label"), ("clips/good.mp4", "Happy"))
    assert_refused(extract(folder, "--manifest", without_path), without_path, "'path'", "'file'")
    empty = write_manifest(folder)
    assert_refused(extract(folder, "--manifest", empty), empty, "'path'")
    only_gone = write_manifest(folder, ("path",), ("gone.mp4",))
    assert_refused(
        extract(folder, "--manifest", only_gone), only_gone, "no clip that can be used", "gone.mp4"
    )
    only_gone.write_bytes(b"path\n\xff\xfe.mp4\n")
    assert_refused(extract(folder, "--manifest", only_gone), only_gone, "UTF-8")
    only_gone.unlink()
    assert_refused(extract(folder, "--manifest", only_gone), only_gone, "cannot be read")


def test_a_file_that_is_no_clip(folder: Path) -> None:
    manifest = write_manifest(folder, ("path",), ("clips/good.mp4",))
    result = CliRunner().invoke(main, [str(manifest), "--store", str(folder / "store")])
    assert_refused(result, manifest, "--manifest")


def test_like_notes_are_counted() -> None:
    notes = Notes()
    shown, clip = [], Clip("a", "train", "a.wav")
    for number in range(535):
        result = ClipResult(ClipJob(clip, {}), notes=["has no video stream; its faces are masked"])
        if number < 5:
            result.notes.append(f"has no face in any of {10 + number} frames; whole frames are used")
        shown += notes.told(result)
    assert len(shown) == 6 and shown[0] == "note: train/a (a.wav): has no video stream; its faces are masked"
    assert notes.counted() == [
        "note: the same for 532 more clips: has no video stream; its faces are masked",
        "note: the same for 2 more clips: has no face in any of N frames; whole frames are used",
    ]
