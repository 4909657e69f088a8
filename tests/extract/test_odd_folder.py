"""``avemo-extract`` over a folder that holds one file of every odd kind: docs/formats.md shows its output."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from avemo.extract.decode import hdr
from avemo.pipelines.cli.extract import main

from . import test_odd_media as odd
from .test_odd_sound import garbage, remuxed, tone, write_sound

MakeClip = Callable[..., Path]


def make_folder(folder: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One clip of every kind; a photograph's face is in the pictures where their kind leaves room for one."""
    astronaut = pytest.importorskip("skimage.data").astronaut()[:270, 60:420]

    def faces(count: int, size: tuple[int, int] = (270, 360)) -> list[np.ndarray]:
        picture = cv2.resize(astronaut, size[::-1], interpolation=cv2.INTER_AREA)
        return [np.roll(picture, number % 7, axis=1) for number in range(count)]

    def moved(left: int) -> np.ndarray:
        return np.roll(faces(1, (288, 352))[0], left // 4, axis=1)

    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(odd, "grey", lambda count, size=(270, 360): faces(count, size))
        patch.setattr(odd, "bar", moved)
        odd.make_joined(folder / "joined.ts")
        odd.make_interlaced(folder / "interlaced.ts")
        odd.make_damaged(folder / "damaged-pictures.avi")
        odd.make_trimmed(folder / "trimmed.mp4")
        odd.make_raw(folder / "raw.m2v", "mpeg2video")
        odd.make_raw(folder / "animation.gif", "gif", 12)
        odd.write_video(folder / "eight-k.mkv", faces(2, (4320, 5760)), "mjpeg", pix_fmt="yuvj420p")
    squeezed = faces(3, (576, 720))
    odd.write_video(folder / "wide-pixels.mkv", squeezed, sample_aspect_ratio=Fraction(16, 15))
    odd.make_two_angles(folder / "two-video-tracks.mkv")
    odd.make_hdr(folder / "hdr-pq.mkv", hdr.PQ)
    odd.make_hdr(folder / "hdr-hlg.mkv", hdr.HLG)

    sound = tone(1.0)
    write_sound(folder / "gap.mkv", (0.0, sound), (2.0, sound), pictures=75)
    write_sound(folder / "opposite-phase.wav", (0.0, np.stack([sound, -sound])), layout="stereo")
    write_sound(folder / "surround.wav", (0.0, np.stack([sound] * 6)), layout="5.1")
    write_sound(folder / "not-a-number.mkv", (0.0, np.where(sound > 0.49, np.nan, sound)), pictures=25)
    for name, layout, samples in (("a", "stereo", np.stack([sound] * 2)), ("b", "mono", sound)):
        write_sound(folder / f"{name}.ac3", (0.0, samples), codec="ac3", layout=layout)
    halves = [folder / "a.ac3", folder / "b.ac3"]
    (folder / "format-changes.ac3").write_bytes(b"".join(half.read_bytes() for half in halves))
    whole = write_sound(folder / "whole.mkv", (0.0, tone(2.0)), codec="mp2", pictures=50)
    remuxed(
        whole,
        folder / "damaged-sound.mkv",
        lambda packet, n: [garbage(packet) if packet.stream.type == "audio" and 20 <= n < 40 else packet],
    )
    film = make_clip(folder / "film.mkv", 25)
    remuxed(
        film,
        folder / "undecodable-pictures.mkv",
        lambda packet, _: [garbage(packet) if packet.stream.type == "video" else packet],
    )
    for helper in (*halves, whole, film):
        helper.unlink()
    return folder


@pytest.mark.slow
def test_one_of_every_kind(tmp_path: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "odd", make_clip, monkeypatch)
    options = ["--store", str(tmp_path / "store"), "--max-frames", "8", "--tta", "none", "--workers", "1"]
    result = CliRunner().invoke(main, [str(folder), *options])
    assert result.exit_code == 1, result.output
    lines = result.output.splitlines()
    wrong = {line.split(" (")[0] for line in lines if line.startswith(("failed: ", "damaged: "))}
    assert wrong == {
        "failed: all/not-a-number",
        "failed: all/undecodable-pictures",
        "damaged: all/damaged-pictures",
        "damaged: all/damaged-sound",
    }
    for name in ("joined", "interlaced", "wide-pixels", "trimmed", "raw", "animation", "eight-k"):
        assert not [line for line in lines if f"all/{name} " in line and "no face" in line]
    assert (
        "pictures: 1 clip tone-mapped from HLG, 1 clip tone-mapped from PQ, 1 clip deinterlaced, "
        "1 clip stretched from pixels of 16/15"
    ) in lines
