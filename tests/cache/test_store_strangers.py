"""Stores that a disk, or a stranger, changed: each is told, and takes no more memory than it has bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from avemo.cache import journal, ledger
from avemo.cache.clips import Clip
from avemo.cache.errors import StoreError
from avemo.cache.keys import FeatureKey
from avemo.cache.reading import read_json
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome

KEY = FeatureKey("net/default", {})
NAME = f"{KEY.digest}/mean"
VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with FeatureStore(tmp_path / "store", create=True) as opened, opened.writer() as writer:
        writer.add(
            Clip("a", "train", label="Happy"), None, {KEY.stream: Outcome(KEY, arrays={"mean": VALUES})}
        )
    return tmp_path / "store"


def read(store: Path) -> np.ndarray:
    with FeatureStore(store) as opened:
        return opened.read(opened.rows[0], KEY.stream)["mean"]


def change(store: Path, made: Callable[[Any], None]) -> None:
    (shard,) = (store / "shards").iterdir()
    with h5py.File(shard, "r+") as file:
        del file[NAME]
        made(file)


def lines_of(store: Path) -> tuple[Path, list[bytes]]:
    (path,) = (store / "journal").iterdir()
    return path, path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("dtype", ["<i4", ">f4", "<u4"])
def test_the_same_bytes_of_another_type_are_damage(store: Path, dtype: str) -> None:
    change(store, lambda file: file.create_dataset(NAME, data=VALUES.view(dtype)))
    with pytest.raises(StoreError, match="is damaged"):
        read(store)


@pytest.mark.parametrize("chunks", [None, (1024, 3)])
def test_a_declared_terabyte_takes_no_memory(store: Path, chunks: tuple[int, int] | None) -> None:
    change(store, lambda file: file.create_dataset(NAME, shape=(10**11, 3), dtype="f4", chunks=chunks))
    path, lines = lines_of(store)
    record = json.loads(lines[-1])
    del record["sum"]
    (arrays,) = (entry["arrays"] for entry in record["streams"].values())
    arrays["mean"][3] = 10**11
    path.write_bytes(b"".join([*lines[:-1], journal._line(record)]))
    with pytest.raises(StoreError, match="cannot be read"):
        read(store)


def test_references_of_before_there_were_kinds_are_read(store: Path) -> None:
    path, lines = lines_of(store)
    record = json.loads(lines[-1])
    del record["sum"]
    (arrays,) = (entry["arrays"] for entry in record["streams"].values())
    del arrays["mean"][5]
    path.write_bytes(b"".join([*lines[:-1], journal._line(record)]))
    np.testing.assert_array_equal(read(store), VALUES)


def test_a_record_whose_checksum_is_no_checksum_any_more_is_damage(store: Path) -> None:
    path, lines = lines_of(store)
    lines[-1] = lines[-1].replace(b'"sum"', b'"som"').replace(b"Happy", b"Hippy")
    path.write_bytes(b"".join(lines))
    with FeatureStore(store) as opened:
        assert not opened.rows
        assert [line.why for line in opened.senseless] == ["its checksum is damaged"]


def test_a_line_that_never_ends_is_cut(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, lines = lines_of(store)
    for module in (journal, ledger):
        monkeypatch.setattr(module, "LONGEST_LINE", 4096)
    path.write_bytes(b"".join([lines[0], b"[" * 100_000 + b"\n", *lines[1:]]))
    np.testing.assert_array_equal(read(store), VALUES)
    with FeatureStore(store) as opened:
        assert [line.line for line in opened.senseless] == [2]


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": 1, "a": 2}', "{", "\udcff"])
def test_json_that_cannot_be_used_is_one_kind_of_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError):
        read_json(tmp_path / "a.json")
