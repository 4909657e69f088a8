"""Segments of speech as MFCC images: arithmetic by hand, values against plain loops, and what is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from avemo.cache.clips import Clip
from avemo.cache.store import FeatureStore
from avemo.extract import mfcc_image, sound
from avemo.extract.backbones import Backbone, get, load_backbone, random_backbone
from avemo.extract.errors import ExtractError
from avemo.extract.mfcc_image import (
    MFCC_IMAGE_SETTINGS,
    mfcc_blocks,
    segment_images,
    segment_starts,
    segment_times,
)
from avemo.extract.plan import Plan
from avemo.extract.run import Extraction
from avemo.extract.sound import Doubles, Floats
from avemo.extract.streams.registry import keys_of
from avemo.extract.streams.segments import cut_into_segments, segment_vectors
from avemo.extract.voice_activity import load_voice_activity
from avemo.pipelines.cli.extract import main

RATE = 16_000
MakeClip = Callable[..., Path]


def noise(samples: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def mfcc(samples: Floats) -> Floats:
    return np.concatenate(list(mfcc_blocks([samples])))


def images(values: Floats, starts: list[int]) -> np.ndarray:
    return np.concatenate(list(segment_images(values, np.array(starts))))


def mfcc_by_loop(samples: Floats) -> Doubles:
    """eq. 2-4 in double precision, ``[T, 3, 64]``, from the definitions."""
    n = np.arange(400)
    hamming = 0.54 - 0.46 * np.cos(2 * np.pi * n / 400)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(201), n) / 400)

    def mel(hz: float) -> float:
        return float(2595 * np.log10(1 + hz / 700))

    marks = [700 * (10 ** ((mel(20) + (mel(8000) - mel(20)) * i / 65) / 2595) - 1) for i in range(66)]
    static = []
    for start in range(0, len(samples) - 399, 160):
        periodogram = np.abs(waves @ (hamming * samples[start : start + 400])) ** 2 / 400
        energies = []
        for low, centre, high in zip(marks, marks[1:], marks[2:], strict=False):
            weights = [max(0, min((40 * k - low) / (centre - low), (high - 40 * k) / (high - centre)))
                       for k in range(201)]  # fmt: skip
            energies.append(np.log((weights * periodogram).sum()))
        k, m = np.arange(64)[:, None], np.arange(64)
        transform = np.cos(np.pi * k * (2 * m + 1) / 128) * np.sqrt(np.where(k == 0, 1, 2) / 64)
        static.append(transform @ np.array(energies))
    channels = [np.array(static)]
    for _ in range(2):
        rows, last = channels[-1], len(static) - 1
        channels.append(
            np.array(
                [
                    sum(n * (rows[min(t + n, last)] - rows[max(t - n, 0)]) for n in (1, 2)) / 10
                    for t in range(last + 1)
                ]
            )
        )
    return np.stack(channels, axis=1)


def images_by_loop(values: Doubles, starts: list[int]) -> np.ndarray:
    result = np.zeros((len(starts), 64, 64, 3))
    for segment, start in zip(result, starts, strict=True):
        for channel in range(3):
            part = values[start : start + 64, channel]
            segment[:, :, channel] = 255 * (part - part.min()).T / (part.max() - part.min())
    return result


def test_mfcc_are_those_of_the_equations() -> None:
    samples = noise(3000)
    expected = mfcc_by_loop(samples)
    result = mfcc(samples)
    assert result.dtype == np.float32
    assert result.shape == expected.shape == (17, 3, 64)
    np.testing.assert_allclose(result, expected, atol=2e-5)


def test_images_are_those_of_a_loop() -> None:
    samples = noise(63 * 160 + 400 + 30 * 160) * np.linspace(0.1, 1, 15280).astype(np.float32)
    result = images(mfcc(samples), [0, 30])
    assert (result.dtype, result.shape) == (np.uint8, (2, 64, 64, 3))
    difference = result - images_by_loop(mfcc_by_loop(samples), [0, 30])
    assert np.abs(difference).max() < 0.51  # rounded to the nearest
    assert result.min(axis=(1, 2)).tolist() == [[0] * 3] * 2
    assert result.max(axis=(1, 2)).tolist() == [[255] * 3] * 2


def test_rows_are_coefficients_and_columns_frames() -> None:
    samples = noise(96 * 160 + 400)
    samples[32 * 160 :] *= 0.01
    picture = images(mfcc(samples), [0])[0]
    assert picture[0, :31, 0].min() > picture[0, 33:, 0].max() + 50  # coefficient 0 is the level
    row, frame = np.unravel_index(picture[:, :, 1].argmin(), (64, 64))
    assert row == 0
    assert 29 <= frame <= 33  # where the level falls, Δ is least


def test_silence_is_no_division_by_zero() -> None:
    with np.errstate(all="raise"):
        result = images(mfcc(np.zeros(RATE, np.float32)), [0])
    assert not result[..., 1:].any()


@pytest.mark.parametrize("size", [1, 159, 641, 4097])
def test_values_do_not_depend_on_how_the_sound_is_cut(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = noise(20_011)
    whole = mfcc(samples)
    monkeypatch.setattr(sound, "FRAMES_AT_ONCE", 7)
    cut = mfcc_blocks(samples[start : start + size] for start in range(0, len(samples), size))
    np.testing.assert_array_equal(np.concatenate(list(cut)), whole)


def test_images_in_blocks_equal_single_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    values = mfcc(noise(3 * RATE))
    starts = segment_starts(len(values), 0.0, 3.0)
    single = np.concatenate([images(values, [start]) for start in starts])
    monkeypatch.setattr(mfcc_image, "IMAGES_AT_ONCE", 3)
    np.testing.assert_array_equal(images(values, starts.tolist()), single)


def test_a_segment_is_655_ms() -> None:
    """63 · 10 + 25 ms, every 300 ms."""
    assert MFCC_IMAGE_SETTINGS.segment_samples == 63 * 160 + 400 == 0.655 * RATE
    np.testing.assert_allclose(segment_times(np.array([0, 30, 60])), [[0, 0.655], [0.3, 0.955], [0.6, 1.255]])


@pytest.mark.parametrize(
    ("frames", "segments"), [(1, 1), (63, 1), (64, 1), (93, 1), (94, 2), (123, 2), (124, 3), (364, 11)]
)
def test_how_many_segments_of_so_many_frames(frames: int, segments: int) -> None:
    seconds = ((frames - 1) * 160 + 400) / RATE
    starts = segment_starts(frames, 0.0, seconds)
    assert starts.tolist() == [30 * number for number in range(segments)]


@pytest.mark.parametrize(
    ("span", "starts"),
    [
        (
            (0.0, 4.015),
            [0, 30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 330],
        ),  # 400 frames: 11.2 shifts fit
        ((0.3, 0.955), [30]),
        ((0.301, 0.956), [30]),  # 63 whole frames, 31-93, widened to 30-93
        ((0.301, 0.965), [31]),
        ((0.3, 1.255), [30, 60]),
        ((0.3, 1.2549), [30]),
        ((1.0, 1.215), [78]),  # frames 100-119 → 78-141
        ((0.0, 0.1), [0]),
        ((3.9, 4.015), [336]),
    ],
)
def test_the_segments_of_a_span(span: tuple[float, float], starts: list[int]) -> None:
    assert segment_starts(400, *span).tolist() == starts


def test_a_clip_of_less_than_one_segment_repeats_its_last_frame() -> None:
    values = mfcc(noise(29 * 160 + 400))
    assert segment_starts(len(values), 0.05, 0.2).tolist() == [0]
    repeated = np.concatenate([values, np.repeat(values[-1:], 34, axis=0)])
    np.testing.assert_array_equal(images(values, [0]), images(repeated, [0]))


def test_a_clip_from_sound_to_segments(tmp_path: Path) -> None:
    times = np.arange(4 * RATE) / RATE
    samples = (0.5 * np.sin(2 * np.pi * 500 * times)).astype(np.float32)
    samples[: RATE * 3 // 2] = 0  # speech from 1.49 s on, less 0.3 s
    cut = cut_into_segments(lambda: [samples], len(samples), load_voice_activity("energy"), tmp_path)
    assert cut.speech == pytest.approx((1.19, 4))
    assert isinstance(cut.images, np.ndarray)
    assert len(cut.images) == len(cut.times) == 8  # frames 119 to 397: 1 + (279 - 64) // 30
    np.testing.assert_allclose(cut.times[[0, -1], 0], [1.19, 1.19 + 2.1])
    silent = cut_into_segments(lambda: [0 * samples], len(samples), load_voice_activity("energy"), tmp_path)
    assert silent.speech is None
    assert len(silent.times) == 12


@pytest.fixture(scope="module")
def ferresnet() -> Backbone:
    return load_backbone("ferresnet", precision="fp32")


@pytest.mark.parametrize("name", ["ferresnet", "resnet18-imagenet"])
def test_vectors_in_batches_equal_single_ones(name: str, ferresnet: Backbone) -> None:
    network = ferresnet if name == "ferresnet" else random_backbone(name, precision="fp32")
    pictures = images(mfcc(noise(2 * RATE)), [0, 30, 60, 90, 120])
    at_once, single = (np.concatenate(list(segment_vectors(network, pictures, batch))) for batch in (3, 1))
    assert (at_once.dtype, at_once.shape) == (np.float32, (5, network.spec.features))
    np.testing.assert_allclose(at_once, single, atol=1e-4 * np.abs(single).max())
    assert not np.allclose(single[0], single[1])


def test_vgg19_takes_the_papers_size() -> None:
    spec = get("vgg19-227")
    with torch.device("meta"):
        vectors = spec.build()(torch.empty(2, 3, spec.input_size, spec.input_size))
    assert spec.input_size == 227
    assert vectors.shape == (2, spec.features) == (2, 4096)


def extract(clips: list[Clip], path: Path, plan: Plan) -> FeatureStore:
    store = FeatureStore(path, create=True)
    for result in Extraction(clips, plan, store, in_process=True):
        assert not result.failure
    store.refresh()
    return store


@pytest.fixture
def clip(make_clip: MakeClip, tmp_path: Path) -> Clip:
    return Clip("a", "train", str(make_clip(tmp_path / "a.mp4", frames=50)), label="Happy")  # 2 s of a tone


QUICK = Plan(backbones=(), precision="fp32")
SEGMENTED = Plan(backbones=(), precision="fp32", segments=True)
HEARD = Plan(backbones=(), precision="fp32", segment_backbones=("ferresnet",))


def test_a_store_holds_segments_where_they_are_asked_for(clip: Clip, tmp_path: Path) -> None:
    assert "segments" not in extract([clip], tmp_path / "without", QUICK).streams
    store = extract([clip], tmp_path / "s", HEARD)
    assert {"segments", "segments/ferresnet"} < set(store.streams)
    row = store.rows[0]
    stored, vectors = store.read(row, "segments"), store.read(row, "segments/ferresnet")
    assert {name: array.dtype for name, array in stored.items()} == {"image": np.uint8, "times": np.float64}
    assert stored["image"].shape == (5, 64, 64, 3)
    np.testing.assert_allclose(stored["times"], [[0.3 * n, 0.3 * n + 0.655] for n in range(5)])
    assert vectors["vectors"].shape == (5, 512)
    np.testing.assert_array_equal(vectors["times"], stored["times"])
    info = row.entries["segments"].info
    assert info["segments"] == 5
    assert info["speech"] == pytest.approx([0, 2], abs=0.1)


def test_segments_are_added_to_a_store_and_made_once(clip: Clip, tmp_path: Path) -> None:
    store = extract([clip], tmp_path / "s", QUICK)
    assert [set(job.keys) for job in Extraction([clip], HEARD, store).jobs] == [
        {"segments", "segments/ferresnet"}
    ]
    store = extract([clip], tmp_path / "s", SEGMENTED)
    assert [set(job.keys) for job in Extraction([clip], HEARD, store).jobs] == [{"segments/ferresnet"}]
    store = extract([clip], tmp_path / "s", HEARD)
    assert Extraction([clip], HEARD, store).jobs == []
    other = Extraction([clip], Plan(backbones=(), segments=True, voice_activity="none"), store)
    assert "vad: energy / none" in other.changes["segments"]


def test_clips_without_sound_and_without_speech(make_clip: MakeClip, tmp_path: Path) -> None:
    paths = [
        make_clip(tmp_path / "mute.mp4", sound=False),
        make_clip(tmp_path / "high.mp4", frames=30, tone=6000),
        make_clip(tmp_path / "short.mp4", frames=3),
    ]
    clips = [Clip(path.stem, "train", str(path)) for path in paths]
    store = FeatureStore(tmp_path / "s", create=True)
    results = {result.job.clip.id: result for result in Extraction(clips, HEARD, store, in_process=True)}
    store.refresh()
    rows = {row.clip.id: row for row in store.rows}
    assert [rows["mute"].entries[name].status for name in ("segments", "segments/ferresnet")] == [
        "absent"
    ] * 2
    assert "no detected speech" in results["high"].notes[-1]
    assert rows["high"].entries["segments"].info["speech"] is None
    assert len(store.read(rows["high"], "segments")["times"]) == 2
    assert store.read(rows["short"], "segments")["times"].tolist() == [[0, 0.655]]


def test_long_clips_go_to_disk(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = extract([clip], tmp_path / "memory", HEARD)
    monkeypatch.setattr("avemo.extract.spool.MEMORY_BYTES", 1000)
    monkeypatch.setattr("avemo.extract.mfcc_image.IMAGES_AT_ONCE", 2)
    spooled = extract([clip], tmp_path / "disk", HEARD)
    for stream in ("segments", "segments/ferresnet"):
        theirs = spooled.read(spooled.rows[0], stream)
        for name, array in whole.read(whole.rows[0], stream).items():
            np.testing.assert_array_equal(array, theirs[name])


def test_a_network_asked_for_twice(tmp_path: Path) -> None:
    with pytest.raises(ExtractError, match="ferresnet is the label of two networks"):
        keys_of(Plan(backbones=(), segment_backbones=("ferresnet", "ferresnet")))
    with pytest.raises(ExtractError, match="no voice activity detector 'x'"):
        keys_of(Plan(backbones=(), segments=True, voice_activity="x"))


def test_the_command(clip: Clip, tmp_path: Path) -> None:
    def run(*options: str) -> Iterator[object]:
        arguments = [
            clip.path,
            "--store",
            str(tmp_path / "s"),
            "--tta",
            "none",
            "--max-frames",
            "2",
            *options,
        ]
        result = CliRunner().invoke(main, arguments)
        return iter((result.exit_code, result.output))

    code, said = run("--vad", "none")
    assert code == 2
    assert "add --segments" in str(said)
    code, said = run("--segments", "--vad", "webrtc")
    assert code == 2
    assert "no voice activity detector 'webrtc'" in str(said)
    code, said = run("--segment-backbone", "ferresnet")
    assert code == 0, said
    assert {"ferplusnet/none", "segments", "segments/ferresnet"} < set(FeatureStore(tmp_path / "s").streams)
