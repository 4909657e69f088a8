"""Full disks, races and kills: a store is whole or it is not there."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from avemo.cache import durable
from avemo.cache.checks import damaged
from avemo.cache.clips import Clip
from avemo.cache.errors import StoreError
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.cache.writer import STALE_SECONDS, Outcome

KEY = FeatureKey("net/default", {"backbone": "net"})


def made(*shape: int) -> dict[str, Outcome]:
    return {KEY.stream: Outcome(KEY, arrays={"mean": np.ones(shape, np.float32)})}


def test_an_append_that_fails_half_way_costs_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk takes some bytes of a line; then there is room again."""
    store = FeatureStore(tmp_path / "s", create=True)
    with store.writer() as writer:
        writer.add(Clip("1", "train"), None, made(2, 2))
        writer.flush()
        writer.add(Clip("2", "train"), None, made(2, 2))
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", _filling(30))
            with pytest.raises(StoreError, match=r"cannot write .*No space left on device.*free some space"):
                writer.flush()
    store.refresh()
    assert [row.has(KEY.stream) for row in store.rows] == [True, True]
    assert store.senseless == []


def test_a_torn_line_swallows_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is so full, or failing, that what was written cannot be taken back either."""
    path = tmp_path / "lines"
    durable.append(path, b"one\n")

    def failing(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", _filling(2))
        patched.setattr(os, "ftruncate", failing)
        with pytest.raises(OSError, match="No space"):
            durable.append(path, b"two\n")
    durable.append(path, b"two\n")
    assert path.read_bytes() == b"one\ntw\ntwo\n"


def _filling(room: int):
    write, left = os.write, [room]

    def limited(handle: int, content: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = write(handle, bytes(content)[: left[0]])
        left[0] -= count
        return count

    return limited


FULL = """
import os, resource, sys
import numpy as np
from pathlib import Path
from avemo.cache.checks import export
from avemo.cache.clips import Clip
from avemo.cache.errors import StoreError
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome

path, limit = Path(sys.argv[1]), int(sys.argv[2])
key = FeatureKey("net/default", {"backbone": "net"})
made = {"net/default": Outcome(key, arrays={"mean": np.ones((50_000, 10), np.float32)})}
store = FeatureStore(path, create=True)
with store.writer() as writer:
    writer.add(Clip("1", "train"), None, made)
store.refresh()
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
for work in ("add", "export"):
    try:
        if work == "add":
            with store.writer() as writer:
                writer.add(Clip("2", "train"), None, made)
        else:
            export(store, path.with_name("all.h5"))
    except StoreError as error:
        print(error)
for folder in (path / "shards", path.parent):
    print(sorted(entry.suffix for entry in folder.iterdir()))
held = 0
for number in range(100):
    try:
        if os.fstat(number).st_nlink == 0:
            held += os.fstat(number).st_size
    except OSError:
        continue
print(held)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
with store.writer() as writer:
    writer.add(Clip("2", "train"), None, made)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
@pytest.mark.parametrize("limit", [2000, 500_000, 1_999_999])
def test_a_really_full_disk_is_told_and_nothing_unfinished_stays(limit: int, tmp_path: Path) -> None:
    """h5py raises OSError when it writes, RuntimeError when it closes; both end as one clear line."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "s"), str(limit)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for line, what in zip(lines, ("shards/", "all.h5"), strict=False):
        assert line.startswith("cannot write ") and what in line and "File too large" in line
    assert lines[2:] == ["['.h5']", "['']", "0"]  # no temporary file, and none that is only unlinked
    with FeatureStore(tmp_path / "s") as store:
        assert [row.has(KEY.stream) for row in store.rows] == [True, True]
        assert not list(damaged(store))


CREATE = """
import sys
from avemo.cache.clips import Clip
from avemo.cache.store import FeatureStore
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    with FeatureStore(f"{sys.argv[1]}/{number}/deep", create=True).writer() as writer:
        writer.add(Clip(sys.argv[2], "train"), None, {})
"""


def test_processes_that_create_one_store_at_once_share_it(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, str(tmp_path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "abcd"
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=120)[1] for process in processes] == [""] * 4
    for number in range(40):
        with FeatureStore(tmp_path / f"{number}/deep") as store:
            assert [row.clip.id for row in store.rows] == list("abcd")


def test_a_creation_that_was_killed_is_gone_on_with(tmp_path: Path) -> None:
    for parts in ([], ["journal"], ["journal", "shards"], ["journal", "shards", ".store.json.7-ab.tmp"]):
        path = tmp_path / str(len(parts))
        path.mkdir()
        for part in parts:
            (path / part).touch() if part.endswith(".tmp") else (path / part).mkdir()
        assert FeatureStore(path, create=True).rows == []
    (tmp_path / "diary/journal").mkdir(parents=True)
    (tmp_path / "diary/journal/monday.txt").touch()
    with pytest.raises(StoreError, match="other files in it"):
        FeatureStore(tmp_path / "diary", create=True)


def test_a_store_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot make a store"):
        FeatureStore(tmp_path / "file/s", create=True)


def test_arrays_without_a_value_are_stored(tmp_path: Path) -> None:
    """A shard of nothing else is written all the same: the journal tells of it."""
    store = FeatureStore(tmp_path / "s", create=True)
    with store.writer() as writer:
        writer.add(Clip("1", "train"), None, made(0, 4))
    store.refresh()
    assert store.read(store.rows[0], KEY.stream)["mean"].shape == (0, 4)
    assert not list(damaged(store))


def test_replacing_syncs_before_it_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("sync"), fsync(handle)))
    monkeypatch.setattr(Path, "replace", lambda a, b: (calls.append("rename"), replace(a, b))[1])
    with durable.replacing(tmp_path / "a") as one, durable.replacing(tmp_path / "a") as other:
        assert one != other  # the same process, the same file
        one.write_text("1")
        other.write_text("2")
    assert calls == ["sync", "rename", "sync"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    with pytest.raises(ValueError, match="no"), durable.replacing(tmp_path / "a") as temporary:
        temporary.write_text("3")
        raise ValueError("no")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["1"]


def test_what_a_killed_writer_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "s", create=True)
    new, old = (tmp_path / f"s/shards/.{name}.h5.tmp" for name in ("new", "old"))
    for path in (new, old):
        path.write_bytes(b"a part")
    os.utime(old, (0, time.time() - STALE_SECONDS - 60))
    with store.writer():
        assert new.exists() and not old.exists()


def _soft(file: h5py.File, name: str, _: Path) -> None:
    file.move(name, "elsewhere")
    file[name] = h5py.SoftLink("/elsewhere")


def _soft_group(file: h5py.File, name: str, _: Path) -> None:
    group = name.partition("/")[0]
    file.move(group, "elsewhere")
    file[group] = h5py.SoftLink("/elsewhere")


def _external(file: h5py.File, name: str, other: Path) -> None:
    with h5py.File(other, "w") as target:
        file.copy(name, target, "values")
    del file[name]
    file[name] = h5py.ExternalLink(str(other), "/values")


def _virtual(file: h5py.File, name: str, other: Path) -> None:
    shape, dtype = file[name].shape, file[name].dtype
    with h5py.File(other, "w") as target:
        file.copy(name, target, "values")
    layout = h5py.VirtualLayout(shape, dtype)
    layout[:] = h5py.VirtualSource(str(other), "values", shape=shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


def _stored_outside(file: h5py.File, name: str, other: Path) -> None:
    array = file[name][()]
    other.write_bytes(array.tobytes())
    del file[name]
    file.create_dataset(
        name, shape=array.shape, dtype=array.dtype, external=[(str(other), 0, h5py.h5f.UNLIMITED)]
    )


def _objects(file: h5py.File, name: str, _: Path) -> None:
    count = len(file[name])
    del file[name]
    file.create_dataset(name, data=["x"] * count, dtype=h5py.string_dtype())


def _group(file: h5py.File, name: str, _: Path) -> None:
    del file[name]
    file.create_group(name)


@pytest.mark.parametrize(
    "change", [_soft, _soft_group, _external, _virtual, _stored_outside, _objects, _group]
)
def test_a_shard_whose_arrays_are_not_its_own_is_refused(change, tmp_path: Path) -> None:
    """A shard may be a stranger's; the values behind the links are the right ones here."""
    with FeatureStore(tmp_path / "s", create=True).writer() as writer:
        writer.add(Clip("1", "train"), None, made(3, 4))
    (shard,) = (tmp_path / "s/shards").iterdir()
    with h5py.File(shard, "r+") as file:
        change(file, f"{KEY.digest}/mean", tmp_path / "other")
    with FeatureStore(tmp_path / "s") as store:
        ((_, _, problem),) = damaged(store)
        with pytest.raises(StoreError):
            store.nbytes(store.rows[0], KEY.stream)
    assert shard.name in problem and "--repair" in problem


def test_a_disk_without_locks_holds_a_store_and_features_to_import(tmp_path: Path) -> None:
    """NFS without a lock daemon answers every lock with ENOLCK, as this library does."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler, and Linux, to take locks away")
    source, library = tmp_path / "nolock.c", tmp_path / "nolock.so"
    source.write_text("#include <errno.h>\nint flock(int file, int how) { errno = ENOLCK; return -1; }\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    code = (
        "import sys, h5py, numpy as np\n"
        "from avemo.cache.arrays import Hdf5File\n"
        "from avemo.cache.clips import Clip\nfrom avemo.cache.keys import FeatureKey\n"
        "from avemo.cache.store import FeatureStore\nfrom avemo.cache.writer import Outcome\n"
        "key = FeatureKey('net/default', {'backbone': 'net'})\n"
        "with FeatureStore(sys.argv[1], create=True) as store:\n"
        "    with store.writer() as writer:\n"
        "        made = {key.stream: Outcome(key, arrays={'mean': np.ones((3, 2), np.float32)})}\n"
        "        writer.add(Clip('a', 'train'), None, made)\n"
        "    store.refresh()\n"
        "    print(store.read(store.rows[0], key.stream)['mean'].sum())\n"
        "with h5py.File(sys.argv[1] + '.h5', 'w', locking=False) as file:\n"
        "    file['a'] = np.ones(2)\n"
        "with Hdf5File(sys.argv[1] + '.h5') as arrays:\n"
        "    print(*arrays.names)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HDF5_USE_FILE_LOCKING"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s")],
        env={**environment, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("6.0\na\n", 0), done.stderr
