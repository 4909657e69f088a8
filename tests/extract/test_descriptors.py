"""Low-level descriptors against sounds whose pitch, period, noise and spectrum are known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.fft import dct

from avemo.extract import sound
from avemo.extract.streams import descriptors as module
from avemo.extract.streams.descriptors import ARRAYS, descriptor_blocks, descriptors
from avemo.extract.streams.logmel import log_mel

RATE = 16_000
HNR, JITTER, SHIMMER = range(3)
CROSSINGS, CENTROID, ALPHA, HAMMARBERG = range(4)


def tone(hz: float, seconds: float = 0.6, amplitude: float = 0.5) -> sound.Floats:
    times = np.arange(round(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def voice(hz: float, seconds: float = 0.6) -> sound.Floats:
    """Harmonics that fall by 6 dB an octave, up to 4 kHz."""
    times = np.arange(round(seconds * RATE)) / RATE
    waves = [np.sin(2 * np.pi * hz * k * times) / k for k in range(1, int(4000 / hz) + 1)]
    return (0.2 * np.sum(waves, axis=0)).astype(np.float32)


def train(periods: list[float], sizes: list[float], count: int = 80) -> sound.Floats:
    """Pulses, each 1 ms wide, at distances and of sizes that repeat."""
    distances = np.resize(periods, count)
    places, heights = np.cumsum(distances), np.resize(sizes, count)
    samples = np.arange(int(places[-1] + periods[0]))
    pulses = heights[:, None] * np.exp(-0.5 * ((samples - places[:, None]) / 8) ** 2)
    return (0.5 * pulses.sum(axis=0)).astype(np.float32)


def noise(samples: int, seed: int = 0) -> sound.Floats:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def inner(values: sound.Floats) -> sound.Floats:
    """Without the frames at the ends, which see beyond the sound."""
    return values[5:-5]


@pytest.mark.parametrize("hz", [70, 110.5, 220, 333.3, 580])
@pytest.mark.parametrize("make", [tone, voice])
def test_the_pitch_of_a_tone_is_its_frequency(hz: float, make: type) -> None:
    f0 = inner(descriptors(make(hz))["f0"])
    np.testing.assert_allclose(f0, hz, rtol=2e-3)


def test_a_steady_voice_has_neither_jitter_nor_shimmer_nor_noise() -> None:
    quality = inner(descriptors(voice(160))["voice"])
    assert quality[:, JITTER].max() < 1e-3
    assert quality[:, SHIMMER].max() < 0.05
    assert quality[:, HNR].min() > 30


def test_jitter_is_the_difference_of_neighbouring_periods_over_their_mean() -> None:
    quality = descriptors(train([118, 122], [1]))
    voiced = inner(quality["f0"])[:, 0] > 0
    assert voiced.mean() > 0.9
    jitter = inner(quality["voice"])[voiced, JITTER]
    assert np.median(jitter) == pytest.approx(4 / 120, rel=0.05)
    assert np.median(inner(quality["f0"])[voiced]) == pytest.approx(RATE / 120, rel=2e-3)


def test_shimmer_is_the_ratio_of_neighbouring_amplitudes() -> None:
    quality = descriptors(train([120], [1, 0.8]))
    voiced = inner(quality["f0"])[:, 0] > 0
    assert voiced.mean() > 0.9
    expected = 20 * np.log10(1 / 0.8)
    assert np.median(inner(quality["voice"])[voiced, SHIMMER]) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("ratio", [10, 15, 20])
def test_harmonics_to_noise_ratio_is_that_of_the_powers(ratio: float) -> None:
    samples = voice(125, seconds=3)
    power = np.mean(samples.astype(float) ** 2) / 10 ** (ratio / 10)
    disturbed = samples + (noise(len(samples)) / 0.1 * np.sqrt(power)).astype(np.float32)
    given = descriptors(disturbed)
    voiced = given["f0"][:, 0] > 0
    assert np.median(given["voice"][voiced, HNR]) == pytest.approx(ratio, abs=1)


def test_noise_and_silence_have_no_voice() -> None:
    for samples in (noise(2 * RATE), np.zeros(RATE, np.float32)):
        given = descriptors(samples)
        voiced = given["f0"][:, 0] > 0
        assert voiced.mean() < 0.02
        assert not given["voice"][~voiced].any()
        assert all(np.isfinite(array).all() for array in given.values())


def test_a_voice_driven_into_clipping_is_still_heard() -> None:
    assert (inner(descriptors(np.clip(20 * voice(280), -1, 1))["f0"]) > 0).all()


def test_level_is_the_mean_power_in_decibels() -> None:
    np.testing.assert_allclose(
        inner(descriptors(tone(400, amplitude=1))["level"]), 10 * np.log10(0.5), atol=0.01
    )
    difference = descriptors(tone(400))["level"] - descriptors(tone(400, amplitude=0.05))["level"]
    np.testing.assert_allclose(inner(difference), 20, atol=1e-3)
    assert (descriptors(np.zeros(RATE, np.float32))["level"] == -100).all()


def test_the_shape_of_two_tones() -> None:
    low, high = tone(500), tone(2500, amplitude=0.05)
    shape = inner(descriptors(low + high)["spectrum"])
    np.testing.assert_allclose(shape[:, ALPHA], 20, atol=0.1)
    np.testing.assert_allclose(shape[:, HAMMARBERG], 20, atol=0.1)
    np.testing.assert_allclose(shape[:, CENTROID], (500 + 0.01 * 2500) / 1.01, rtol=5e-3)
    crossings = inner(descriptors(low)["spectrum"])[:, CROSSINGS]
    np.testing.assert_allclose(crossings, 2 * 500 / RATE, atol=1 / 400)


def test_loudness_and_mfcc_are_those_of_log_mel() -> None:
    samples = noise(8000)
    expected = log_mel(samples)[:, 0].astype(float)
    given = descriptors(samples)
    np.testing.assert_allclose(given["mfcc"], dct(expected, norm="ortho")[:, 1:14], atol=1e-3)
    np.testing.assert_allclose(given["loudness"][:, 0], (np.exp(expected) ** 0.3).sum(axis=1), rtol=1e-4)


@pytest.mark.parametrize("samples", [0, 1, 300, 400, 559, 560, RATE])
def test_frames_are_those_of_log_mel(samples: int) -> None:
    given = descriptors(noise(samples))
    frames = len(log_mel(noise(samples)))
    assert {name: array.shape for name, array in given.items()} == {
        name: (frames, width) for name, width in ARRAYS.items()
    }
    assert all(array.dtype == np.float32 for array in given.values())


@pytest.mark.parametrize("size", [160, 1023, 50_000])
def test_values_do_not_depend_on_how_the_sound_is_cut(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.concatenate([voice(150, 0.3), noise(2000), voice(240, 0.3)])
    at_once = descriptors(samples)  # shorter than one stretch
    monkeypatch.setattr(sound, "FRAMES_AT_ONCE", 7)

    def cut() -> Iterator[sound.Floats]:
        return (samples[start : start + size] for start in range(0, len(samples), size))

    streamed = list(descriptor_blocks(cut()))
    assert len(streamed) > 8
    for name, expected in at_once.items():
        got = np.concatenate([block[name] for block in streamed])
        np.testing.assert_allclose(got, expected, atol=1e-3, rtol=1e-4, err_msg=name)


def test_what_is_before_a_sound_does_not_change_it() -> None:
    samples = voice(190)
    led = np.concatenate([np.zeros(160 * 30, np.float32), samples])
    for name, expected in descriptors(samples).items():
        np.testing.assert_allclose(descriptors(led)[name][30:], expected, atol=1e-3, err_msg=name)


def test_a_sample_that_is_no_number_is_refused() -> None:
    samples = noise(8000)
    samples[4000] = np.nan
    with pytest.raises(ValueError, match="sample 4000 of the sound is nan"):
        descriptors(samples)


def test_settings_hold_every_number() -> None:
    settings = module.DESCRIPTOR_SETTINGS.settings()
    assert settings["pitch"] == "yin"
    assert {"window", "hop", "sample_rate", "reach", "least_correlation"} <= settings.keys()
