"""Named features: what they compute, and which streams of a store they find."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from avemo.cache.clips import Clip
from avemo.cache.errors import MixedKeysError
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.fusion.errors import FusionError
from avemo.fusion.features.corpus import load
from avemo.fusion.features.recipes import RECIPES, Feature, find, norm_fft, spoken, windows

T, D = 6, 8


def statistics(seed: int, frames: int = T) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(frames, D)).astype(np.float32) for name in ("basic", "mean", "std")}


def store_with(path: Path, **clips: Mapping[str, Outcome | dict[str, np.ndarray]]) -> FeatureStore:
    """A store of clips, each with streams given as arrays or whole outcomes."""
    store = FeatureStore(path, create=True)
    with store.writer() as writer:
        for name, streams in clips.items():
            outcomes = {
                stream: made if isinstance(made, Outcome) else Outcome(FeatureKey(stream, {}), arrays=made)
                for stream, made in streams.items()
            }
            writer.add(Clip(name, "train"), None, outcomes)
    store.refresh()
    return store


def only(**streams: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    return {name.replace("__", "/").replace("_at_", "@"): arrays for name, arrays in streams.items()}


def value(store: FeatureStore, modality: str, text: str) -> np.ndarray:
    values = find(store, modality, text).read(store, store.rows[0])
    assert values is not None and values.dtype == np.float32
    return values


def test_visual_features_are_views_of_the_statistics(tmp_path: Path) -> None:
    default, wide = statistics(1), statistics(2)
    store = store_with(tmp_path, a=only(dlib__default=default, dlib__wide=wide))
    np.testing.assert_array_equal(value(store, "visual", "basic"), default["basic"])
    np.testing.assert_array_equal(value(store, "visual", "f-mean"), default["mean"])
    expected = np.hstack([default["mean"], default["std"]])
    np.testing.assert_array_equal(value(store, "visual", "f-meanstd"), expected)
    expected = np.hstack([wide["mean"], wide["std"]])
    np.testing.assert_array_equal(value(store, "visual", "f-meanstd-2"), expected)
    np.testing.assert_array_equal(
        value(store, "visual", "f-normfft"), norm_fft(default["basic"]).astype("f4")
    )


def test_f_ar_mean_joins_two_backbones(tmp_path: Path) -> None:
    one, two = statistics(1), statistics(2)
    store = store_with(tmp_path, a={"ir50@affectnet/default": one, "ir50@FER+_rafdb/default": two})
    expected = np.hstack([one["mean"], two["mean"]])
    for text in ("f-ar-mean:ir50@affectnet+ir50@FER+_rafdb", "f-ar-mean:ir50@a+ir50@FER+"):
        feature = find(store, "visual", text)
        assert feature.name == "f-ar-mean:ir50@affectnet+ir50@FER+_rafdb"
        np.testing.assert_array_equal(feature.read(store, store.rows[0]), expected)
    assert find(store, "visual", "f-ar-mean").streams == ("ir50@FER+_rafdb/default", "ir50@affectnet/default")


def test_norm_fft_against_numpy() -> None:
    basic = statistics(3)["basic"].astype(np.float64)
    basic[2] = 0
    out = norm_fft(basic)
    assert out.shape == (T, 2 * D)
    for row, frame in zip(out, basic, strict=True):
        plain = [
            sum(x * np.exp(-2j * np.pi * k * n / D) for n, x in enumerate(frame.tolist())) for k in range(D)
        ]
        parts = np.array([*np.real(plain), *np.imag(plain)])
        norm = np.sqrt((parts**2).sum())
        np.testing.assert_allclose(row, parts / norm if norm else parts, atol=1e-12)
        reals, imaginaries = row[:D], row[D:]
        np.testing.assert_allclose(reals[1:], reals[:0:-1], atol=1e-12)  # the redundant half
        np.testing.assert_allclose(imaginaries[1:], -imaginaries[:0:-1], atol=1e-12)


@pytest.mark.parametrize(
    ("frames", "starts"),
    [(1, [0]), (64, [0]), (65, [0, 1]), (96, [0, 32]), (100, [0, 32, 36]), (128, [0, 32, 64])],
)
def test_windows(frames: int, starts: list[int]) -> None:
    sound = np.random.default_rng(0).normal(size=(frames, 12))
    out = windows(sound)
    assert out.shape == (len(starts), 24)
    for row, start in zip(out, starts, strict=True):
        part = sound[start : start + 64]
        np.testing.assert_allclose(row, [*part.mean(axis=0), *part.std(axis=0)], atol=1e-12)


def test_silence_at_the_ends_is_left_out_and_pauses_stay() -> None:
    decibels = np.full((50, 4), -90.0)
    decibels[10:20] = -20.0
    decibels[30:33] = -40.0  # 20 dB below the loudest: still speech
    decibels[40] = -60.0
    assert spoken(decibels) == slice(10, 33)
    assert spoken(np.full((5, 4), -100.0)) == slice(0, 5)  # digital silence is all alike
    assert spoken(decibels[:1]) == slice(0, 1)


def test_loudness_sums_power_over_bands() -> None:
    decibels = np.array([[-3.0, -3.0], [-31.0, -90.0], [-30.0, -29.0], [-90.0, -28.0]])
    by_hand = 10 * np.log10((10 ** (decibels / 10)).sum(axis=1))
    loud = [level >= by_hand.max() - 30 for level in by_hand]
    assert loud == [True, False, True, True]
    assert spoken(decibels[:2]) == slice(0, 1)
    assert spoken(decibels[:3]) == slice(0, 3)


def test_audio_features(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"logmel": rng.normal(size=(70, 3, 40)), "spectrogram": rng.normal(size=(70, 200))}
    store = store_with(
        tmp_path,
        a={
            "logmel": {"logmel": arrays["logmel"]},
            "spectrogram": {"spectrogram": arrays["spectrogram"]},
            "alexnet@pop": {"vectors": np.ones((5, 256)), "times": np.arange(5)},
            "alexnet-logmel@pop": {"vectors": np.ones((10, 256)), "times": np.arange(10)},
        },
    )
    shapes = {
        "logmel": (70, 120),
        "logmel-stats": (2, 240),
        "spectrogram": (70, 200),
        "spectrogram-stats": (2, 400),
        "alexnet": (5, 256),
        "alexnet:alexnet@p": (5, 256),
        "alexnet-logmel": (10, 256),
        "auto": (5, 256),
    }
    assert {text: value(store, "audio", text).shape for text in shapes} == shapes
    np.testing.assert_array_equal(
        value(store, "audio", "logmel"), arrays["logmel"].reshape(70, 120).astype("f4")
    )


def test_auto_takes_the_best_that_is_held(tmp_path: Path) -> None:
    basic = {"basic": statistics(1)["basic"]}
    stores = {
        "basic:dlib": only(dlib__none=basic),
        "f-meanstd-2:dlib": only(dlib__none=basic, dlib__wide=statistics(1)),
        "f-meanstd:dlib": only(dlib__wide=statistics(1), dlib__default=statistics(1)),
    }
    for name, streams in stores.items():
        assert find(store_with(tmp_path / name[:-5], a=streams), "visual", "auto").name == name


def test_auto_takes_one_vector_a_clip_of_sound_but_where_clips_are_cut(tmp_path: Path) -> None:
    sound = {"logmel": {"logmel": np.zeros((70, 3, 40), np.float32)}}
    widths = {"f0": 1, "voice": 3, "level": 1, "loudness": 1, "spectrum": 4, "mfcc": 13}
    described = {name: np.ones((70, width), np.float32) for name, width in widths.items()}
    store = store_with(tmp_path / "both", a={**sound, "descriptors": described})
    assert find(store, "audio", "auto").name == "functionals"
    assert find(store, "audio", "auto", parts=True).name == "logmel-stats"
    assert find(store, "audio", "functionals", parts=True).name == "functionals"
    assert find(store_with(tmp_path / "old", a=sound), "audio", "auto").name == "logmel-stats"


def test_basic_is_read_from_the_view_set_that_most_clips_have(tmp_path: Path) -> None:
    none, default = only(dlib__none=statistics(1)), only(dlib__default=statistics(1))
    store = store_with(tmp_path / "a", a={**none, **default}, b=none)
    assert find(store, "visual", "basic").streams == ("dlib/none",)
    store = store_with(tmp_path / "b", a={**none, **default}, b={**none, **default})
    assert find(store, "visual", "basic").streams == ("dlib/default",)


def test_errors_say_what_is_held_and_what_to_do(tmp_path: Path) -> None:
    basic = {"basic": statistics(1)["basic"]}
    store = store_with(tmp_path, a={"dlib/none": basic, "resnet18@a/none": basic, "resnet18@b/none": basic})
    for text, complaint in {
        "f-max": "no visual feature 'f-max'; there are auto, basic, f-mean, ",
        "logmel": "no visual feature 'logmel'",
        "f-mean": r"holds no f-mean; it holds dlib/none, .* --tta meanstd` adds it",
        "f-ar-mean": "holds no f-ar-mean of 2 backbones",
        "basic": "holds basic of dlib, resnet18@a, resnet18@b; name one, as in basic:dlib",
        "basic:resnet18": "is ambiguous",
        "basic:vgg": "is ambiguous",
    }.items():
        with pytest.raises(FusionError, match=complaint):
            find(store, "visual", text)
    with pytest.raises(FusionError, match="none of its clips has sound"):
        find(store, "audio", "auto")
    assert find(store, "visual", "basic:d").name == "basic:dlib"


def test_every_recipe_has_a_modality_and_its_own_name() -> None:
    assert {recipe.modality for recipe in RECIPES.values()} == {"visual", "audio"}
    assert all(name == recipe.name for name, recipe in RECIPES.items())


def test_clips_without_a_stream_have_no_vectors(tmp_path: Path) -> None:
    absent = {"logmel": Outcome(FeatureKey("logmel", {}), "absent", "no sound")}
    sound = {"logmel": {"logmel": np.ones((3, 3, 40), np.float32)}}
    empty = {"logmel": {"logmel": np.ones((0, 3, 40), np.float32)}}
    store = store_with(tmp_path, a=absent, b=sound, c={}, d=empty)
    corpus = load(store, {"audio": find(store, "audio", "logmel")}, store.rows)
    assert corpus.streams["audio"].lengths.tolist() == [0, 3, 0, 0]
    assert corpus.streams["audio"].values.shape == (3, 120)
    with pytest.raises(FusionError, match=r"none of 1 clips has logmel; .*--fusion faces"):
        load(store, {"audio": Feature("logmel", ("logmel",))}, store.rows[:1])


def test_values_that_cannot_be_used(tmp_path: Path) -> None:
    bad = statistics(1)
    bad["mean"][2, 3] = np.nan
    store = store_with(tmp_path, a=only(dlib__default=bad, short__default=statistics(2, frames=4)))
    with pytest.raises(FusionError, match="clip train/a has values that are not finite"):
        value(store, "visual", "f-mean:dlib")
    with pytest.raises(FusionError, match="clip train/a has 6 and 4 frames"):
        value(store, "visual", "f-ar-mean:dlib+short")


def test_mixed_keys_are_refused(tmp_path: Path) -> None:
    streams = [
        {"dlib/none": Outcome(FeatureKey("dlib/none", {"precision": precision}), arrays=statistics(1))}
        for precision in ("fp32", "bf16")
    ]
    store = store_with(tmp_path, a=streams[0], b=streams[1])
    feature = find(store, "visual", "basic")
    with pytest.raises(MixedKeysError, match="precision"):
        feature.keys(store, store.rows)
    assert feature.keys(store, store.rows[:1])["dlib/none"].settings == {"precision": "fp32"}
