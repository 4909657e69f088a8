"""Clips handed out to workers: what is lost is handed out again; a worker that cannot do it is told of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.extract.errors import ExtractError
from avemo.extract.plan import Plan
from avemo.extract.run import Extraction
from avemo.extract.streams.registry import keys_of
from avemo.pipelines.cluster.engine import Call, CallResult, ClusterSettings, deal
from avemo.pipelines.cluster.extraction import DistributedExtraction, Part, extract_part
from avemo.pipelines.cluster.slurm import _reason
from avemo.pipelines.errors import ClusterError
from avemo.pipelines.stage_one import ClipFolder

from .real import compare

MakeClip = Callable[..., Path]
PLAN = Plan(detector="dlib", backbones=(), view_sets=(), device="cpu", precision="fp32", max_frames=2)


class Here:
    """An engine in this process, which loses what it is told to lose."""

    tasks, cores = 2, 1

    def __init__(self, lose: Callable[[int], bool] = lambda call: False) -> None:
        self.lose, self.calls, self.closed = lose, 0, False

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[CallResult | None]:
        call = Call(function, str(Path.cwd()))
        for index, item in enumerate(items):
            self.calls += 1
            if self.lose(self.calls):
                yield CallResult(index, error="task was lost")
            else:
                yield replace(call(item), index=index)
            yield None

    def busy(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def clips(tmp_path: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("1_sad", "2_sad", "3_joy"):
        make_clip(folder / f"{name}.mp4", frames=3)
    (folder / "4_joy.mp4").write_text("no video")
    return Path("clips")  # as on a command line: workers must find it


def spread(clips: Path, engine: Here, told: list[str], plan: Plan = PLAN) -> list[Any]:
    with FeatureStore("spread", create=True) as store:
        run = Extraction(ClipFolder(clips).find().clips, plan, store, 1)
        return list(DistributedExtraction(run, store, engine, 1, told.append))


@pytest.mark.slow
def test_workers_make_the_store_of_one_machine(clips: Path) -> None:
    with FeatureStore("single", create=True) as store:
        list(Extraction(ClipFolder(clips).find().clips, PLAN, store, in_process=True))
    told: list[str] = []
    engine = Here(lose=lambda call: call == 1)
    results = spread(clips, engine, told)
    assert (told, engine.calls, engine.closed) == (["worker failed: task was lost"], 4, True)
    assert sorted(result.job.clip.id for result in results) == ["1_sad", "2_sad", "3_joy", "4_joy"]
    assert [result.job.clip.id for result in results if result.failure] == ["4_joy"]
    count, arrays, different = compare(Path("single"), Path("spread"))
    assert (count, different) == (4, 0) and arrays > 0
    again = spread(clips, Here(), [])  # the failure that is stored does not end it before it was tried
    assert [result.job.clip.id for result in again] == ["4_joy"]


def test_workers_that_all_fail_end_the_run_in_one_line(clips: Path) -> None:
    engine = Here(lose=lambda call: True)
    with pytest.raises(ClusterError, match=r"^not done: 4 clips,.*task was lost.*again to continue$"):
        spread(clips, engine, [])
    assert engine.calls == 2  # a round that brought nothing is the last one


def test_what_a_worker_refuses(clips: Path, tmp_path: Path) -> None:
    found = tuple(ClipFolder(clips).find().clips)
    store = tmp_path / "refused"
    with FeatureStore(store, create=True):
        part = Part(found, PLAN, keys_of(PLAN), store, 1, 1)
    with pytest.raises(ExtractError, match=r"has avemo .*, but the command runs 0\.0\.1"):
        extract_part(replace(part, version="0.0.1"))
    with pytest.raises(ExtractError, match="max_frames: 2 / 3"):
        extract_part(replace(part, plan=replace(PLAN, max_frames=3)))
    name, key = next(iter(part.keys.items()))
    weights = FeatureKey(name, {**key.settings, "weights_sha256": "0" * 64})
    with pytest.raises(ExtractError, match=r"other settings on this machine .*weights_sha256: 0"):
        extract_part(replace(part, keys={**part.keys, name: weights}))
    away = tuple(replace(clip, path=f"/not/mounted/{clip.id}.mp4") for clip in found)
    with pytest.raises(ExtractError, match=r"none of 4 clips is found: /not/mounted/1_sad\.mp4"):
        extract_part(replace(part, clips=away))
    end = Call(extract_part, str(tmp_path))(replace(part, store=tmp_path / "elsewhere"))
    assert "is not a feature store" in end.error
    assert "cannot enter /not/there" in Call(extract_part, "/not/there")(part).error


def test_cards_are_dealt_so_that_each_part_has_large_and_small() -> None:
    assert deal([9, 8, 7, 3, 2, 1], 3) == [(9, 3), (8, 2), (7, 1)]
    assert deal([1], 3) == [(1,)]


def test_an_engine_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="no Slurm on this machine"):
        ClusterSettings("slurm").engine(tmp_path, 1, False, print)


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        ({"partitoin": "cpu"}, "has no Slurm parameter partitoin; did you mean partition"),
        ({"time": "2:00:00"}, "expected a number of minutes"),
        ({"job_name": "mine"}, "has no Slurm parameter job_name"),
    ],
)
def test_a_parameter_that_slurm_does_not_know(
    parameter: dict[str, str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    for name in ("sbatch", "srun"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=text):
        ClusterSettings("slurm", slurm=parameter).engine(tmp_path, 1, False, print)


def test_a_ray_cluster_that_does_not_answer(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(ClusterError, match=r"^--ray 127\.0\.0\.1:1: no Ray cluster found"):
        ClusterSettings("ray", ray="127.0.0.1:1").engine(tmp_path, 1, False, print)


def test_what_slurm_says_is_told_in_one_line() -> None:
    said = (
        "sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed: no\n"
    )
    assert _reason(said) == "invalid partition specified: nope; Batch job submission failed: no"
    assert _reason("Traceback:\n  File x\nValueError: three") == "ValueError: three"
