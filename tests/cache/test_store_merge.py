"""``avemo store merge``: the union of stores, nothing lost, nothing mixed."""

from __future__ import annotations

import errno
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

from avemo.cache import merge as merging
from avemo.cache.checks import damaged
from avemo.cache.clips import Clip
from avemo.cache.errors import StoreError
from avemo.cache.keys import FeatureKey
from avemo.cache.merge import Merge
from avemo.cache.rows import Source
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.pipelines.cli.main import main

NET = FeatureKey("net/default", {"backbone": "net", "precision": "fp32"})
BF16 = FeatureKey("net/default", {"backbone": "net", "precision": "bf16"})
SOUND = FeatureKey("spectrogram", {"window": 640})
GIVEN = FeatureKey("fgnet/none", {"imported": True, "backbone": "fgnet", "dimensions": 256, "note": ""})

SHARD_ROWS = 3  # clips a shard, below
D = 256  # so many that a shard is mostly arrays


def clip(number: int, **known: str | None) -> Clip:
    return replace(Clip(f"c{number}", "train", f"/a/c{number}.avi", "Happy"), **known)


def source(number: int, content: str = "") -> Source:
    return Source(f"{content}{number:064d}", 1, 1)


def net(number: int, key: FeatureKey = NET, frames: int = 5) -> Outcome:
    rng = np.random.default_rng(number)
    arrays = {name: rng.normal(size=(frames, D)).astype(np.float32) for name in ("basic", "mean")}
    return Outcome(key, info={"frames": frames}, arrays=arrays)


def sound(number: int) -> Outcome:
    return Outcome(SOUND, arrays={"spectrogram": np.full((7, D), number, np.float32)})


def fill(path: Path, rows: Iterable[tuple[Clip, Source | None, Mapping[str, Outcome]]]) -> Path:
    """A store, of which each shard holds three clips."""
    with FeatureStore(path, create=True).writer() as writer:
        for number, (one, file, streams) in enumerate(rows, start=1):
            writer.add(one, file, streams)
            if number % SHARD_ROWS == 0:
                writer.flush()
    return path


def extracted(path: Path, numbers: Iterable[int], key: FeatureKey = NET) -> Path:
    return fill(
        path, [(clip(n), source(n), {key.stream: net(n, key), "spectrogram": sound(n)}) for n in numbers]
    )


def merge(*paths: Path) -> Result:
    return CliRunner().invoke(main, ["store", "merge", *map(str, paths)])


def assert_holds(path: Path, numbers: Iterable[int]) -> None:
    """The store holds these clips, each array as it was extracted, and no others."""
    with FeatureStore(path) as store:
        assert [row.clip for row in store.rows] == [clip(n) for n in sorted(numbers)]
        for row in store.rows:
            number = int(row.clip.id[1:])
            assert row.source == source(number)
            assert row.entries[NET.stream].info == {"frames": 5}
            for stream, outcome in {NET.stream: net(number), "spectrogram": sound(number)}.items():
                read = store.read(row, stream)
                assert read.keys() == outcome.arrays.keys()
                for name, array in outcome.arrays.items():
                    np.testing.assert_array_equal(read[name], array)


def shards(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (path / "shards").iterdir()}


def spoil(path: Path, digest: str, array: str = "mean", row: int = 0) -> None:
    """Change a value of a store that has one shard."""
    (shard,) = (path / "shards").iterdir()
    with h5py.File(shard, "r+") as file:
        file[f"{digest}/{array}"][row] += 1


def test_parts_become_one(tmp_path: Path) -> None:
    a, b = extracted(tmp_path / "a", range(7)), extracted(tmp_path / "b", range(7, 12))
    before = {**shards(a), **shards(b)}
    result = merge(tmp_path / "all", a, b)
    assert result.exit_code == 0, result.output
    assert f"{a}: 7 clips, 7 of them with something new\n" in result.stdout
    assert f"{tmp_path / 'all'}: 12 clips; next: avemo store status {tmp_path / 'all'}\n" in result.stdout
    assert_holds(tmp_path / "all", range(12))
    assert shards(tmp_path / "all") == before  # copied as files, under their names
    assert {**shards(a), **shards(b)} == before
    assert CliRunner().invoke(main, ["store", "verify", str(tmp_path / "all")]).exit_code == 0


def test_into_an_existing_store_and_again(tmp_path: Path) -> None:
    a, b = extracted(tmp_path / "a", range(5)), extracted(tmp_path / "b", range(3, 9))
    assert merge(a, b).exit_code == 0
    assert_holds(a, range(9))
    files = sorted(a.rglob("*"))
    result = merge(a, b)
    assert (result.exit_code, f"{b}: 6 clips, 0 of them with something new" in result.stdout) == (0, True)
    assert sorted(a.rglob("*")) == files


def test_the_same_is_kept_once(tmp_path: Path) -> None:
    a, b = extracted(tmp_path / "a", range(6)), extracted(tmp_path / "b", range(6))
    merge(tmp_path / "all", a, b)
    assert_holds(tmp_path / "all", range(6))
    assert shards(tmp_path / "all") == shards(a)


def test_streams_of_one_clip_come_from_several_stores(tmp_path: Path) -> None:
    a = fill(tmp_path / "a", [(clip(n), source(n), {NET.stream: net(n)}) for n in range(4)])
    b = fill(tmp_path / "b", [(clip(n), source(n), {"spectrogram": sound(n)}) for n in range(4)])
    merge(tmp_path / "all", a, b)
    assert_holds(tmp_path / "all", range(4))


def test_of_a_shard_that_is_mostly_not_wanted_only_the_rest_is_written(tmp_path: Path) -> None:
    a = extracted(tmp_path / "a", [0, 1])
    b = extracted(tmp_path / "b", [0, 1, 2])
    (big,) = shards(b).values()
    merge(tmp_path / "all", a, b)
    assert_holds(tmp_path / "all", range(3))
    assert not shards(b).keys() & shards(tmp_path / "all").keys()
    assert sum(map(len, shards(tmp_path / "all").values())) < sum(map(len, shards(a).values())) + len(big)


def test_superseded_arrays_stay_behind(tmp_path: Path) -> None:
    a = extracted(tmp_path / "a", range(3), BF16)
    with FeatureStore(a).writer() as writer:
        for n in range(3):
            writer.add(clip(n), source(n), {NET.stream: net(n), "spectrogram": sound(n)})
    merge(tmp_path / "all", a)
    assert_holds(tmp_path / "all", range(3))
    assert len(shards(a)) == 2 and len(shards(tmp_path / "all")) == 1


def test_rows_without_arrays_come_too(tmp_path: Path) -> None:
    silent = {NET.stream: net(0), "spectrogram": Outcome(SOUND, "absent", "no sound")}
    broken = {NET.stream: Outcome(NET, "failed", "moov atom not found")}
    a = fill(tmp_path / "a", [(clip(0), source(0), silent), (clip(1), None, broken), (clip(2), None, {})])
    merge(tmp_path / "all", a)
    with FeatureStore(tmp_path / "all") as store:
        first, second, third = store.rows
    assert (first.entries["spectrogram"].status, first.entries["spectrogram"].reason) == (
        "absent",
        "no sound",
    )
    assert second.failures == {NET.stream: "moov atom not found"}
    assert not third.entries


def test_what_failed_in_one_is_taken_from_another(tmp_path: Path) -> None:
    failed = {NET.stream: Outcome(BF16, "failed", "out of memory")}
    a = fill(tmp_path / "a", [(clip(0), None, failed)])
    b = fill(tmp_path / "b", [(clip(0), source(0), {NET.stream: net(0), "spectrogram": sound(0)})])
    for order in ([a, b], [b, a]):
        out = tmp_path / f"all-{order[0].name}"
        assert merge(out, *order).exit_code == 0
        assert_holds(out, [0])


def test_what_either_knows_of_a_clip_is_united(tmp_path: Path) -> None:
    known = clip(0, subject="7", path="/b/c0.avi")
    a = fill(tmp_path / "a", [(clip(0, label=None, path=""), None, {NET.stream: net(0)})])
    b = fill(tmp_path / "b", [(known, source(0), {NET.stream: net(0)})])
    merge(tmp_path / "all", a, b)
    with FeatureStore(tmp_path / "all") as store:
        (row,) = store.rows
    assert (row.clip, row.source) == (known, source(0))


@pytest.mark.parametrize(
    ("theirs", "complaint"),
    [
        ((clip(0), source(0), {NET.stream: net(0, BF16)}), "train/c0, net/default: precision: fp32 / bf16 ("),
        ((clip(0), source(0, "x"), {}), "train/c0, content of its file: 000000000000 / x00000000000 ("),
        ((clip(0, label="Sad"), source(0), {}), "train/c0, label: Happy / Sad ("),
        (
            (clip(0), source(0), {"fgnet/none": replace(net(1), key=GIVEN)}),
            "train/c0, values imported as fgnet/none: ",
        ),
    ],
)
def test_contradictions_are_refused_before_anything_is_done(
    theirs: tuple[Clip, Source, Mapping[str, Outcome]], complaint: str, tmp_path: Path
) -> None:
    ours = {NET.stream: net(0), "fgnet/none": replace(net(0), key=GIVEN)}
    a = fill(tmp_path / "a", [(clip(0), source(0), ours)])
    b = fill(tmp_path / "b", [theirs, (clip(1), source(1), {NET.stream: net(1)})])
    result = merge(tmp_path / "all", a, b)
    assert result.exit_code == 2
    assert "these stores contradict each other, so nothing was done:" in result.stderr
    assert complaint in result.stderr and f"({a} / {b})" in result.stderr
    assert not (tmp_path / "all").exists()
    before = sorted(a.rglob("*"))
    assert merge(a, b).exit_code == 2
    assert sorted(a.rglob("*")) == before


def test_many_contradictions_are_counted(tmp_path: Path) -> None:
    a, b = extracted(tmp_path / "a", range(9)), extracted(tmp_path / "b", range(9), BF16)
    lines = merge(tmp_path / "all", a, b).stderr.splitlines()
    assert sum("precision: fp32 / bf16" in line for line in lines) == 5
    assert "  and 4 more" in lines


def test_other_clips_of_other_settings_are_taken_and_told(tmp_path: Path) -> None:
    a, b = extracted(tmp_path / "a", range(4)), extracted(tmp_path / "b", range(4, 6), BF16)
    result = merge(tmp_path / "all", a, b)
    assert result.exit_code == 0
    assert "note: 'net/default' was extracted with different settings: 4 clips one way and 2" in result.stderr
    assert "precision: fp32 / bf16" in result.stderr


def test_damage_is_found_left_out_and_named(tmp_path: Path) -> None:
    a, b = extracted(tmp_path / "a", range(3)), extracted(tmp_path / "b", [3])
    spoil(a, NET.digest, row=7)  # of the second clip's five
    result = merge(tmp_path / "all", a, b)
    assert result.exit_code == 1
    assert "left out: train/c1, net/default: " in result.stderr and "is damaged at" in result.stderr
    assert f"{tmp_path / 'all'}: 4 clips; 1 damaged streams left out; next: " in result.stdout
    with FeatureStore(tmp_path / "all") as store:
        assert [row.has(NET.stream) for row in store.rows] == [True, False, True, True]
        assert all(row.has("spectrogram") for row in store.rows)
        assert not list(damaged(store))
    assert merge(tmp_path / "all", a, b).exit_code == 1  # still not to be had
    mended = extracted(tmp_path / "c", [1])
    assert merge(tmp_path / "all", a, b, mended).exit_code == 0
    assert_holds(tmp_path / "all", range(4))


def test_what_is_damaged_in_the_target_is_made_good_after_verify(tmp_path: Path) -> None:
    a = extracted(tmp_path / "a", range(3))
    merge(tmp_path / "all", a)
    spoil(tmp_path / "all", NET.digest)
    assert CliRunner().invoke(main, ["store", "verify", str(tmp_path / "all"), "--repair"]).exit_code == 1
    assert merge(tmp_path / "all", a).exit_code == 0
    assert_holds(tmp_path / "all", range(3))


@pytest.mark.parametrize("how", ["lost", "cut short", "no HDF5"])
def test_a_shard_that_cannot_be_opened_costs_its_clips(how: str, tmp_path: Path) -> None:
    a, b = extracted(tmp_path / "a", range(3)), extracted(tmp_path / "b", [3])
    (shard,) = (a / "shards").iterdir()
    content = shard.read_bytes()
    shard.unlink()
    if how != "lost":
        shard.write_bytes(content[: len(content) // 2] if how == "cut short" else b"x" * len(content))
    result = merge(tmp_path / "all", a, b)
    assert result.exit_code == 1
    assert result.stderr.count("left out: ") == 6
    with FeatureStore(tmp_path / "all") as store:
        assert [row.clip for row in store.rows] == [clip(n) for n in range(4)]  # no clip vanishes
        assert [row.has(NET.stream) for row in store.rows] == [False, False, False, True]
    assert shards(tmp_path / "all") == shards(b)


def test_a_failing_disk_costs_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: Path, target: Path) -> None:
        target.write_bytes(b"a part")
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(merging, "copy", failing)
    assert merge(tmp_path / "all", extracted(tmp_path / "a", range(3))).exit_code == 0
    assert_holds(tmp_path / "all", range(3))


def test_a_full_disk_stops_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, copied = extracted(tmp_path / "a", range(9)), []

    def filling(shard: Path, target: Path) -> None:
        copied.append(shard)
        if len(copied) == 3:
            target.write_bytes(b"a part")
            raise OSError(errno.ENOSPC, "No space left on device")
        copy(shard, target)

    copy = merging.copy
    with monkeypatch.context() as patched:
        patched.setattr(merging, "copy", filling)
        result = merge(tmp_path / "all", a)
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr and "run the same command again" in result.stderr
    with FeatureStore(tmp_path / "all") as store:
        assert sum(row.has(NET.stream) for row in store.rows) == 6
    assert len(shards(tmp_path / "all")) == 2  # no part of a file stays
    assert merge(tmp_path / "all", a).exit_code == 0
    assert_holds(tmp_path / "all", range(9))


def test_too_little_room_is_told_before_copying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging.shutil, "disk_usage", lambda path: _Usage)
    a, target = FeatureStore(extracted(tmp_path / "a", range(3))), FeatureStore(tmp_path / "all", create=True)
    with pytest.raises(StoreError, match=r"adds 0 MB to .*, whose disk has 0 MB free; free some space"):
        list(Merge(a, target))
    assert not shards(tmp_path / "all")


class _Usage:
    free = 10


KILLED = """
import os, signal, sys
import avemo.cache.durable, avemo.cache.journal, avemo.cache.merge
from avemo.pipelines.cli.main import main
module, name, count = sys.argv[1:4]
module = sys.modules[module]
original, calls = getattr(module, name), []
def killing(*arguments):
    calls.append(1)
    if len(calls) == int(count):
        if name == "copy":
            arguments[1].write_bytes(b"a part")
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)
setattr(module, name, killing)
main(sys.argv[4:])
"""


@pytest.mark.parametrize(
    ("moment", "promised"),
    [
        (("avemo.cache.merge", "copy", 2), 3),  # while the second shard is copied
        (("avemo.cache.merge", "put", 2), 3),  # before it is renamed
        (("avemo.cache.journal", "append", 2), 3),  # before it is on the books
        (("avemo.cache.journal", "append", 1), 0),
    ],
)
def test_killed_anywhere_it_goes_on(moment: tuple[str, str, int], promised: int, tmp_path: Path) -> None:
    a, b = extracted(tmp_path / "a", range(5)), extracted(tmp_path / "b", range(5, 8))
    command = ["store", "merge", *map(str, (tmp_path / "all", a, b))]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, moment), *command], capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with FeatureStore(tmp_path / "all") as store:
        assert sum(row.has(NET.stream) for row in store.rows) == promised
        assert not list(damaged(store))
    assert CliRunner().invoke(main, command).exit_code == 0
    assert_holds(tmp_path / "all", range(8))
    whole = shards(tmp_path / "all")
    assert {name: whole.get(name) for name in {**shards(a), **shards(b)}} == {**shards(a), **shards(b)}


def test_a_shard_outside_the_store_is_never_touched(tmp_path: Path) -> None:
    """A journal may be a stranger's."""
    a = extracted(tmp_path / "a", range(2))
    (journal,) = (a / "journal").iterdir()
    (shard,) = (a / "shards").iterdir()
    text = journal.read_text().replace(shard.name, f"../../{shard.name}")
    journal.write_text(re.sub(r',"sum":"\w+"', "", text))
    shard.rename(tmp_path / shard.name)
    result = merge(tmp_path / "all", a)
    assert (result.exit_code, "a shard is a file in the store's shards folder" in result.stderr) == (1, True)
    assert not shards(tmp_path / "all")
    assert (tmp_path / shard.name).exists()


def test_wrong_arguments(tmp_path: Path) -> None:
    a = extracted(tmp_path / "a", range(2))
    assert "is named twice" in merge(tmp_path / "all", a, a).stderr
    assert "is named twice" in merge(a, tmp_path / "x/../a").stderr
    assert "is not a feature store" in merge(tmp_path / "all", tmp_path / "none").stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").touch()
    result = merge(tmp_path / "mine", a)
    assert (result.exit_code, "other files in it" in result.stderr) == (2, True)
    assert CliRunner().invoke(main, ["store", "merge", str(a)]).exit_code == 2


def test_the_status_of_a_merged_store_is_that_of_one_extracted_whole(tmp_path: Path) -> None:
    a, b = extracted(tmp_path / "a", range(5)), extracted(tmp_path / "b", range(5, 8))
    whole = extracted(tmp_path / "whole", range(8))
    merge(tmp_path / "all", a, b)
    results = [
        json.loads(CliRunner().invoke(main, ["store", "status", str(path), "--json"]).stdout)
        for path in (tmp_path / "all", whole)
    ]
    assert {**results[0], "store": ""} == {**results[1], "store": ""}
