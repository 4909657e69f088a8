"""Stage 1 as a whole: every clip ends as a row, nothing is made twice, nothing depends on how it was run."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch  # children import this module, and so have it before their first task

from avemo.cache.clips import Clip
from avemo.cache.store import FeatureStore
from avemo.extract.clip import ClipJob, ClipResult, extract_clip
from avemo.extract.decode.heard import SoundDecoder
from avemo.extract.plan import Plan
from avemo.extract.run import Extraction
from avemo.extract.spool import OnDisk, Spool, remove_dead, spool_folder
from avemo.extract.stopwatch import step
from avemo.pipelines.tally import Tally

MakeClip = Callable[..., Path]
QUICK = Plan(view_sets=("none",))
BOTH = Plan(view_sets=("none", "default"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> list[Clip]:
    folder = tmp_path_factory.mktemp("clips")
    paths = [make_clip(folder / f"c{n}.mp4", frames=3 + n % 3) for n in range(6)]
    return [Clip(path.stem, "train", str(path), label="Happy") for path in paths]


def extract(clips: list[Clip], path: Path, plan: Plan | None = None, workers: int = 1) -> FeatureStore:
    store = FeatureStore(path, create=True)
    for _ in Extraction(clips, plan or QUICK, store, workers, in_process=workers == 1):
        pass
    store.refresh()
    return store


def assert_same(a: FeatureStore, b: FeatureStore, tolerance: float = 0.0) -> None:
    assert [row.clip.key for row in a.rows] == [row.clip.key for row in b.rows]
    for row, other in zip(a.rows, b.rows, strict=True):
        assert row.entries.keys() == other.entries.keys()
        for stream in row.entries:
            if row.has(stream):
                theirs = b.read(other, stream)
                for name, array in a.read(row, stream).items():
                    np.testing.assert_allclose(array, theirs[name], atol=tolerance, rtol=0)


def test_a_store_holds_every_stream(clips: list[Clip], tmp_path: Path) -> None:
    store = extract(clips, tmp_path / "s", Plan(view_sets=("default", "wide", "none")))
    assert store.streams == [
        "descriptors",
        "faces",
        "ferplusnet/default",
        "ferplusnet/none",
        "ferplusnet/wide",
        "logmel",
        "spectrogram",
    ]
    row = store.rows[0]
    statistics = store.read(row, "ferplusnet/default")
    assert {name: array.shape for name, array in statistics.items()} == {
        **dict.fromkeys(("basic", "mean", "std"), (3, 512)),
        "times": (3,),
    }
    assert list(store.read(row, "ferplusnet/none")) == ["basic", "times"]
    basic = [store.read(row, f"ferplusnet/{name}")["basic"] for name in ("default", "wide", "none")]
    np.testing.assert_array_equal(basic[0], basic[1])
    np.testing.assert_allclose(basic[0], basic[2], atol=1e-4)
    assert store.read(row, "spectrogram")["spectrogram"].shape[1:] == (200,)
    assert store.read(row, "logmel")["logmel"].shape[1:] == (3, 40)
    described = {name: array.shape[1:] for name, array in store.read(row, "descriptors").items()}
    sizes = {"f0": 1, "voice": 3, "level": 1, "loudness": 1, "spectrum": 4, "mfcc": 13}
    assert described == {**{name: (size,) for name, size in sizes.items()}, "times": ()}
    assert row.entries["faces"].info == {"frames": 3, "faces": 0}


def test_a_second_run_does_nothing(clips: list[Clip], tmp_path: Path) -> None:
    store = extract(clips, tmp_path / "s")
    run = Extraction(clips, QUICK, store)
    assert run.jobs == []
    assert run.renewed == []
    os.utime(clips[0].path)  # a new date alone is no new clip
    assert Extraction(clips, QUICK, store).jobs == []


def test_only_what_is_missing_is_made(clips: list[Clip], tmp_path: Path) -> None:
    store = extract(clips, tmp_path / "s")
    run = Extraction(clips, BOTH, store)
    assert {tuple(job.keys) for job in run.jobs} == {("ferplusnet/default",)}
    assert all(job.faces is not None for job in run.jobs)  # faces are not searched again
    list(run)
    store.refresh()
    assert_same(store, extract(clips, tmp_path / "both", BOTH), 1e-4)


def test_other_settings_are_named(clips: list[Clip], tmp_path: Path) -> None:
    store = extract(clips, tmp_path / "s")
    run = Extraction(clips, Plan(view_sets=("none",), max_frames=2), store)
    assert run.changes["faces"] == ["max_frames: None / 2"]
    assert len(run.jobs) == len(clips)
    assert {"faces", "ferplusnet/none"} == set(run.jobs[0].keys)


def test_a_new_label_is_taken_over(clips: list[Clip], tmp_path: Path) -> None:
    store = extract(clips, tmp_path / "s")
    relabelled = [Clip(clip.id, clip.split, clip.path, "Sad", "anna") for clip in clips]
    run = Extraction(relabelled, QUICK, store)
    assert (run.jobs, run.renewed) == ([], relabelled)
    list(run)
    store.refresh()
    assert {(row.clip.label, row.clip.subject) for row in store.rows} == {("Sad", "anna")}
    assert store.rows[0].has("ferplusnet/none")


def test_ids_of_before_are_renamed_and_nothing_is_made_again(clips: list[Clip], tmp_path: Path) -> None:
    store = extract(clips, tmp_path / "s")
    now = [Clip(f"Happy/{clip.id}", clip.split, clip.path, "Happy") for clip in clips]
    assert len(Extraction(now, QUICK, store).jobs) == len(clips)  # files named one by one say nothing of ids
    run = Extraction(now, QUICK, store, rename=True)
    assert (run.jobs, run.renewed, run.duplicates) == ([], [], [])
    assert [clip for _, clip in run.renamed] == now
    list(run)
    with FeatureStore(tmp_path / "s") as reopened:
        assert [row.clip for row in reopened.rows] == now
        assert all(row.source for row in reopened.rows)
        renamed = {row.clip.path: reopened.read(row, "ferplusnet/none")["basic"] for row in reopened.rows}
    for row in extract(clips, tmp_path / "fresh").rows:
        assert row.has("ferplusnet/none") and row.clip.path in renamed
    assert not Extraction(now, QUICK, FeatureStore(tmp_path / "s"), rename=True).renamed


def test_a_clip_stored_under_both_ids_is_kept_once(clips: list[Clip], tmp_path: Path) -> None:
    now = [Clip(f"Happy/{clip.id}", "train", clip.path, "Happy") for clip in clips[:2]]
    moved = Clip(clips[2].id, "val", clips[2].path, "Happy")
    store = extract([*clips[:3], *now], tmp_path / "s")
    run = Extraction([*now, moved], QUICK, store, rename=True)
    assert (run.duplicates, [clip for _, clip in run.renamed]) == (clips[:2], [moved])
    list(run)
    store.refresh()
    assert {row.clip.key for row in store.rows} == {clip.key for clip in (*now, moved)}


def test_a_label_is_not_given_up_for_an_unlabelled_name(clips: list[Clip], tmp_path: Path) -> None:
    store = extract(clips[:1], tmp_path / "s")
    run = Extraction([Clip("other", "all", clips[0].path)], QUICK, store, rename=True)
    assert not run.renamed and len(run.jobs) == 1


def test_a_changed_file_is_made_again(make_clip: MakeClip, tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", 4)
    clip = Clip("a", "train", str(path))
    store = extract([clip], tmp_path / "s")
    make_clip(path, 7)
    assert len(Extraction([clip], QUICK, store).jobs) == 1
    store = extract([clip], tmp_path / "s")
    assert store.rows[0].entries["faces"].info["frames"] == 7


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("int8", 0.0)])
def test_processes_and_batches_do_not_matter(
    clips: list[Clip], tmp_path: Path, precision: str, tolerance: float
) -> None:
    """To 1e-4: convolutions add up in another order when a batch has another size, which integers stand."""
    plan = Plan(view_sets=("none",), device="cpu", precision=precision)
    one = extract(clips, tmp_path / "one", replace(plan, batch=1), workers=1)
    two = extract(clips, tmp_path / "two", replace(plan, batch=72), workers=2)
    assert_same(one, two, tolerance)


def test_bad_clips_cost_themselves_only(make_clip: MakeClip, tmp_path: Path) -> None:
    good = make_clip(tmp_path / "good.mp4")
    (tmp_path / "text.mp4").write_text("not a clip")
    (tmp_path / "empty.mp4").write_bytes(b"")
    make_clip(tmp_path / "silent.mp4", sound=False)
    make_clip(tmp_path / "blind.mp4", frames=0)
    make_clip(tmp_path / "one frame.mp4", frames=1)
    names = ["good", "text", "empty", "silent", "blind", "one frame", "gone"]
    clips = [Clip(name, "train", str(tmp_path / f"{name}.mp4")) for name in names]
    store = FeatureStore(tmp_path / "s", create=True)
    results = {result.job.clip.id: result for result in Extraction(clips, QUICK, store, workers=2)}
    assert {name for name, result in results.items() if result.failure} == {"text", "empty", "gone"}
    assert "no sound" in results["silent"].notes[-1]
    assert "no video" in results["blind"].notes[0]
    store.refresh()
    rows = {row.clip.id: row for row in store.rows}
    assert len(rows) == len(names)
    assert rows["silent"].has("ferplusnet/none")
    assert not rows["silent"].has("spectrogram")
    assert rows["blind"].has("spectrogram")
    assert not rows["blind"].has("ferplusnet/none")
    assert rows["one frame"].entries["faces"].info["frames"] == 1
    assert good.exists()
    again = {job.clip.id for job in Extraction(clips, QUICK, store).jobs}
    assert again == {"text", "empty", "gone"}  # what failed is tried again


def workers_of(pid: int) -> list[int]:
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(maxsplit=2) for line in listing.stdout.splitlines()]
    return [int(row[0]) for row in rows if int(row[1]) == pid and "popen_loky" in row[2]]


def test_a_lost_process_costs_no_clip(clips: list[Clip], tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "s", create=True)
    done = []
    for number, result in enumerate(Extraction(clips, QUICK, store, workers=2)):
        done.append(result)
        if number == 0:
            for pid in workers_of(os.getpid()):
                os.kill(pid, signal.SIGKILL)
    assert sorted(result.job.clip.id for result in done) == sorted(clip.id for clip in clips)
    assert not any(result.failure for result in done)


def kill_whoever_opens(path: Path, ended: threading.Event) -> None:
    """As a file does that crashes its decoder."""
    while not ended.is_set():
        time.sleep(0.01)
        for children in Path("/proc/self/task").glob("*/children"):
            with suppress(OSError):  # a process or a file that is closed by now
                for pid in map(int, children.read_text().split()):
                    if any(fd.readlink() == path for fd in Path(f"/proc/{pid}/fd").iterdir()):
                        os.kill(pid, signal.SIGSEGV)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="sees in /proc who has a file open")
def test_a_killer_clip_costs_itself_alone_on_every_resume(make_clip: MakeClip, tmp_path: Path) -> None:
    names = ["good", "killer", "other"]
    paths = [make_clip(tmp_path / f"{name}.mp4", 400 if name == "killer" else 3) for name in names]
    clips = [Clip(path.stem, "train", str(path)) for path in paths]
    ended = threading.Event()
    watcher = threading.Thread(target=kill_whoever_opens, args=(tmp_path / "killer.mp4", ended))
    watcher.start()
    try:
        store = FeatureStore(tmp_path / "s", create=True)
        for _ in range(2):
            results = list(Extraction(clips, QUICK, store, workers=1))
            failures = {result.job.clip.id: result.failure for result in results}
            assert "crashed its process" in failures.pop("killer")
            assert not any(failures.values())
            store.refresh()
            rows = {row.clip.id: row for row in store.rows}
            assert sorted(rows) == names and rows["killer"].failures
            assert rows["good"].has("spectrogram") and rows["other"].has("ferplusnet/none")
    finally:
        ended.set()
        watcher.join()
    assert len(results) == 1  # the resume did nothing else


def hanging(plan: Plan, job: ClipJob, *others: Any) -> ClipResult:
    """The real work, in a process in which some clips' decoder hangs or eats memory in the third packet."""
    decode = SoundDecoder._decoded
    count = 0

    def decoded(decoder: SoundDecoder, *arguments: Any) -> list[Any]:
        nonlocal count
        count += 1
        while count == 3 and "hang" in job.clip.id:
            time.sleep(0.01)
        eaten: list[torch.Tensor] = []
        while count == 3 and "eat" in job.clip.id:
            eaten.append(torch.ones(16 << 20))
            time.sleep(0.02)
            step()  # it gets on
        return decode(decoder, *arguments)

    SoundDecoder._decoded = decoded  # type: ignore[method-assign]
    return extract_clip(plan, job, *others)


@pytest.mark.slow
def test_clips_that_hang_or_eat_memory_cost_themselves_alone(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Plan(pictures=False, backbones=())
    names = ["a", "eats", "hangs", "z"]
    clips = [Clip(name, "train", str(make_clip(tmp_path / f"{name}.mp4", 5))) for name in names]
    with FeatureStore(tmp_path / "s", create=True) as store, monkeypatch.context() as changed:
        changed.syspath_prepend(str(Path(__file__).resolve().parents[2]))
        changed.setattr("avemo.extract.crew.extract_clip", hanging)
        run = Extraction(clips, heard, store, workers=2, silence=15, memory=2 << 30)
        failures = {result.job.clip.id: result.failure for result in run}
        store.refresh()
    assert failures["hangs"] == "sound: no progress for 15 s (--clip-timeout)"
    assert failures["eats"].startswith("sound: took more than the 2.1 GB of memory")
    assert (failures["a"], failures["z"]) == ("", "")
    assert Tally(store).stages == {"sound": 2}

    again = Extraction(clips, heard, store, failed_only=True)
    assert sorted(job.clip.id for job in again.jobs) == ["eats", "hangs"]
    assert not any(result.failure for result in again)
    store.refresh()
    assert not any(row.failures for row in store.rows)


def test_failed_clips_alone_are_tried_again(clips: list[Clip], make_clip: MakeClip, tmp_path: Path) -> None:
    bad = Clip("bad", "train", str(tmp_path / "bad.mp4"))
    Path(bad.path).write_text("no clip")
    store = extract([clips[0], bad], tmp_path / "s")
    assert store.rows[0].entries["faces"].info == {"stage": "open"}
    run = Extraction([*clips, bad], BOTH, store, failed_only=True)
    assert [job.clip for job in run.jobs] == [bad]


RUN_SLOWLY = """
import sys, time
from pathlib import Path
from avemo.cache.clips import Clip
from avemo.cache.store import FeatureStore
from avemo.extract.plan import Plan
from avemo.extract.run import Extraction

class Eager(FeatureStore):
    def writer(self, **limits):
        return super().writer(shard_seconds=0)

paths = sorted(Path(sys.argv[1]).glob("*.mp4"))
clips = [Clip(path.stem, "train", str(path), label="Happy") for path in paths]
for result in Extraction(clips, Plan(view_sets=("none",)), Eager(sys.argv[2], create=True), workers=1):
    print(result.job.clip.id, flush=True)
    time.sleep(0.2)
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_resumed(clips: list[Clip], tmp_path: Path, sign: signal.Signals) -> None:
    folder = Path(clips[0].path).parent
    command = [sys.executable, "-c", RUN_SLOWLY, str(folder), str(tmp_path / "s")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        before = [process.stdout.readline().strip() for _ in range(3)]
        time.sleep(0.05)
        process.send_signal(sign)
    assert spools(tmp_path / "s") == (1 if sign is signal.SIGKILL else 0)
    store = FeatureStore(tmp_path / "s")
    kept = {row.clip.id for row in store.rows}
    assert kept >= set(before[:-1])
    left = {job.clip.id for job in Extraction(clips, QUICK, store).jobs}
    assert left == {clip.id for clip in clips} - kept
    assert_same(extract(clips, tmp_path / "s"), extract(clips, tmp_path / "undisturbed"))
    assert not spools(tmp_path / "s")


def spools(store: Path) -> int:
    return len(list(store.glob("spool-*")))


HOLD = """
import sys, time
from pathlib import Path
from avemo.extract.spool import spool_folder
with spool_folder(Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


def test_only_spools_of_dead_runs_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        other = Path(process.stdout.readline().strip())
        with spool_folder(tmp_path) as mine:
            remove_dead(tmp_path)
            assert mine.is_dir() and other.is_dir()  # both live
        assert not mine.exists()
        process.kill()
    remove_dead(tmp_path)
    assert not other.exists()


def test_spools_of_other_machines_must_be_forgotten_too(tmp_path: Path) -> None:
    """Some network file systems only pretend to lock, so a lock that can be taken proves nothing there."""
    for name, machine in (("spool-other", b"another machine"), ("spool-old", None)):
        folder = tmp_path / name
        folder.mkdir()
        if machine is not None:
            (folder / "alive").write_bytes(machine)
        (folder / "array.raw").write_bytes(b"x")
    remove_dead(tmp_path)
    assert spools(tmp_path) == 2
    yesterday = time.time() - 90_000
    for path in (*tmp_path.glob("spool-*/*"), *tmp_path.glob("spool-*")):
        os.utime(path, (yesterday, yesterday))
    (tmp_path / "spool-other" / "array.raw").touch()  # it still grows
    remove_dead(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["spool-other"]


def test_a_spool_keeps_no_more_than_what_it_was_given(tmp_path: Path) -> None:
    """The identity view of 18 is a view of them all."""
    spool = Spool(tmp_path)
    tracemalloc.start()
    try:
        for _ in range(100):
            spool.append(np.ones((36, 18, 512), np.float32)[:, 4])
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 1.1 * 100 * 36 * 512 * 4  # seen before: 18 times that


def test_long_arrays_go_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avemo.extract.spool.MEMORY_BYTES", 1000)
    blocks = [np.random.default_rng(n).normal(size=(n + 1, 5)).astype(np.float32) for n in range(20)]
    spool = Spool(tmp_path)
    for block in blocks:
        spool.append(block)
    finished = spool.finish()
    assert isinstance(finished, OnDisk)
    np.testing.assert_array_equal(finished, np.concatenate(blocks))
    sent = pickle.dumps(finished)
    assert len(sent) < 500  # its path, not its values
    np.testing.assert_array_equal(pickle.loads(sent), finished)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(finished[3:7])), finished[3:7])
    small = Spool(tmp_path)
    small.append(blocks[0])
    np.testing.assert_array_equal(small.finish(), blocks[0])
