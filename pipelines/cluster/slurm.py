"""Slurm, through submitit: each map is a job array."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import Any

import xxhash

from ...cache.digits import whole_number
from ..corpora.clips.found import count_of
from ..errors import ClusterError
from .engine import Call, CallResult, Function

DEFAULT_JOBS = 8
DEFAULT_MINUTES = 60
"""Default limit of a task. A task that reaches it is requeued and continues; a short one costs little."""
MAX_TIMEOUTS = 100
POLL_SECONDS = 2.0  # seconds between polls
LOST_AFTER_POLLS = 3
"""Polls without a sign of a task before it counts as lost: files appear late on shared disks."""
LIST_PARAMETERS = ("setup", "teardown", "srun_args")
RESERVED_PARAMETERS = (
    "job_name",
    "array_parallelism",
    "additional_parameters",
    "use_srun",
    "stderr_to_stdout",
    "nodes",
)


class Slurm:
    """Runs calls as tasks of a Slurm job array, one array per map.

    submitit requeues tasks that are preempted or reach their time limit; Slurm requeues tasks whose node
    fails. A task that ends in any other way is reported as lost.

    Args:
        folder: folder on the shared disk; its ``slurm/`` holds scripts, pickles and logs until all is done.
        parameters: sbatch parameters, under submitit's names.
        jobs: number of concurrent tasks; 0 for eight.
        cores: cores per task, unless set in ``parameters``; 0 for one.
        gpu: whether each task needs a GPU; ``parameters`` may say which.
        cancel: whether leaving early cancels the tasks; otherwise they continue.
        on_message: callback for messages about the array.

    Raises:
        ClusterError: submitit or Slurm is missing, or a parameter is unknown.
    """

    def __init__(
        self,
        folder: Path,
        parameters: Mapping[str, str],
        jobs: int,
        cores: int,
        gpu: bool,
        cancel: bool,
        on_message: Callable[[str], None],
    ) -> None:
        try:
            import submitit
        except ImportError:
            raise ClusterError("Slurm needs submitit: pip install 'avemo[slurm]'") from None
        if shutil.which("sbatch") is None:
            raise ClusterError(
                "no Slurm on this machine (sbatch not found): use a login node of a cluster, or --on local"
            )
        self.tasks = jobs or DEFAULT_JOBS
        self._folder = folder.absolute() / "slurm"
        self._name = "avemo-" + xxhash.xxh3_64_hexdigest(str(folder.resolve()).encode())[:8]
        self._answered = False
        self._cancel, self._on_message = cancel, on_message
        self._executor = submitit.SlurmExecutor(self._folder, max_num_timeout=MAX_TIMEOUTS)
        known = self._known_parameters()
        given = {key: _value(key, text, known) for key, text in parameters.items()}
        cpus = given.get("cpus_per_task", cores or 1)
        self.cores = int(cpus)
        values: dict[str, Any] = {"time": DEFAULT_MINUTES, "cpus_per_task": cpus, **given}
        if gpu and not any("gpu" in key or key == "gres" for key in given):
            values["gpus_per_node"] = 1
        # since Slurm 22.05, srun does not inherit the number of processors from sbatch
        values["srun_args"] = [f"--cpus-per-task={cpus}", *values.get("srun_args", [])]
        self._executor.update_parameters(
            job_name=self._name,
            array_parallelism=self.tasks,
            additional_parameters={"requeue": True},
            **values,
        )

    def __enter__(self) -> Slurm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        live = self._tasks() if error is not None and self._answered else ()
        if not live:
            return
        if self._cancel:
            self._scancel()
            self._on_message(f"cancelled: {count_of(len(live), 'Slurm task')}; finished work is kept")
        else:
            self._on_message(
                f"left running: {count_of(len(live), 'Slurm task')}; the same command waits for them and "
                f"does the rest; `scancel --name={self._name}` cancels them"
            )

    def map(self, function: Function, items: Sequence[Any]) -> Iterator[CallResult | None]:
        """See :meth:`.Engine.map`."""
        from submitit.core.utils import FailedJobError

        call = _RequeuedCall(function, str(Path.cwd()))
        try:
            jobs = dict(enumerate(self._executor.map_array(call, items)))
        except FailedJobError as error:
            raise ClusterError(f"sbatch refused the tasks: {_reason(error)}") from error
        number = jobs[0].job_id.partition("_")[0]
        self._on_message(
            f"Slurm job {number}: {len(jobs)} tasks, at most {self.tasks} at once; logs in {self._folder}; "
            f"`scancel {number}` ends them"
        )
        unseen = dict.fromkeys(jobs, 0)
        while jobs:
            live = {number for task in self._live() for number in task}
            for index, job in list(jobs.items()):
                result = self._result(index, job)
                unseen[index] = 0 if job.job_id in live else unseen[index] + 1
                if result is None and unseen[index] >= LOST_AFTER_POLLS:
                    reason = f"task {job.job_id} was lost (killed, or its node failed)"
                    result = CallResult(index, error=f"{reason}; its log is {job.paths.stderr}")
                if result is not None:
                    del jobs[index]
                    yield result
            yield None
            if jobs:
                time.sleep(POLL_SECONDS)

    def busy(self) -> int:
        """See :meth:`.Engine.busy`."""
        return len(self._live())

    def close(self) -> None:
        """Cancel tasks whose work others have done, and remove their files."""
        if self._answered and self._tasks():
            self._scancel()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _scancel(self) -> None:
        subprocess.run(["scancel", f"--name={self._name}"], check=False)

    def _live(self) -> list[tuple[str, str]]:
        """Return :meth:`_tasks`, waiting while the controller is restarting or busy."""
        while (tasks := self._tasks()) is None:
            time.sleep(5 * POLL_SECONDS)
        return tasks

    def _tasks(self) -> list[tuple[str, str]] | None:
        """Return the ids of pending and running tasks, or None if squeue fails; sacct is not always there."""
        command = ["squeue", "--noheader", "--array", f"--name={self._name}", "--format=%i %F_%K %T"]
        squeue = subprocess.run(command, capture_output=True, text=True, check=False)
        if squeue.returncode and not self._answered:
            raise ClusterError(f"Slurm does not answer: {_reason(squeue.stderr)}")
        self._answered = True
        lines = [line.split() for line in squeue.stdout.splitlines()]
        live = [(plain, task) for plain, task, state in lines if state != "COMPLETING"]
        return None if squeue.returncode else live

    def _result(self, index: int, job: Any) -> CallResult | None:
        if not job.paths.result_pickle.exists():
            return None
        error = job.exception()
        if error is not None:
            return CallResult(index, error=f"task {job.job_id}: {_reason(error)}")
        result = job.result()
        return CallResult(index, result.value, result.error)

    def _known_parameters(self) -> set[str]:
        try:
            self._executor.update_parameters(**{"": ""})
        except ValueError as error:  # the message lists the valid parameters
            return set(re.findall(r"- (\w+) \(default", str(error))) - {*RESERVED_PARAMETERS}
        return set()


class _RequeuedCall(Call):
    """A call that submitit restarts with the same item after preemption or a timeout."""

    def checkpoint(self, item: Any) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, item)


def _value(key: str, text: str, known: set[str]) -> Any:
    if key not in known:
        similar = get_close_matches(key, known, 1)
        hint = f"; did you mean {similar[0]}?" if similar else f"; expected one of {', '.join(sorted(known))}"
        raise ClusterError(f"--slurm {key}={text}: submitit has no Slurm parameter {key}{hint}")
    number = whole_number(text)
    if key == "time" and number is None:
        raise ClusterError(f"--slurm time={text}: expected a number of minutes")
    if key in LIST_PARAMETERS:
        return [text]
    return {"true": True, "false": None}.get(text, text if number is None else number)


def _reason(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    messages = [line.rpartition("error: ")[2] for line in lines if "error: " in line]
    return "; ".join(messages[-2:]) or (lines or [repr(error)])[-1]
