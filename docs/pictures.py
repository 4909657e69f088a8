"""Makes the pictures of these pages.

    python docs/pictures.py curve extract/backbones/data/ferresnet.json docs/images/ferresnet-training.png
    python docs/pictures.py chips CLIPS docs/images/ferresnet-chips.jpg --rows 5
    python docs/pictures.py voice docs/images/voice-activity.png
    python docs/pictures.py preview CLIPS docs/images
    python docs/pictures.py report RUN/report.html docs/images
    python docs/pictures.py overlay RUN CLIP docs/images/overlay.jpg

Needs matplotlib (``pip install 'avemo[docs]'``), and playwright for preview and report.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from io import BytesIO
from pathlib import Path

import av
import click
import matplotlib
import numpy as np
import torch
from PIL import Image
from playwright.sync_api import sync_playwright

from avemo.cache.clips import Clip
from avemo.extract.align import CHIP_SIZE, compose, window_transform
from avemo.extract.backbones import BackboneSpec, get
from avemo.extract.decode.media import Media
from avemo.extract.mfcc_image import MFCC_IMAGE_SETTINGS, segment_starts, segment_times
from avemo.extract.plan import Plan
from avemo.extract.sound import Floats
from avemo.extract.streams.faces import find_faces
from avemo.extract.voice_activity import ENERGY_SHARE_SETTINGS, EnergyShare, speech_span
from avemo.extract.warp import warp
from avemo.pipelines.corpora.clips.find import find_clips
from avemo.pipelines.demo.voice import RATE, cast, speak
from avemo.pretrain.card import read_classifier

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # after the choice of the backend

SHOWN_PIXELS = 112
AVEMO = Path(sys.executable).with_name("avemo")
OVER_TIME = ("--window", "0.6", "--hop", "0.1")
RIGHT, WRONG = "#0b6e4f", "#a23b00"
SPEECH, KEPT, DROPPED = "#00508c", "#d7e6f2", "#9a9a9a"


@click.group()
def main() -> None:
    """Make a picture."""


@main.command()
@click.argument("card", type=click.Path(path_type=Path, exists=True))
@click.argument("out", type=click.Path(path_type=Path))
def curve(card: Path, out: Path) -> None:
    """The training of CARD over its epochs."""
    about = json.loads(card.read_text(encoding="utf-8"))
    history = about["history"]
    epochs = [epoch["epoch"] for epoch in history]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, what in zip(axes, ("loss", "accuracy"), strict=True):
        axis.plot(
            epochs, [epoch[f"train_{what}"] for epoch in history], "--", color="#777777", label="fitted"
        )
        axis.plot(epochs, [epoch[f"val_{what}"] for epoch in history], color="#00508c", label="held out")
        axis.set(xlabel="epoch", ylabel=what)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].plot(epochs, [epoch["val_uar"] for epoch in history], ":", color="#00508c", label="held out, UAR")
    axes[1].plot(about["best_epoch"], history[about["best_epoch"] - 1]["val_accuracy"], "o", color="#00508c")
    axes[1].set_ylim(0, 1)
    larger = next((e["epoch"] for e in history if e["size"] == history[-1]["size"]), 1)
    for axis in axes:
        if larger > 1:
            axis.axvline(larger - 0.5, color="#bbbbbb", lw=1)
            label = f"{history[0]['size']} → {history[-1]['size']} px"
            axis.annotate(label, (larger, 0.02), xycoords=("data", "axes fraction"), fontsize=8)
    axes[0].legend(frameon=False)
    axes[1].legend(frameon=False, loc="upper left")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)


@main.command()
@click.argument("clips", type=click.Path(path_type=Path, exists=True))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--rows", default=5, show_default=True)
@click.option("--columns", default=8, show_default=True)
@click.option("--backbone", default="ferplusnet", show_default=True)
@click.option("--skip", default=0, show_default=True, help="Number of clips of each class to skip.")
def chips(clips: Path, out: Path, rows: int, columns: int, backbone: str, skip: int) -> None:
    """Chips of a clip of each of ROWS classes, each with the network's class for it."""
    by_class: dict[str, list[Clip]] = defaultdict(list)
    for clip in find_clips(clips, "auto", None).clips:
        if clip.label:
            by_class[clip.label].append(clip)
    chosen = [found[min(skip, len(found) - 1)] for _, found in sorted(by_class.items())][:rows]
    default = get(backbone).default_weights
    assert default is not None
    classifier, spec, classes = read_classifier(default())
    size = (columns * 1.15 + 1, len(chosen) * 1.5)
    figure, grid = plt.subplots(len(chosen), columns, figsize=size, layout="constrained", squeeze=False)
    for row, clip in zip(grid, chosen, strict=True):
        faces, frames = find_faces(Plan(max_frames=columns), Media(clip.path, columns))
        for axis in row:
            axis.axis("off")
        for axis, frame, transform in zip(row, frames, faces["transform"], strict=False):
            small, shown = (
                _face(frame.image, transform, spec, side) for side in (spec.input_size, SHOWN_PIXELS)
            )
            grey = torch.from_numpy(small @ np.array([0.299, 0.587, 0.114], np.float32) / 255)
            with torch.no_grad():
                said = classifier(grey[None, None].float()).softmax(1)[0]
            best = int(said.argmax())
            axis.imshow(shown)
            axis.set_title(f"{classes[best]} {float(said[best]):.0%}", fontsize=8, pad=2,
                           color=RIGHT if classes[best] == clip.label else WRONG)  # fmt: skip
        row[0].text(-0.08, 0.5, clip.label, transform=row[0].transAxes, rotation=90, va="center", ha="right")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=100)


@main.command()
@click.argument("out", type=click.Path(path_type=Path))
def voice(out: Path) -> None:
    """Voice activity in the demo's voice between silence and noise."""
    samples, parts = _scene()
    seconds = len(samples) / RATE
    energy, s = EnergyShare(), ENERGY_SHARE_SETTINGS
    share, level = energy.measure([samples])
    active = energy.decide(share, level)
    speech, span = energy([samples]).speech, speech_span(energy, [samples], seconds)
    assert speech is not None
    assert span is not None
    middles = s.frame_times(len(share))
    figure, (wave, shares, cut) = plt.subplots(
        3, 1, figsize=(10, 5.2), layout="constrained", sharex=True, height_ratios=(2.2, 2, 1.1)
    )
    times = np.arange(len(samples)) / RATE
    inside = (times >= span[0]) & (times < span[1])
    for axis in (wave, shares, cut):
        axis.axvspan(*span, color=KEPT, lw=0)
        axis.spines[["top", "right"]].set_visible(False)
    for chosen, colour in ((inside, SPEECH), (~inside, DROPPED)):
        wave.plot(times, np.where(chosen, samples, np.nan), color=colour, lw=0.4)
    wave.set(ylabel="sound", ylim=(-0.62, 0.78), yticks=[])
    for (begin, end), name in parts:
        wave.text((begin + end) / 2, 0.62, name, ha="center", fontsize=9, color="#333333")
        if begin:
            wave.axvline(begin, ymax=0.86, color="#bbbbbb", lw=0.8, ls=":")
    shares.plot(middles, share, color="#333333", lw=0.9)
    shares.axhline(s.threshold, color=WRONG, lw=1, ls="--")
    shares.annotate(f"threshold {s.threshold:g}", (0.02, s.threshold + 0.04), color=WRONG, fontsize=9)
    shares.fill_between(middles, 1.08, 1.2, where=active, step="mid", color=SPEECH, lw=0)
    shares.annotate("speech", (0.02, 1.08), color=SPEECH, fontsize=9)
    for begin, end, name in ((span[0], speech[0], "δ₁"), (speech[1], span[1], "δ₂")):
        shares.annotate(
            "", (begin, 1.14), (end, 1.14), arrowprops={"arrowstyle": "<->", "shrinkA": 0, "shrinkB": 0}
        )
        shares.annotate(name, ((begin + end) / 2, 0.94), ha="center")
    shares.set(ylabel=f"share of\n{s.low_hz:g}-{s.high_hz:g} Hz", ylim=(0, 1.25), yticks=(0, 0.5, 1))
    starts = segment_starts(MFCC_IMAGE_SETTINGS.frame_count(len(samples)), *span)
    for number, (begin, end) in enumerate(segment_times(starts)):
        cut.barh(number % 3, end - begin, 0.62, begin, color=SPEECH, alpha=0.75)
    cut.set(ylabel="segments\nof 655 ms", yticks=[], ylim=(2.6, -0.6), xlabel="seconds", xlim=(0, seconds))
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)


@main.command()
@click.argument("clips", type=click.Path(path_type=Path, exists=True))
@click.argument("folder", type=click.Path(path_type=Path))
def preview(clips: Path, folder: Path) -> None:
    """The page of avemo preview over CLIPS, and a sheet, into FOLDER.

    One of the clips is cut, another gets a dark beginning. Needs playwright and Chromium.
    """
    with tempfile.TemporaryDirectory() as made:
        copied, out = Path(made) / "clips", Path(made) / "preview"
        shutil.copytree(clips, copied)
        cut, dark, *_ = sorted(copied.rglob("*.mp4"))
        cut.write_bytes(cut.read_bytes()[:2000])
        _darken(dark, 0.7)
        subprocess.run([AVEMO, "preview", copied, "--out", out, "--max-frames", "0"], check=False)
        sheet = next((out / "sheets").glob(f"*{dark.stem}*.jpg"))
        shutil.copy(sheet, folder / "preview-sheet.jpg")
        program = shutil.which("chromium") or shutil.which("google-chrome")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto((out / "index.html").as_uri())
            page.wait_for_load_state("networkidle")
            page.screenshot(path=folder / "preview-index.jpg", type="jpeg", quality=80)


@main.command()
@click.argument("page", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
def report(page: Path, folder: Path) -> None:
    """A report from its clips on, in a desktop window and, dark, on a phone, into FOLDER.

    Needs playwright and Chromium.
    """
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, width, height, scheme in (
            ("report-desktop", 1100, 1540, "light"),
            ("report-phone", 390, 844, "dark"),
        ):
            window = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=2
            )
            window.goto(page.resolve().as_uri())
            window.wait_for_function("document.documentElement.dataset.drawn === 'yes'")
            window.locator(".picker").evaluate("place => place.scrollIntoView()")
            window.wait_for_timeout(300)
            with Image.open(BytesIO(window.screenshot())) as shot:
                shot.thumbnail((1500, 3000))
                shot.convert("RGB").save(folder / f"{name}.jpg", quality=85, optimize=True)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("clip", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def overlay(run: Path, clip: Path, out: Path) -> None:
    """The frame in the middle of the overlay of CLIP by RUN."""
    with tempfile.TemporaryDirectory() as made:
        shown = Path(made) / "shown.mp4"
        files = ["--overlay", shown, "--out", Path(made) / "scores.csv"]
        subprocess.run([AVEMO, "fuse", "predict", run, clip, *files, *OVER_TIME], check=True)
        frames = list(Media(shown).frames())
    Image.fromarray(frames[len(frames) // 2].image).save(out, quality=90)


def _darken(path: Path, seconds: float) -> None:
    """Write a clip again with its first ``seconds`` black and its sound unchanged."""
    dark = path.with_suffix(".dark.mp4")
    with av.open(str(path)) as source, av.open(str(dark), "w") as target:
        pictures, sound = source.streams.video[0], source.streams.audio[0]
        video = target.add_stream("mpeg4", rate=pictures.average_rate, bit_rate=2_000_000)
        video.width, video.height, video.pix_fmt = pictures.width, pictures.height, "yuv420p"
        audio = target.add_stream_from_template(sound)
        for packet in source.demux(pictures, sound):
            if packet.stream is sound and packet.dts is not None:
                packet.stream = audio
                target.mux(packet)
            elif packet.stream is pictures:
                for frame in packet.decode():
                    image = frame.to_ndarray(format="rgb24")
                    if frame.time < seconds:
                        image //= 40
                    again = av.VideoFrame.from_ndarray(image, format="rgb24")
                    again.pts, again.time_base = frame.pts, frame.time_base
                    target.mux(video.encode(again))
        target.mux(video.encode(None))
    dark.replace(path)


def _scene() -> tuple[Floats, list[tuple[tuple[float, float], str]]]:
    """Return samples ``[N]``, and the time spans in seconds with their content."""
    rng = np.random.default_rng(4)
    speaker = cast(True, rng)
    first, second = (speak(speaker, "Neutral", frames, 25, rng)[0] for frames in (42, 36))

    def hiss(length: float) -> Floats:
        return rng.normal(0, 0.03, round(length * RATE)).astype(np.float32)

    pieces = [
        ("silence", np.zeros(RATE * 7 // 10)),
        ("noise", hiss(0.8)),
        ("speech", first),
        ("pause", np.zeros(RATE * 4 // 10)),
        ("speech", second),
        ("noise", hiss(0.7)),
        ("silence", np.zeros(RATE * 6 // 10)),
    ]
    edges = np.cumsum([0, *(len(piece) for _, piece in pieces)]) / RATE
    parts = [((edges[i], edges[i + 1]), name) for i, (name, _) in enumerate(pieces)]
    return np.concatenate([piece for _, piece in pieces]).astype(np.float32), parts


def _face(frame: np.ndarray, transform: np.ndarray, spec: BackboneSpec, side: int) -> np.ndarray:
    """Return a frame as the network sees it, ``[side, side, 3]`` uint8."""
    matrix = compose(window_transform(spec.window, CHIP_SIZE, side), transform)
    return warp(frame, matrix[None], side, torch.device("cpu"))[0].numpy()


if __name__ == "__main__":
    main()
