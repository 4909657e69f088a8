"""Functionals against plain loops and patterns that can be counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.extract.streams.descriptors import DESCRIPTOR_SETTINGS, descriptors
from avemo.fusion.features.functionals import (
    PERCENTILES,
    functionals,
    lengths,
    movement,
    rhythm,
    statistics,
)
from avemo.fusion.features.recipes import Feature, StoredArrays, find

RATE = 16_000
NAMES = ("f0", "voice", "level", "loudness", "spectrum", "mfcc")


def speech(seed: int = 0) -> np.ndarray:
    """A voice that glides and stops, with breath in between."""
    rng = np.random.default_rng(seed)
    parts = []
    for hz in (140, 180, 230):
        times = np.arange(RATE // 3) / RATE
        phase = 2 * np.pi * (hz * times + 40 * times**2)
        parts += [sum(np.sin(k * phase) / k for k in range(1, 9)) * 0.1, rng.normal(0, 0.01, RATE // 10)]
    return np.concatenate(parts).astype(np.float32)


def arrays_of(samples: np.ndarray) -> list[np.ndarray]:
    given = descriptors(samples)
    return [given[name] for name in NAMES]


def statistics_by_loop(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    columns = []
    for column in values.T:
        ordered = np.sort(column)
        places = [p / 100 * (len(ordered) - 1) for p in PERCENTILES]
        at = [
            ordered[int(p)] + (p - int(p)) * (ordered[min(int(p) + 1, len(ordered) - 1)] - ordered[int(p)])
            for p in places
        ]
        mean = sum(column) / len(column)
        deviation = (sum((v - mean) ** 2 for v in column) / len(column)) ** 0.5
        slope = np.polyfit(times, column, 1)[0]
        columns.append([mean, deviation, *at, at[3] - at[1], slope])
    return np.array(columns).T.ravel()


def test_statistics_equal_the_definitions() -> None:
    rng = np.random.default_rng(0)
    values, times = rng.normal(size=(37, 4)), np.sort(rng.uniform(0, 3, 37))
    np.testing.assert_allclose(statistics(values, times), statistics_by_loop(values, times), atol=1e-12)


def test_one_value_has_no_slope_and_none_is_not_known() -> None:
    assert statistics(np.array([[3.0]]), np.array([0.5])).tolist() == [3, 0, 3, 3, 3, 3, 3, 0, 0]
    assert np.isnan(statistics(np.empty((0, 2)), np.empty(0))).all()


def test_movement_of_a_triangle() -> None:
    triangle = np.r_[np.arange(0, 40.0), np.arange(40.0, 0, -2)]
    up, up_sd, down, down_sd = movement(triangle)
    assert (up_sd, down_sd) == (pytest.approx(0, abs=20), pytest.approx(0, abs=60))
    assert 90 < up <= 100 and -200 <= down < -150
    assert movement(np.arange(50.0)).tolist() == pytest.approx([100, 0, 0, 0], abs=1e-9)


def test_movement_does_not_leap_over_gaps() -> None:
    steps = np.r_[np.full(20, 1.0), [np.nan], np.full(20, 50.0)]
    assert movement(steps).tolist() == [0, 0, 0, 0]
    assert np.isnan(movement(np.full(20, np.nan))).all()
    assert np.isnan(movement(np.ones(3))).all()


def test_rhythm_of_a_known_pattern() -> None:
    voiced = np.repeat([False, True, False, True], [10, 20, 30, 40])
    level = np.full(100, -20.0)
    level[30:60] = -60
    figures = rhythm(voiced, level)
    assert figures[:2].tolist() == [0.6, 0.3]  # shares of voice and of pause
    assert figures[2] == 2  # stretches a second
    assert figures[3:7].tolist() == pytest.approx([0.3, 0.1, 0.2, 0.1])
    assert figures[8:].tolist() == pytest.approx([0, 0.3])  # log of one second; longest gap
    assert lengths(voiced).tolist() == [0.2, 0.4]


def test_syllables_are_peaks_of_level() -> None:
    times = np.arange(300) / 100
    level = -20 + 5 * np.sin(2 * np.pi * 4 * times)
    assert rhythm(np.ones(300, bool), level)[7] == pytest.approx(4, abs=0.4)


def test_a_higher_voice_moves_pitch_and_nothing_else_of_it() -> None:
    f0, *others = arrays_of(speech())
    low, high = functionals(f0, *others), functionals(2 * f0, *others)
    moved = np.flatnonzero(~np.isclose(low, high, atol=1e-9))
    kinds = 23  # of descriptors; pitch is the first of each statistic
    assert moved.tolist() == [kinds * k for k in (0, 2, 3, 4, 5, 6)]  # mean and percentiles
    np.testing.assert_allclose(high[moved] - low[moved], 12, atol=1e-5)


def test_what_needs_a_voice_is_not_known_without_one() -> None:
    f0, voice, *others = arrays_of(speech())
    values = functionals(0 * f0, voice, *others)
    assert len(values) == len(functionals(f0, voice, *others)) == 9 * (5 + 3 + 4 + 13) + 18
    assert np.isnan(values).sum() == 9 * 23 + 4
    assert np.isfinite(functionals(f0, voice, *others)).all()


def test_how_long_the_silence_at_the_ends_is_changes_nothing() -> None:
    short, long = (
        np.concatenate([np.zeros(160 * before, np.float32), speech(), np.zeros(160 * after, np.float32)])
        for before, after in ((5, 5), (50, 70))
    )
    feature = Feature("functionals", ("descriptors",))
    of_long, of_short = (
        feature.derived(StoredArrays(arrays_of(clip), None), "clip") for clip in (long, short)
    )
    assert of_long is not None and of_short is not None
    np.testing.assert_allclose(of_long.values, of_short.values, rtol=1e-3, atol=1e-3)


def test_functionals_are_read_from_a_store(tmp_path: Path) -> None:
    key = FeatureKey("descriptors", DESCRIPTOR_SETTINGS.settings())
    whisper = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    store = FeatureStore(tmp_path, create=True)
    with store.writer() as writer:
        for name, samples in {"speech": speech(), "whisper": whisper}.items():
            clip = Clip(name, "train", f"{name}.wav")
            writer.add(clip, None, {"descriptors": Outcome(key, arrays=descriptors(samples))})
    store.refresh()
    feature = find(store, "audio", "functionals")
    spoken, whispered = (feature.vectors(store, row) for row in store.rows)
    assert spoken is not None and whispered is not None
    assert spoken.values.shape == whispered.values.shape == (1, 243)
    assert np.isfinite(spoken.values).all() and np.isnan(whispered.values).any()
    assert spoken.times is not None
    assert spoken.times[0] == pytest.approx(len(speech()) / RATE / 2, abs=0.1)
