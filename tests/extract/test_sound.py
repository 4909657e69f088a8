"""Sound features against plain float64 loops, pure tones, and themselves fed in other blocks."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from avemo.extract import sound
from avemo.extract.streams.logmel import LOG_MEL_SETTINGS, log_mel, log_mel_blocks
from avemo.extract.streams.spectrogram import SPECTROGRAM_SETTINGS, spectrogram, spectrogram_blocks

RATE = 16_000
LN_FLOOR = np.log(1e-10)


def tone(hz: float, seconds: float = 0.5, amplitude: float = 1.0) -> sound.Floats:
    times = np.arange(round(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def noise(samples: int, seed: int = 0) -> sound.Floats:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def cut(samples: sound.Floats, size: int) -> Iterator[sound.Floats]:
    return (samples[start : start + size] for start in range(0, len(samples), size))


def power_by_loop(samples: sound.Floats, window: int, dft: int) -> sound.Doubles:
    """Power spectra ``[T, dft // 2 + 1]`` straight from the definition of the DFT."""
    n = np.arange(window)
    hamming = 0.54 - 0.46 * np.cos(2 * np.pi * n / window)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(dft // 2 + 1), n) / dft)
    rows = []
    for start in range(0, len(samples) - window + 1, 160):
        frame = hamming * samples[start : start + window].astype(np.float64)
        rows.append(np.abs(waves @ frame * 2 / hamming.sum()) ** 2)
    return np.array(rows)


def mel_filters_by_loop() -> sound.Doubles:
    """40 triangles of height 1, equally spaced on the HTK Mel scale from 0 to 8000 Hz, ``[40, 257]``."""
    top = 2595 * np.log10(1 + 8000 / 700)
    edges = [700 * (10 ** (top * i / 41 / 2595) - 1) for i in range(42)]
    filters = np.zeros((40, 257))
    for m in range(40):
        low, centre, high = edges[m : m + 3]
        for k in range(257):
            hz = k * RATE / 512
            filters[m, k] = max(0.0, min((hz - low) / (centre - low), (high - hz) / (high - centre)))
    return filters


def slope_by_loop(rows: sound.Doubles) -> sound.Doubles:
    last = len(rows) - 1
    result = np.zeros_like(rows)
    for t in range(len(rows)):
        for n in (1, 2):
            result[t] += n * (rows[min(t + n, last)] - rows[max(t - n, 0)]) / 10
    return result


def test_spectrogram_equals_the_definition() -> None:
    samples = noise(5000)
    expected = 10 * np.log10(np.maximum(power_by_loop(samples, 640, 800)[:, :200], 1e-10))
    result = spectrogram(samples)
    assert result.dtype == np.float32
    assert result.shape == expected.shape == (28, 200)
    np.testing.assert_allclose(result, expected, atol=1e-4)  # dB


def test_log_mel_equals_the_definition() -> None:
    samples = noise(5000)
    static = np.log(np.maximum(power_by_loop(samples, 400, 512) @ mel_filters_by_loop().T, 1e-10))
    slope = slope_by_loop(static)
    expected = np.stack([static, slope, slope_by_loop(slope)], axis=1)
    result = log_mel(samples)
    assert result.dtype == np.float32
    assert result.shape == expected.shape == (29, 3, 40)
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("k", [3, 10, 50, 123, 199])  # below 60 Hz the lobe meets its mirror image
def test_a_tone_of_20k_hz_peaks_in_bin_k_at_0_db(k: int) -> None:
    result = spectrogram(tone(20 * k))
    assert (result.argmax(axis=1) == k).all()
    np.testing.assert_allclose(result[:, k], 0, atol=0.1)


def test_half_the_amplitude_is_6_db_less() -> None:
    difference = spectrogram(tone(1000)) - spectrogram(tone(1000, amplitude=0.5))
    np.testing.assert_allclose(difference[:, 50], 20 * np.log10(2), atol=1e-3)


def test_power_obeys_parseval() -> None:
    samples = noise(640)
    (power,) = sound.power_blocks([samples], SPECTROGRAM_SETTINGS)
    hamming = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(640) / 640)
    energy = ((samples.astype(np.float64) * hamming) ** 2).sum()
    both_sides = power[0, 0] + 2 * power[0, 1:-1].sum() + power[0, -1]
    assert both_sides * (hamming.sum() / 2) ** 2 / 800 == pytest.approx(energy, rel=1e-12)


@pytest.mark.parametrize("filter_number", [5, 20, 35])
def test_log_mel_peaks_in_the_filter_of_the_tone(filter_number: int) -> None:
    top = 2595 * np.log10(1 + 8000 / 700)
    centre = 700 * (10 ** (top * (filter_number + 1) / 41 / 2595) - 1)
    result = log_mel(tone(centre))
    assert (result[:, 0].argmax(axis=1) == filter_number).all()


def test_silence_lies_on_the_floor() -> None:
    silence = np.zeros(RATE, np.float32)
    assert (spectrogram(silence) == -100).all()
    mel = log_mel(silence)
    np.testing.assert_allclose(mel[:, 0], LN_FLOOR, rtol=1e-6)
    np.testing.assert_allclose(mel[:, 1:], 0, atol=1e-12)


@pytest.mark.parametrize(
    ("samples", "spectrogram_frames", "mel_frames"),
    [(0, 0, 0), (1, 1, 1), (399, 1, 1), (640, 1, 2), (799, 1, 3), (800, 2, 3), (RATE, 97, 98)],
)
def test_number_of_frames(samples: int, spectrogram_frames: int, mel_frames: int) -> None:
    assert spectrogram(noise(samples)).shape == (spectrogram_frames, 200)
    assert log_mel(noise(samples)).shape == (mel_frames, 3, 40)


def test_a_short_sound_is_padded_with_zeros_to_one_window() -> None:
    short = noise(300)
    padded = np.concatenate([short, np.zeros(340, np.float32)])
    np.testing.assert_array_equal(spectrogram(short), spectrogram(padded))
    np.testing.assert_array_equal(log_mel(short), log_mel(padded[:400]))


@pytest.mark.parametrize("size", [1, 159, 160, 641, 1024, 4097, 100_000])
@pytest.mark.parametrize(
    ("whole", "blocks"),
    [(spectrogram, spectrogram_blocks), (log_mel, log_mel_blocks)],
)
def test_values_do_not_depend_on_how_the_sound_is_cut(
    whole: Callable[..., sound.Floats],
    blocks: Callable[..., Iterator[sound.Floats]],
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples = noise(20_011)
    at_once = whole(samples)  # shorter than one stretch
    monkeypatch.setattr(sound, "FRAMES_AT_ONCE", 7)
    streamed = list(blocks(cut(samples, size)))
    assert len(streamed) > 10
    np.testing.assert_array_equal(np.concatenate(streamed), at_once)


def test_a_long_sound_equals_its_frames_one_by_one() -> None:
    samples = noise(45 * RATE)
    result = spectrogram(samples)
    for i in (0, 999, 1000, 1001, 2999, 3000, len(result) - 1):
        alone = spectrogram(samples[160 * i : 160 * i + 640])
        np.testing.assert_array_equal(result[i : i + 1], alone)


def test_memory_does_not_grow_with_the_stream() -> None:
    def peak(minutes: int) -> int:
        second = noise(RATE)
        tracemalloc.start()
        for _ in log_mel_blocks(second for _ in range(60 * minutes)):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1)  # what the first use loads for good
    assert peak(4) < 1.1 * peak(1)


def test_frame_times_are_the_centres_of_the_windows() -> None:
    np.testing.assert_allclose(SPECTROGRAM_SETTINGS.frame_times(3), [0.020, 0.030, 0.040])
    np.testing.assert_allclose(LOG_MEL_SETTINGS.frame_times(3), [0.0125, 0.0225, 0.0325])
    click = np.zeros(RATE, np.float32)
    click[8000] = 1.0
    loudest = spectrogram(click)[:, 0].argmax()
    assert SPECTROGRAM_SETTINGS.frame_times(97)[loudest] == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_no_number_is_refused_with_its_place(bad: float) -> None:
    samples = noise(30 * RATE)
    samples[400_123] = bad
    with pytest.raises(ValueError, match=r"sample 400123 of the sound is -?(nan|inf)"):
        spectrogram(samples)


@pytest.mark.parametrize("samples", [np.zeros(1000, np.int16), np.zeros((1000, 2), np.float32)])
def test_integers_and_stereo_are_refused(samples: sound.Floats) -> None:
    with pytest.raises(ValueError, match="expected one-dimensional floats"):
        log_mel(samples)


def test_settings_hold_every_number() -> None:
    assert SPECTROGRAM_SETTINGS.settings() == {
        "window": 640,
        "dft": 800,
        "hop": 160,
        "sample_rate": 16_000,
        "floor_db": -100.0,
        "bins": 200,
    }
    assert LOG_MEL_SETTINGS.settings()["filters"] == 40
