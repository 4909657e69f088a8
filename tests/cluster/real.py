"""Extraction and training on a real cluster of two nodes, started on this machine; run by ``make cluster``.

    python -m tests.cluster.real slurm|ray|speed CLIPS [FOLDER]

A task is cancelled (Slurm) and a node killed in the middle. The store must equal that of one machine, array
by array; then a cross-validation and a run of members must, file by file, with a node killed again. Slurm
needs ``apt-get install slurm-wlm munge``, and root. ``speed`` kills nothing: it measures extraction with one
and with two workers, by each way of spreading, on a machine with nothing else to do.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from avemo.cache.store import FeatureStore

EXTRACT = str(Path(sys.executable).with_name("avemo-extract"))
FUSE = str(Path(sys.executable).with_name("avemo-fuse"))
SHARED = ["--store", "single", "--epochs", "6", "--members", "4", "--workers", "1"]
TRAINING = {
    "cv": ["--folds", "kfold:3", "--allow-same-subjects", "--choose-epoch", "--inner-folds", "2", *SHARED],
    "train": ["--fusion", "fbp", *SHARED],
}
SETTINGS = ["--tta", "none", "--max-frames", "8", "--precision", "fp32"]
NODES = ("n1", "n2")
CONF = """\
ClusterName=avemo
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldPort=26817
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdTimeout=15
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port=26821 CPUs=1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port=26822 CPUs=1
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=60 State=UP
"""


def main() -> None:
    engine, clips = sys.argv[1], Path(sys.argv[2]).resolve()
    folder = Path(sys.argv[3] if len(sys.argv) > 3 else tempfile.mkdtemp()).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in a background ignores it, and so
    # would the commands that are interrupted here
    if engine == "speed":
        measure(clips, folder)
        return
    began = time.monotonic()
    subprocess.run([EXTRACT, str(clips), "--store", "single", "--workers", "1", *SETTINGS], check=True)
    alone, began = time.monotonic() - began, time.monotonic()
    told, spread, trained = {"slurm": on_slurm, "ray": on_ray}[engine](clips, folder)
    count, arrays, different = compare(Path("single"), Path("spread"))
    print(f"{engine}: {count} clips, {arrays} arrays; {told}; {alone:.0f} s alone, {spread - began:.0f} s so")
    print(f"differences: {different}")
    files, changed = compare_runs()
    print(f"{engine}: {' and '.join(TRAINING)}, {files} files; {trained}")
    print(f"differences: {changed}")
    sys.exit(bool(different or changed))


def measure(clips: Path, folder: Path) -> None:
    """Print seconds of each way with one and with two workers; all stores must be equal."""
    from ray.cluster_utils import Cluster

    os.environ["OMP_NUM_THREADS"] = "1"
    ways: dict[str, dict[int, float]] = {}

    def timed(way: str, workers: int, commands: Sequence[Sequence[str]]) -> None:
        began = time.monotonic()
        started = [
            subprocess.Popen([EXTRACT, str(clips), "--store", f"{way}-{workers}-{number}", *words, *SETTINGS])
            for number, words in enumerate(commands)
        ]
        if sum(process.wait(3600) != 0 for process in started):
            raise SystemExit(f"{way} with {workers} workers failed")
        ways.setdefault(way, {})[workers] = time.monotonic() - began
        if len(commands) == 1 and compare(Path("processes-1-0"), Path(f"{way}-{workers}-0"))[2]:
            raise SystemExit(f"{way} with {workers} workers made another store")

    for n in (1, 2):
        timed("processes", n, [["--workers", str(n)]])
    for n in (1, 2):
        timed("part", n, [["--workers", "1", "--part", f"{number + 1}/{n}"] for number in range(n)])
    with slurm(folder):
        for n in (1, 2):
            timed("slurm", n, [["--on", "slurm", "--jobs", str(n), "--workers", "1"]])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        for n in (1, 2):
            on = ["--on", "ray", "--ray", cluster.address]
            timed("ray", n, [[*on, "--jobs", str(n), "--workers", "1"]])
    finally:
        cluster.shutdown()
    print(f"{len(list(clips.iterdir()))} files\n| way | 1 worker | 2 workers | ratio |\n|---|---|---|---|")
    for way, seconds in ways.items():
        print(f"| {way} | {seconds[1]:.0f} s | {seconds[2]:.0f} s | {seconds[1] / seconds[2]:.2f} |")


def compare(one: Path, other: Path) -> tuple[int, int, int]:
    """Clips, arrays, and what differs between two stores."""
    with FeatureStore(one) as first, FeatureStore(other) as second:
        rows = {row.clip: row for row in second.rows}
        arrays = different = abs(len(first.rows) - len(rows))
        for row in first.rows:
            twin = rows.get(row.clip)
            if twin is None or twin.source != row.source or twin.entries.keys() != row.entries.keys():
                different += 1
                continue
            for stream, entry in row.entries.items():
                same = twin.entries[stream]
                different += (entry.key, entry.status) != (same.key, same.status)
                if entry.status == "ok":
                    here, there = first.read(row, stream), second.read(twin, stream)
                    different += here.keys() != there.keys()
                    different += sum(here[name].tobytes() != there[name].tobytes() for name in here)
                    arrays += len(here)
        return len(first.rows), arrays, different


def compare_runs() -> tuple[int, int]:
    """Files of runs on one machine, and what differs from them in those of the cluster."""
    files = different = 0
    for name in TRAINING:
        one, other = (_files(Path(f"{name}-{kind}")) for kind in ("single", "spread"))
        files += len(one)
        different += sum(one.get(path) != other.get(path) for path in one.keys() | other.keys())
    return files, different


def _files(folder: Path) -> dict[Path, bytes]:
    """All but what names the command."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "run.json"]
    return {path.relative_to(folder): path.read_bytes() for path in paths}


def train(on: Sequence[str], kill_a_node: Callable[[], None]) -> str:
    """Train alone and on the cluster; kill a node when two members of the first are there."""
    seconds = []
    for name, settings in TRAINING.items():
        began = time.monotonic()
        subprocess.run([FUSE, name, *settings, "--out", f"{name}-single"], check=True)
        seconds.append(time.monotonic() - began)
        began = time.monotonic()
        command = subprocess.Popen([FUSE, name, *settings, "--out", f"{name}-spread", "--jobs", "2", *on])
        if name == "cv":
            wait(command, lambda: len(list(Path("cv-spread/cluster").glob("*.member"))) >= 2)
            print("== killing a node", flush=True)
            kill_a_node()
        if command.wait(900):
            raise SystemExit(f"the command ended with {command.returncode}")
        seconds.append(time.monotonic() - began)
    return "a node killed; {:.0f} and {:.0f} s alone, {:.0f} and {:.0f} s so".format(
        *seconds[::2], *seconds[1::2]
    )


def head(clips: Path, *more: str, stderr: int | None = None) -> subprocess.Popen[bytes]:
    words = [str(clips), "--store", "spread", "--jobs", "2", *SETTINGS, *more]
    return subprocess.Popen([EXTRACT, *words], stderr=stderr)


def on_slurm(clips: Path, folder: Path) -> tuple[str, float, str]:
    """Extract by an array; interrupt the command and start it again, cancel a task, preempt one, kill a node
    and bring it back. Train; kill a node."""
    with slurm(folder) as start:
        refused = head(clips, "--on", "slurm", "--slurm", "partition=nope", stderr=subprocess.PIPE)
        text = refused.communicate()[1].decode().splitlines()[-1]
        if refused.returncode != 2 or "invalid partition specified: nope" not in text:
            raise SystemExit(f"an unknown partition was told of so: {text}")
        on = ["--on", "slurm", "--slurm", "partition=main"]
        with Path("interrupted.log").open("wb") as log:
            command = head(clips, *on, stderr=log.fileno())
            wait(command, lambda: stored() >= 1)
            print("== interrupting the command; its tasks go on", flush=True)
            command.send_signal(signal.SIGINT)
            code, text = command.wait(60), Path("interrupted.log").read_text()
        if code != 130 or "left running: " not in text:
            raise SystemExit(f"it ended with {code}, and said {text}")
        command = head(clips, *on)
        wait(command, lambda: stored() >= 2)
        cancelled = running(command)
        print(f"== cancelling task {cancelled}", flush=True)
        subprocess.run(["scancel", cancelled], check=True)
        time.sleep(5)  # one that has begun to extract, and not one that is about to
        preempted = running(command, cancelled)
        print(f"== preempting task {preempted}", flush=True)
        subprocess.run(["scancel", "--signal=USR2", preempted], check=True)
        wait(command, lambda: preempted in squeue("%i", "--states=PENDING"))
        before = stored()
        wait(
            command,
            lambda: stored() >= before + 2 and bool(squeue("%i", "--nodelist=n2", "--states=RUNNING")),
        )
        lost = squeue("%i", "--nodelist=n2", "--states=RUNNING")[0]
        print(f"== killing node n2, which runs task {lost}", flush=True)
        kill_node(folder, "n2")
        wait(command, lambda: any(line.startswith("n2 down") for line in sinfo()))
        print("== Slurm has found n2 dead; it comes back", flush=True)
        start("n2")
        if command.wait(900):
            raise SystemExit(f"the command ended with {command.returncode}")
        ended = time.monotonic()

        def kill_n2() -> None:
            kill_node(folder, "n2")
            wait(None, lambda: any(line.startswith("n2 down") for line in sinfo()))
            start("n2")

        trained = train(on, kill_n2)
    told = (
        f"2 nodes; command interrupted and started again, task {cancelled} cancelled, task {preempted} "
        f"preempted and requeued, node n2 killed under task {lost} and requeued"
    )
    return told, ended, trained


@contextmanager
def slurm(folder: Path) -> Iterator[Callable[[str], None]]:
    """A controller and two node daemons."""
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=socket.gethostname(), folder=folder))
    os.environ["SLURM_CONF"] = str(conf)
    for name in ("state", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir(exist_ok=True)
    if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode:
        Path("/run/munge").mkdir(exist_ok=True)
        shutil.chown("/run/munge", "munge")
        subprocess.run(["su", "-s", "/bin/sh", "munge", "-c", "munged"], check=True)

    def start(node: str) -> None:
        subprocess.run(["slurmd", "-N", node], check=True)

    subprocess.run(["slurmctld"], check=True)
    try:
        for node in NODES:
            start(node)
        wait(None, lambda: sum(line.endswith(" idle") for line in sinfo()) == len(NODES))
        yield start
    finally:
        subprocess.run(["scancel", "--user", "root"], check=False)
        for name in (*NODES, "slurmctld"):
            end(folder / f"{name}.pid", signal.SIGTERM)


def kill_node(folder: Path, node: str) -> None:
    """As if its power failed: the daemon, its step managers, and all that they run, at once."""
    end(folder / f"{node}.pid", signal.SIGKILL)
    job_ids = squeue("%A", f"--nodelist={node}")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            title = (process / "cmdline").read_bytes().decode(errors="replace")
            inside = f"SLURMD_NODENAME={node}".encode() in (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if inside or any(title.startswith(f"slurmstepd: [{job}.") for job in job_ids):
            kill(int(process.name), signal.SIGKILL)


def on_ray(clips: Path, folder: Path) -> tuple[str, float, str]:
    """Extract by tasks; kill a node, and add another. Train, and do so again."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes = [cluster.add_node(num_cpus=1)]

    def kill_one() -> None:
        cluster.remove_node(nodes.pop(), allow_graceful=False)
        nodes.append(cluster.add_node(num_cpus=1))

    try:
        command = head(clips, "--on", "ray", "--ray", cluster.address)
        wait(command, lambda: stored() >= len(list(clips.iterdir())) // 3)
        print("== killing a node", flush=True)
        kill_one()
        if command.wait(900):
            raise SystemExit(f"the command ended with {command.returncode}")
        ended = time.monotonic()
        trained = train(["--on", "ray", "--ray", cluster.address], kill_one)
    finally:
        cluster.shutdown()
    return "2 nodes, one killed in the middle, its tasks tried again by Ray", ended, trained


def stored() -> int:
    """Clips in the store."""
    if not Path("spread/store.json").exists():
        return 0
    with FeatureStore("spread") as store:
        return len(store.rows)


def running(command: subprocess.Popen[bytes], but: str = "") -> str:
    """A task that runs."""

    def found() -> list[str]:
        return [task for task in squeue("%i", "--states=RUNNING") if task != but]

    wait(command, lambda: bool(found()))
    return found()[0]


def squeue(fields: str, *more: str) -> list[str]:
    found = subprocess.run(
        ["squeue", "-h", "-r", "-o", fields, *more], capture_output=True, text=True, check=True
    )
    return found.stdout.splitlines()


def sinfo() -> list[str]:
    """``n1 idle``, of each node."""
    found = subprocess.run(["sinfo", "-h", "-N", "-o", "%N %t"], capture_output=True, text=True, check=True)
    return [line.rstrip("*") for line in found.stdout.splitlines()]


def wait(command: subprocess.Popen[bytes] | None, reached: Callable[[], bool], seconds: float = 600) -> None:
    """Until something is reached while the command runs."""
    limit = time.monotonic() + seconds
    while not reached():
        if command is not None and command.poll() is not None:
            raise SystemExit(f"the command ended too early, with {command.returncode}")
        if time.monotonic() > limit:
            raise SystemExit("nothing happens")
        time.sleep(0.5)


def end(file: Path, how: signal.Signals) -> None:
    """The daemon whose process id is in a file."""
    try:
        kill(int(file.read_text()), how)
    except (OSError, ValueError):
        return


def kill(process: int, how: signal.Signals) -> None:
    try:
        os.kill(process, how)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    main()
