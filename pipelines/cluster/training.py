"""Stage 2 on many machines: members are handed out in parts; the shared disk keeps each trained member."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
import xxhash

from ... import __version__
from ...cache import durable
from ...fusion.errors import FusionError
from ...fusion.features.corpus import Corpus
from ...fusion.heads.plugins import VARIABLE
from ...fusion.heads.registry import build_head, head_class
from ...fusion.training.member_file import PROBABILITIES, history_of, member_of, read_member, write_member
from ...fusion.training.members import Progress, TrainAll, train_all
from ...fusion.training.training import Task, Trained
from .engine import ClusterSettings, Engine
from .rounds import DistributedWork

FOLDER = "cluster"
"""Subfolder of a run's folder that exists while the run is trained."""


@dataclass(frozen=True)
class Input:
    """A pickle that the command writes to the shared disk for its workers.

    Workers get its SHA-256 from the command and check it before unpickling, so that nobody can swap the file.
    """

    path: str
    checksum: str

    @classmethod
    def of(cls, value: Any, folder: Path) -> Input:
        """Pickle ``value`` into ``folder``, unless the file is there already."""
        durable.make_folder(folder)
        content = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        checksum = hashlib.sha256(content).hexdigest()
        path = folder / f"{checksum}.input"
        if not path.exists():
            with durable.replacing(path) as temporary:
                temporary.write_bytes(content)
        return cls(str(path), checksum)

    def read(self) -> Any:
        """Return the value.

        Raises:
            FusionError: the checksum does not match.
        """
        content = Path(self.path).read_bytes()
        if hashlib.sha256(content).hexdigest() != self.checksum:
            raise FusionError(f"{self.path} is not the file that the command wrote; run the command again")
        return pickle.loads(content)


@dataclass(frozen=True)
class MembersPart:
    """A batch of members for one worker to train.

    Attributes:
        corpus, tasks: arguments of :func:`.members.train_all`.
        files: index of a task → file for its result.
        workers: parallel processes.
        stacked: see :func:`.members.train_all`.
        plugins: value of ``AVEMO_HEADS`` in the command's environment.
        version: avemo and torch versions of the command.
    """

    corpus: Input
    tasks: Input
    files: Mapping[int, str]
    workers: int
    stacked: bool | None
    plugins: str
    version: str


def versions() -> str:
    """Return the versions of avemo and torch, as text."""
    return f"avemo {__version__} with torch {torch.__version__}"


def train_part(part: MembersPart) -> int:
    """Train a part. This is what one cluster task does, under any engine.

    Members whose files exist are skipped, so any worker can take over a part begun elsewhere.

    Returns:
        Number of members in the part.

    Raises:
        FusionError: this machine has other versions, or training fails.
        OSError: this machine cannot see the files.
    """
    if part.version != versions():
        raise FusionError(
            f"this machine has {versions()}, but the command runs {part.version}: install the same versions"
        )
    if part.plugins:
        os.environ[VARIABLE] = part.plugins
    corpus, tasks = _read(part.corpus), _read(part.tasks)
    indices = [index for index, path in part.files.items() if not Path(path).exists()]
    todo = [tasks[index] for index in indices]
    for number, trained in train_all(corpus, todo, part.workers, stacked=part.stacked):
        write_member(Path(part.files[indices[number]]), trained, probabilities=True)
    return len(part.files)


@lru_cache(maxsize=2)
def _read(pickled: Input) -> Any:
    """Read an input, cached: a Ray process does many parts that share their inputs."""
    return pickled.read()


@contextmanager
def trainer(
    cluster: ClusterSettings,
    folder: Path,
    workers: int,
    device: str,
    on_message: Callable[[str], None],
) -> Iterator[TrainAll]:
    """Provide the function that trains members, on this machine or on a cluster.

    Args:
        cluster: where to train.
        folder: the run's folder, on the shared disk.
        workers: see :func:`.members.train_all`; on a cluster, cores per task.
        device: device as requested on the command line.
        on_message: callback for messages about the engine and failed workers.

    Raises:
        ClusterError: the engine is not available.
    """
    work_folder = folder / FOLDER
    if cluster.on == "local":
        yield partial(train_all, workers=workers)
    else:
        with cluster.engine(work_folder, workers, device.startswith("cuda"), on_message) as engine:
            yield _DistributedTrainAll(engine, work_folder, device, on_message)
    shutil.rmtree(work_folder, ignore_errors=True)


def device_here(cluster: ClusterSettings, device: str) -> str:
    """Return the device for scoring in the command itself: a login node may lack the GPU its workers have."""
    if cluster.on == "local":
        return device
    return "auto" if device.startswith("cuda") else "cpu"


class _DistributedTrainAll:
    """:func:`.members.train_all` on an engine's workers."""

    def __init__(self, engine: Engine, folder: Path, device: str, on_message: Callable[[str], None]) -> None:
        self._engine, self._folder, self._on_message = engine, folder, on_message
        self._device = device if device.startswith("cuda") else "cpu"
        self._corpus: tuple[Corpus, Input] | None = None

    def __call__(
        self, corpus: Corpus, tasks: Sequence[Task], /, *, progress: Progress, stacked: bool | None = None
    ) -> Iterator[tuple[int, Trained]]:
        if not tasks:
            return
        if self._corpus is None or self._corpus[0] is not corpus:
            self._corpus = corpus, Input.of(corpus, self._folder)
        cluster_tasks = [(replace(setup, device=self._device), fit) for setup, fit in tasks]
        corpus_input = self._corpus[1]
        members = DistributedMembers(
            corpus, corpus_input, cluster_tasks, self._folder, stacked, self._engine, self._on_message
        )
        done = 0
        for index, trained in members:
            done += tasks[index][0].training.epochs
            progress(done)
            yield index, trained


class DistributedMembers(DistributedWork[int, tuple[int, Trained]]):
    """Runs the tasks of :func:`.members.train_all` on an engine's workers.

    Args:
        corpus: clips to train on.
        corpus_input: the same corpus as a file for the workers.
        tasks: members to train.
        folder: folder for the results; each file name is a digest of everything that determines the result.
        stacked: see :func:`.members.train_all`.
        engine, on_message: see :class:`.DistributedWork`.
    """

    unit = "member"

    def __init__(
        self,
        corpus: Corpus,
        corpus_input: Input,
        tasks: Sequence[Task],
        folder: Path,
        stacked: bool | None,
        engine: Engine,
        on_message: Callable[[str], None],
    ) -> None:
        super().__init__(engine, on_message)
        self._corpus, self._corpus_input, self._stacked = corpus, corpus_input, stacked
        self._tasks, self._tasks_input = tasks, Input.of(list(tasks), folder)
        self._files = {
            index: folder.absolute() / f"{_digest(corpus_input, task, stacked)}.member"
            for index, task in enumerate(tasks)
        }
        self.remaining = dict.fromkeys(sorted(self._files, key=self._order))

    def _order(self, index: int) -> int:
        setup, fit = self._tasks[index]
        return -setup.training.epochs * len(fit.fitted) * head_class(setup.head.fusion).cost

    def function(self) -> Callable[[MembersPart], int]:
        """See :meth:`.DistributedWork.function`."""
        return train_part

    def part(self, keys: tuple[int, ...]) -> MembersPart:
        """See :meth:`.DistributedWork.part`."""
        return MembersPart(
            self._corpus_input,
            self._tasks_input,
            {index: str(self._files[index]) for index in sorted(keys)},
            self._engine.cores,
            self._stacked,
            os.environ.get(VARIABLE, ""),
            versions(),
        )

    def found(self) -> Iterator[tuple[int, tuple[int, Trained]]]:
        """Yield members whose files have appeared."""
        for index in [*self.remaining]:
            if self._files[index].exists():
                yield index, (index, self._read(index))

    def _read(self, index: int) -> Trained:
        setup = self._tasks[index][0]
        about, tensors = read_member(self._files[index])
        dimensions = {
            name: self._corpus.streams[name].features for name in head_class(setup.head.fusion).streams
        }
        head = build_head(setup.head, dimensions, len(setup.classes))
        member = member_of(tensors, setup.classes, head)
        return Trained(member, tuple(history_of(about)), tensors[PROBABILITIES].numpy())


def _digest(corpus_input: Input, task: Task, stacked: bool | None) -> str:
    """Return a digest of everything that determines a result: clips, settings, seed and versions."""
    setup, fit = task
    digest = xxhash.xxh3_128()
    for text in (versions(), corpus_input.checksum, repr(setup), str(stacked), str(fit.seed)):
        digest.update(f"{len(text)} {text}".encode())
    for clips in (fit.fitted, fit.watched):
        digest.update(f"{clips.dtype.str}{len(clips)} ".encode() + clips.tobytes())
    return digest.hexdigest()
