"""The feature store: what is promised is there, and only what is promised."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from avemo.cache.checks import damaged, export
from avemo.cache.clips import Clip
from avemo.cache.errors import MixedKeysError, StoreError
from avemo.cache.keys import FeatureKey
from avemo.cache.rows import Source
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome

KEY = FeatureKey("net/default", {"backbone": "net", "precision": "fp32"})
OTHER = FeatureKey("net/default", {"backbone": "net", "precision": "bf16"})


def source(text: str = "a") -> Source:
    return Source(sha256=text * 64, size=1, mtime_ns=1)


def outcome(seed: int, frames: int = 5, key: FeatureKey = KEY) -> Outcome:
    rng = np.random.default_rng(seed)
    arrays = {
        "mean": rng.normal(size=(frames, 4)).astype(np.float32),
        "has_face": rng.random(frames) > 0.5,
        "transform": rng.normal(size=(frames, 2, 3)).astype(np.float32),
    }
    return Outcome(key, info={"frames": frames}, arrays=arrays)


def fill(path: Path, count: int = 6) -> FeatureStore:
    store = FeatureStore(path, create=True)
    with store.writer() as writer:
        for i in range(count):
            writer.add(Clip(f"c{i}", "train", label="Happy"), source(), {KEY.stream: outcome(i, frames=i)})
    store.refresh()
    return store


def test_arrays_come_back_as_they_went_in(tmp_path: Path) -> None:
    store = fill(tmp_path / "s")
    assert [row.clip.id for row in store.rows] == [f"c{i}" for i in range(6)]
    for i, row in enumerate(store.rows):
        read = store.read(row, KEY.stream)
        for name, array in outcome(i, frames=i).arrays.items():
            assert read[name].dtype == array.dtype
            np.testing.assert_array_equal(read[name], array)
        assert row.entries[KEY.stream].info == {"frames": i}


def test_natural_order(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "s", create=True)
    with store.writer() as writer:
        for name in ("c10", "c9", "a"):
            writer.add(Clip(name, "train"), None, {})
    store.refresh()
    assert [row.clip.id for row in store.rows] == ["a", "c9", "c10"]


def test_same_id_in_two_splits_is_two_clips(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "s", create=True)
    with store.writer() as writer:
        writer.add(Clip("1", "train"), source(), {KEY.stream: outcome(1)})
        writer.add(Clip("1", "val"), source(), {KEY.stream: outcome(2)})
    store.refresh()
    first, second = (store.read(row, KEY.stream)["mean"] for row in store.rows)
    assert not np.array_equal(first, second)


def test_small_shards_roll_over(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "s", create=True)
    with store.writer(shard_bytes=1) as writer:
        for i in range(3):
            writer.add(Clip(str(i), "train"), source(), {KEY.stream: outcome(i)})
    assert len(list((tmp_path / "s/shards").glob("*.h5"))) == 3


def test_nothing_is_promised_before_its_shard_is_in_place(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "s", create=True)
    writer = store.writer()
    writer.add(Clip("1", "train"), source(), {KEY.stream: outcome(1)})
    store.refresh()
    assert store.rows == []
    writer.flush()
    store.refresh()
    assert len(store.rows) == 1


def test_an_exception_still_closes_the_shard(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "s", create=True)
    with pytest.raises(KeyboardInterrupt), store.writer() as writer:
        writer.add(Clip("1", "train"), source(), {KEY.stream: outcome(1)})
        raise KeyboardInterrupt
    store.refresh()
    assert store.rows[0].has(KEY.stream)


def test_a_torn_journal_line_costs_nothing_else(tmp_path: Path) -> None:
    store = fill(tmp_path / "s", 3)
    journal = next((tmp_path / "s/journal").iterdir())
    journal.write_bytes(journal.read_bytes() + b'{"kind": "cl')
    store.refresh()
    assert len(store.rows) == 3


def test_two_writers_are_united_and_the_newer_outcome_counts(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "s", create=True)
    for seed in (1, 2):
        with store.writer() as writer:
            writer.add(Clip("1", "train", label=str(seed)), source(), {KEY.stream: outcome(seed)})
    store.refresh()
    assert len(list((tmp_path / "s/journal").iterdir())) == 2
    assert store.rows[0].clip.label == "2"
    np.testing.assert_array_equal(store.read(store.rows[0], KEY.stream)["mean"], outcome(2).arrays["mean"])


def test_a_changed_file_voids_what_was_made_of_the_old_one(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "s", create=True)
    with store.writer() as writer:
        writer.add(Clip("1", "train"), source("a"), {KEY.stream: outcome(1)})
        writer.add(Clip("1", "train"), source("b"), {})
    store.refresh()
    assert not store.rows[0].entries


def test_mixed_keys_are_refused_and_the_difference_named(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "s", create=True)
    with store.writer() as writer:
        writer.add(Clip("1", "train"), source(), {KEY.stream: outcome(1)})
        writer.add(Clip("2", "train"), source(), {OTHER.stream: outcome(1, key=OTHER)})
    store.refresh()
    with pytest.raises(MixedKeysError, match=r"precision: (fp32 / bf16|bf16 / fp32)"):
        store.key(KEY.stream)
    assert store.key(KEY.stream, store.rows[:1]) == KEY


def test_key_ignores_the_order_of_settings() -> None:
    assert FeatureKey("s", {"a": 1, "b": 2}).digest == FeatureKey("s", {"b": 2, "a": 1}).digest
    assert FeatureKey("s", {"a": 1}).digest != FeatureKey("s", {"a": 2}).digest


def test_damage_is_found_and_dropped(tmp_path: Path) -> None:
    store = fill(tmp_path / "s")
    shard = next((tmp_path / "s/shards").iterdir())
    with h5py.File(shard, "r+") as file:
        file[f"{KEY.digest}/mean"][-1] += 1
    with pytest.raises(StoreError, match="damaged"):
        store.read(store.rows[-1], KEY.stream)
    ((row, stream, _),) = damaged(store)
    assert (row.clip.id, stream) == ("c5", KEY.stream)
    with store.writer() as writer:
        writer.drop(row.clip, [stream])
    store.refresh()
    assert not store.rows[-1].entries
    assert store.rows[-2].has(KEY.stream)


def test_memory_maps_are_taken_as_arrays(tmp_path: Path) -> None:
    long = np.arange(3_000_000, dtype=np.float32).reshape(-1, 3)
    np.save(tmp_path / "long.npy", long)
    store = FeatureStore(tmp_path / "s", create=True)
    with store.writer() as writer:
        mapped = np.load(tmp_path / "long.npy", mmap_mode="r")
        writer.add(Clip("1", "train"), source(), {KEY.stream: Outcome(KEY, arrays={"basic": mapped})})
    store.refresh()
    np.testing.assert_array_equal(store.read(store.rows[0], KEY.stream)["basic"], long)


def test_export_is_self_contained(tmp_path: Path) -> None:
    store = fill(tmp_path / "s")
    assert export(store, tmp_path / "all.h5") == 6
    with h5py.File(tmp_path / "all.h5") as file:
        group = file["clips/train/c3"]
        assert group.attrs["label"] == "Happy"
        np.testing.assert_array_equal(group["net/default/mean"], outcome(3, frames=3).arrays["mean"])
        digest = group["net/default"].attrs["key"]
        assert json.loads(file["keys"].attrs[digest])["settings"] == dict(KEY.settings)


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="avemo-extract CLIPS"):
        FeatureStore(tmp_path / "none")
    store = fill(tmp_path / "s")
    (tmp_path / "s/store.json").write_text('{"format": "avemo feature store", "version": 99}')
    with pytest.raises(StoreError, match="version 99"):
        FeatureStore(tmp_path / "s")
    (tmp_path / "s/store.json").write_text("nonsense")
    with pytest.raises(StoreError, match="cannot be read"):
        FeatureStore(tmp_path / "s")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    with pytest.raises(StoreError, match="other files"):
        FeatureStore(tmp_path / "mine", create=True)
    with pytest.raises(StoreError, match="has no 'nothing'"):
        store.read(store.rows[0], "nothing")
    with pytest.raises(StoreError, match="it holds net/default"):
        store.key("nothing")
