"""Members handed out to workers are those of one machine, to the last bit."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avemo.cache.clips import Clip
from avemo.fusion.errors import FusionError
from avemo.fusion.features.corpus import Corpus, Sequences
from avemo.fusion.heads.registry import HeadSettings
from avemo.fusion.training.folds import Fold, inside, k_fold
from avemo.fusion.training.grid import Grid
from avemo.fusion.training.members import train_all
from avemo.fusion.training.selection import Rule, choose, choose_all, choosing
from avemo.fusion.training.training import Fit, Setup, Task, Trained, TrainingSettings
from avemo.pipelines.cluster import rounds
from avemo.pipelines.cluster.engine import Call, CallResult, ClusterSettings, Engine
from avemo.pipelines.cluster.training import DistributedMembers, Input, train_part, trainer

from .test_spread import Here

CLASSES = ("Angry", "Happy", "Sad")


@pytest.fixture
def data() -> Corpus:
    rng = np.random.default_rng(0)
    streams = {
        name: Sequences.of(
            [rng.normal(size=(int(n), size)).astype(np.float32) for n in rng.integers(0, 9, 30)]
        )
        for name, size in {"visual": 6, "audio": 4}.items()
    }
    return Corpus(tuple(Clip(str(i), "train", label=CLASSES[i % 3]) for i in range(30)), streams)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "LOOK", 0.0)


def tasks() -> list[Task]:
    heads = [HeadSettings(name, hidden=8, outputs=8, factors=2) for name in ("fbp", "audio")]
    fits = [Fit(seed, np.arange(20), np.arange(20, 30)) for seed in (0, 1)]
    return [(Setup(CLASSES, head, TrainingSettings(2)), fit) for head in heads for fit in fits]


def spread(
    data: Corpus, wanted: Sequence[Task], engine: Engine, folder: Path, told: list[str]
) -> DistributedMembers:
    return DistributedMembers(data, Input.of(data, folder), wanted, folder, None, engine, told.append)


def assert_same(one: Trained, other: Trained) -> None:
    assert one.history == other.history
    assert one.probabilities.tobytes() == other.probabilities.tobytes()
    ours, theirs = (trained.member.head.state_dict() for trained in (one, other))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].numpy().tobytes() == theirs[name].numpy().tobytes() for name in ours)
    for name, standard in one.member.standardisations.items():
        assert standard.mean.tobytes() == other.member.standardisations[name].mean.tobytes()
        assert standard.scale.tobytes() == other.member.standardisations[name].scale.tobytes()


def test_workers_train_the_members_of_one_machine(data: Corpus, tmp_path: Path) -> None:
    wanted, told = tasks(), list[str]()
    alone = dict(train_all(data, wanted, 1))
    engine = Here(lose=lambda call: call == 1)
    found = dict(spread(data, wanted, engine, tmp_path, told))
    assert told == ["worker failed: task was lost"] and engine.calls == 5
    assert engine.closed  # a task that is still at something that others did must not hold up what comes next
    assert found.keys() == alone.keys()
    for index, trained in alone.items():
        assert_same(trained, found[index])
    again = Here()  # a command that was stopped goes on: what lies there is not trained again
    assert len(list(spread(data, wanted, again, tmp_path, told))) == 4 and again.calls == 0
    other = [(replace(setup, training=TrainingSettings(1)), fit) for setup, fit in wanted]
    assert all(len(trained.history) == 1 for _, trained in spread(data, other, again, tmp_path, told))


class Slow(Here):
    """One of its workers never ends."""

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[CallResult | None]:
        stuck = len(items) > 1
        for ended in super().map(function, items[stuck:]):
            yield replace(ended, index=ended.index + stuck) if ended else None
        while stuck:
            time.sleep(0.01)
            yield None


def test_what_a_slow_worker_has_is_given_to_others_too(
    data: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "SLOW_SECONDS", 0.1)
    told: list[str] = []
    assert len(list(spread(data, tasks(), Slow(), tmp_path, told))) == 4
    assert told == ["also given to other workers: 1 member of 1 slow task"]


def test_what_a_worker_refuses_to_train(data: Corpus, tmp_path: Path) -> None:
    part = spread(data, tasks(), Here(), tmp_path, []).part((0,))
    with pytest.raises(
        FusionError, match=r"has avemo .* with torch .*, but the command runs avemo 0\.0\.1 with"
    ):
        train_part(replace(part, version="avemo 0.0.1 with torch 1"))
    with pytest.raises(FusionError, match=r"is not the file that the command wrote; run the command again"):
        train_part(replace(part, tasks=replace(part.tasks, checksum="0")))
    away = Call(train_part, str(tmp_path))(replace(part, corpus=Input("/not/mounted/x.input", "0")))
    assert re.search(r"No such file .*/not/mounted/x\.input", away.error)


def test_folds_chosen_side_by_side_choose_what_each_does_alone(data: Corpus) -> None:
    setup = Setup(CLASSES, HeadSettings("decision", hidden=8), TrainingSettings(6, 8))
    candidates = Grid({"learning_rate": (1e-4, 1e-3, 1e-2, 3e-2)}).setups(setup)
    rule = Rule("loss", epoch=True, halving=True)
    folds = [Fold("a", np.arange(20), np.arange(20, 30)), Fold("b", np.arange(10, 30), np.arange(10))]
    inner = [inside(fold, k_fold([data.clips[i].label or "" for i in fold.train], 2, 0)) for fold in folds]
    alone = [choose(data, candidates, own, rule, seed=0) for own in inner]
    asked = {index: choosing(data, candidates, own, rule, 0) for index, own in enumerate(inner)}
    assert dict(choose_all(data, asked)) == dict(enumerate(alone))


class LocalExecutor(Here):
    """Processes of submitit, without Slurm."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        import submitit

        self.executor = submitit.LocalExecutor(folder)
        self.executor.update_parameters(timeout_min=5)

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[CallResult | None]:
        jobs = self.executor.map_array(Call(function, str(Path.cwd())), items)
        for index, job in enumerate(jobs):
            end = job.result()
            yield CallResult(index, end.value, end.error)


@pytest.mark.slow
def test_processes_of_submitit_train_the_same(data: Corpus, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    wanted = tasks()[:1]
    told: list[str] = []
    found = dict(spread(data, wanted, LocalExecutor(tmp_path / "jobs"), tmp_path, told))
    assert told == []
    for index, trained in train_all(data, wanted, 1):
        assert_same(trained, found[index])


@pytest.mark.parametrize("cancel", [False, True])
def test_an_interrupt_leaves_the_tasks_of_slurm_or_cancels_them(
    cancel: bool, data: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the command waits for tasks that an earlier one left: nothing of its own was submitted."""
    pytest.importorskip("submitit")
    scripts = {
        "sbatch": "exit 1",
        "srun": "",
        "squeue": "echo '7_1 7_1 RUNNING'",
        "scancel": "echo $1 > scancelled",
    }
    for name, text in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rounds.time, "sleep", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
    told: list[str] = []
    settings = ClusterSettings("slurm", cancel=cancel)
    with (
        pytest.raises(KeyboardInterrupt),
        trainer(settings, tmp_path / "run", 0, "cpu", told.append) as trained,
    ):
        list(trained(data, tasks(), progress=lambda done: None))
    waited, last = told
    assert waited == "waiting for 1 task of an earlier command"
    assert last.startswith(
        "cancelled: 1 Slurm task;" if cancel else "left running: 1 Slurm task; the same command waits"
    )
    assert (tmp_path / "scancelled").exists() == cancel
