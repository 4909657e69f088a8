"""Streams: their times are stored, stores without them read alike, and one more stream is one class."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from avemo.cache.checks import damaged, export
from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.merge import Merge
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.extract.clip import ClipJob, extract_clip
from avemo.extract.decode.heard import SETTINGS as HEARD
from avemo.extract.plan import Plan
from avemo.extract.run import Extraction
from avemo.extract.spool import OnDisk
from avemo.extract.streams import registry
from avemo.extract.streams.base import Absent, ClipSound, Settings, SoundStream
from avemo.extract.streams.registry import keys_of
from avemo.fusion.features.corpus import load
from avemo.fusion.features.recipes import RECIPES, find
from avemo.fusion.features.times import sound_seconds

MakeClip = Callable[..., Path]
PLAN = Plan(view_sets=("default", "none"), segments=True, precision="fp32", voice_activity="none")
FRAMES, RATE = 25, 25.0
WITHOUT_TIMES = ("ferplusnet/default", "ferplusnet/none", "spectrogram", "logmel", "descriptors")
"""What the first version stored without the times of its rows."""
SEEN = ("basic", "f-mean", "f-meanstd", "f-normfft")
FEATURES = (*SEEN, "logmel", "logmel-stats", "spectrogram", "spectrogram-stats", "functionals", "mfcc-stats")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> list[Clip]:
    folder = tmp_path_factory.mktemp("clips")
    paths = [make_clip(folder / f"c{n}.mp4", FRAMES - n, RATE, tone=300.0 + 100 * n) for n in range(2)]
    return [
        Clip(path.stem, "train", str(path), label=label)
        for path, label in zip(paths, ("Happy", "Sad"), strict=True)
    ]


@pytest.fixture(scope="module")
def new(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return extracted(clips, tmp_path_factory.mktemp("stores") / "new")


def extracted(clips: list[Clip], path: Path, plan: Plan = PLAN) -> FeatureStore:
    store = FeatureStore(path, create=True)
    for result in Extraction(clips, plan, store, in_process=True):
        assert not result.failure
    store.refresh()
    return store


def as_the_first_version_wrote(new: FeatureStore, clips: list[Clip], path: Path) -> FeatureStore:
    """The same clips with the same keys, without the times that are stored now."""
    store = FeatureStore(path, create=True)
    with store.writer() as writer:
        for row in (row for row in new.rows if row.clip in clips):
            outcomes = {}
            for stream, entry in row.entries.items():
                arrays = new.read(row, stream)
                if stream in WITHOUT_TIMES:
                    del arrays["times"]
                outcomes[stream] = Outcome(entry.key, info=entry.info, arrays=arrays)
            writer.add(row.clip, row.source, outcomes)
    store.refresh()
    return store


def test_every_stream_has_the_times_of_its_rows(new: FeatureStore) -> None:
    row = new.rows[0]
    assert set(row.entries) == set(keys_of(PLAN))
    for stream in row.entries:
        arrays = new.read(row, stream)
        times = arrays.pop("times")
        assert times.dtype == np.float64
        assert {len(array) for array in arrays.values()} == {len(times)}
        assert (np.diff(times.reshape(len(times), -1)[:, 0]) > 0).all()
        assert times.min() >= 0 and times.max() < FRAMES / RATE + 0.7  # a segment may end behind the clip
    times = {stream: new.read(row, stream, ["times"])["times"] for stream in row.entries}
    for stream in ("faces", "ferplusnet/default", "ferplusnet/none"):
        np.testing.assert_allclose(times[stream], np.arange(FRAMES) / RATE, atol=1e-9)
    for stream, window in (("spectrogram", 0.04), ("logmel", 0.025), ("descriptors", 0.025)):
        np.testing.assert_allclose(
            times[stream], window / 2 + 0.01 * np.arange(len(times[stream])), atol=1e-12
        )


def test_a_store_without_times_gives_the_same_features(
    new: FeatureStore, clips: list[Clip], tmp_path: Path
) -> None:
    old = as_the_first_version_wrote(new, clips, tmp_path / "old")
    for name in FEATURES:
        feature = find(new, RECIPES[name].modality, name)
        assert feature == find(old, RECIPES[name].modality, name)
        for row in new.rows:
            ours, theirs = feature.vectors(new, row), feature.vectors(old, old.row(row.clip) or row)
            assert ours is not None and theirs is not None
            np.testing.assert_array_equal(ours.values, theirs.values)
            assert ours.times is not None and theirs.times is not None
            np.testing.assert_array_equal(ours.times, theirs.times)
    for row in new.rows:
        assert sound_seconds(new, row) == sound_seconds(old, old.row(row.clip) or row)


def test_old_and_new_rows_are_one_store(new: FeatureStore, clips: list[Clip], tmp_path: Path) -> None:
    mixed = as_the_first_version_wrote(new, clips[:1], tmp_path / "mixed")
    run = Extraction(clips, PLAN, mixed)
    assert [job.clip.id for job in run.jobs] == [clips[1].id]  # what is there is not made again
    mixed = extracted(clips, tmp_path / "mixed")
    assert ["times" in row.entries["logmel"].arrays for row in mixed.rows] == [False, True]
    features = {"visual": find(mixed, "visual", "f-meanstd"), "audio": find(mixed, "audio", "logmel-stats")}
    ours, theirs = load(mixed, features, mixed.rows), load(new, features, new.rows)
    for stream, sequences in ours.streams.items():
        np.testing.assert_array_equal(sequences.values, theirs.streams[stream].values)
        np.testing.assert_array_equal(sequences.times, theirs.streams[stream].times)
    assert not list(damaged(mixed))
    assert export(mixed, tmp_path / "all.h5") == 2
    both = FeatureStore(tmp_path / "both", create=True)
    old = as_the_first_version_wrote(new, clips[:1], tmp_path / "old")
    for source in (old, mixed):
        for _ in Merge(source, both):
            pass
        both.refresh()
    assert ["times" in row.entries["logmel"].arrays for row in both.rows] == [False, True]
    assert not list(damaged(both)) and not Extraction(clips, PLAN, both).jobs


def test_only_what_is_stored_stays_on_disk(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The samples and the MFCC of a long clip lie in files, but only while its streams are made."""
    monkeypatch.setattr("avemo.extract.spool.MEMORY_BYTES", 1000)
    plan = Plan(pictures=False, segments=True, voice_activity="none")
    result = extract_clip(plan, ClipJob(clips[0], keys_of(plan)), tmp_path)
    assert not result.failure
    arrays = [array for outcome in result.streams.values() for array in outcome.arrays.values()]
    stored = {array.path for array in arrays if isinstance(array, OnDisk)}
    assert len(stored) > 3 and {*tmp_path.iterdir()} == stored


class RmsStream(SoundStream):
    """The root of the mean square of every 10 ms; of a quiet clip there is none."""

    def settings(self, others: Settings) -> Settings:
        return {"rms": {"hop": 160, "reads_too": sorted(others["logmel"])}}

    def make(self, sound: ClipSound, wanted: Mapping[str, FeatureKey]) -> Iterator[Outcome]:
        samples = np.concatenate(list(sound.blocks()))
        rows = samples[: len(samples) // 160 * 160].reshape(-1, 160)
        if np.abs(samples).max() < 1e-3:
            raise Absent("too quiet")
        rms = np.sqrt((rows**2).mean(axis=1, keepdims=True))
        yield Outcome(wanted["rms"], arrays={"rms": rms, "times": 0.005 + 0.01 * np.arange(len(rows))})


def test_one_more_stream_is_one_class(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(pictures=False)
    store = extracted(clips, tmp_path / "s", plan)
    monkeypatch.setattr(registry, "STREAMS", (*registry.STREAMS, RmsStream))
    key = keys_of(plan)["rms"]
    assert key.settings == {**HEARD, "hop": 160, "reads_too": sorted(keys_of(plan)["logmel"].settings)}
    assert [set(job.keys) for job in Extraction(clips, plan, store).jobs] == [{"rms"}, {"rms"}]
    with wave.open(str(tmp_path / "quiet.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(np.tile(np.array([1, -1], "<i2"), 8000).tobytes())
    store = extracted([*clips, Clip("quiet", "train", str(tmp_path / "quiet.wav"))], tmp_path / "s", plan)
    *loud, quiet = store.rows
    assert (quiet.entries["rms"].status, quiet.entries["rms"].reason) == ("absent", "too quiet")
    assert quiet.has("logmel")
    for row in loud:
        rms = store.read(row, "rms")
        assert len(rms["rms"]) == len(rms["times"]) > 50
        np.testing.assert_allclose(rms["rms"][20:60], 0.5 / np.sqrt(2), rtol=0.1)
