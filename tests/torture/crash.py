"""Crashes at every point: each store operation is stopped, or fails, at each of its file operations.

    python -m tests.torture.crash [--share S] [--json REPORT.json]

Each trial forks a process, which gets a copy of a small store and performs one operation, with a fault
injected at one point (:mod:`.shim`). Another fresh process then opens the store and checks the promises of
docs/reliability.md:

1. the store opens, and no journal line except a torn last one is invalid;
2. everything acknowledged is intact; everything else is as before the operation or as after it;
3. the operation, repeated, gives the same store as without the fault and leaves no unfinished file;
4. an error is a StoreError of one line.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np

from avemo.cache import durable
from avemo.cache.checks import export, inspect, repair
from avemo.cache.clips import Clip
from avemo.cache.errors import StoreError
from avemo.cache.keys import FeatureKey
from avemo.cache.merge import Merge
from avemo.cache.rows import Source
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome

from .shim import KILLS, WAYS, Shim

Held = Mapping[tuple[str, str], Any]
"""(clip, stream) → status and values; (clip, "") → its label."""
Ack = Callable[[], None]

NET = FeatureKey("net/default", {"backbone": "net"})
SOUND = FeatureKey("spectrogram", {"window": 640})


def clip(number: int) -> Clip:
    """The clip of a number."""
    return Clip(f"c{number}", "train", f"/a/c{number}.avi", "Happy")


def outcomes(number: int, failed: bool = False) -> dict[str, Outcome]:
    """What is extracted of it."""
    if failed:
        return {"net/default": Outcome(NET, "failed", "broken")}
    rng = np.random.default_rng(number)
    return {
        "net/default": Outcome(NET, arrays={"mean": rng.random((40, 8), np.float32)}),
        "spectrogram": Outcome(SOUND, arrays={"spectrogram": rng.random((30, 5), np.float32)}),
    }


def add(folder: Path, *numbers: int, failed: bool = False) -> None:
    """Add clips in one shard."""
    with FeatureStore(folder, create=True) as store, store.writer() as writer:
        for number in numbers:
            writer.add(clip(number), Source(f"{number:064x}", number, number), outcomes(number, failed))


# ------------------------------------------------------------------------------- operations


def _nothing(folder: Path) -> None:
    """An empty folder."""


def _create(folder: Path, ack: Ack) -> None:
    FeatureStore(folder / "store", create=True).close()
    ack()


def _two(folder: Path) -> None:
    add(folder / "store", 0, 1)
    add(folder / "store", 2, failed=True)


def _write(folder: Path, ack: Ack) -> None:
    with FeatureStore(folder / "store") as store:
        wanted = [number for number in (2, 3, 4) if not _is_done(store, number)]
        writer = store.writer()
        for number in wanted:
            writer.add(clip(number), Source(f"{number:064x}", number, number), outcomes(number))
            _flush(writer.flush)
            ack()


def _flush(flush: Callable[[], None]) -> None:
    """A failed flush keeps what is in flight, for another try."""
    try:
        flush()
    except StoreError:
        flush()


def _is_done(store: FeatureStore, number: int) -> bool:
    row = store.row(clip(number))
    return row is not None and row.has("net/default")


def _replace(folder: Path, ack: Ack) -> None:
    """The file of a clip changed: its outcomes are new ones."""
    with FeatureStore(folder / "store") as store, store.writer() as writer:
        writer.add(clip(0), Source("f" * 64, 9, 9), outcomes(9))
    ack()


def _drop(folder: Path, ack: Ack) -> None:
    with FeatureStore(folder / "store") as store, store.writer() as writer:
        writer.drop(clip(0), ["net/default"])
        writer.remove(clip(1))
    ack()


def _rename(folder: Path, ack: Ack) -> None:
    with FeatureStore(folder / "store") as store, store.writer() as writer:
        row = store.row(clip(1))
        if row is not None:
            writer.rename(row, Clip("other", "val", "/a/c1.avi", "Sad"))
    ack()


def _parts(folder: Path) -> None:
    _two(folder)
    add(folder / "part", 3, 4)
    add(folder / "part", 5, 6, 7, 8)
    with FeatureStore(folder / "part") as part, part.writer() as writer:
        for number in (6, 7, 8):  # of their shard too little is left to be copied whole
            writer.remove(clip(number))


def _merge(folder: Path, ack: Ack) -> None:
    with FeatureStore(folder / "part") as part, FeatureStore(folder / "store") as store:
        merge = Merge(part, store)
        for _ in merge:
            pass
    ack()


def _damaged(folder: Path) -> None:
    _two(folder)
    shard = max((folder / "store" / "shards").iterdir())
    with h5py.File(shard, "r+") as file:
        file[f"{NET.digest}/mean"][3] = 7.0
    gone = f"{durable.HOST}-{2**22 + 1}-abcdef-00001.h5"  # of a process that cannot be there
    shutil.copy(shard, shard.with_name(gone))
    with next((folder / "store" / "journal").iterdir()).open("ab") as journal:
        journal.write(b'{"kind":"clip"}\n')


def _repair(folder: Path, ack: Ack) -> None:
    with FeatureStore(folder / "store") as store:
        repair(store, inspect(store))
    ack()


def _export(folder: Path, ack: Ack) -> None:
    with FeatureStore(folder / "store") as store:
        export(store, folder / "all.h5")
    ack()


@dataclass(frozen=True)
class Operation:
    """An operation, and the store that it is performed on."""

    prepare: Callable[[Path], None]
    act: Callable[[Path, Ack], None]


OPERATIONS = {
    "create": Operation(_nothing, _create),
    "write": Operation(_two, _write),
    "replace": Operation(_two, _replace),
    "drop and remove": Operation(_two, _drop),
    "rename": Operation(_two, _rename),
    "merge": Operation(_parts, _merge),
    "repair": Operation(_damaged, _repair),
    "export": Operation(_two, _export),
}


# ------------------------------------------------------------------------------- what a store holds


def held(folder: Path) -> Held | None:
    """Everything in the store and the exported file below ``folder``, read; None where there is no store.

    Raises:
        StoreError: the store does not open.
    """
    if not (folder / "store" / "store.json").exists():
        return None
    found: dict[tuple[str, str], Any] = {}
    with FeatureStore(folder / "store") as store:
        for row in store.rows:
            found[str(row.clip), ""] = row.clip.label
            for stream, entry in row.entries.items():
                values: Any = entry.status
                if row.has(stream):
                    with suppress(StoreError):
                        values = {name: a.tobytes() for name, a in store.read(row, stream).items()}
                found[str(row.clip), stream] = values
        found["senseless", ""] = len(store.senseless)
    if (folder / "all.h5").exists():
        with h5py.File(folder / "all.h5") as file:
            file.visititems(lambda name, each: found.update({("all.h5", name): _bytes(each)}))
    return found


def _bytes(each: Any) -> bytes:
    return each[()].tobytes() if isinstance(each, h5py.Dataset) else b""


def unfinished(folder: Path) -> list[str]:
    """Temporary files below ``folder``."""
    return [path.name for path in folder.rglob(".*") if path.is_file()]


# ------------------------------------------------------------------------------- trials


def in_process(work: Callable[[Ack], Any]) -> tuple[int, int, Any]:
    """Run ``work`` in a forked process: how it ended (0, an exit code, or minus a signal), how many
    acknowledgements came, and what it returned (JSON) or raised."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        write, code, answer = os.write, 0, ""
        try:
            answer = json.dumps(work(lambda: write(writer, b"!") and None))
        except StoreError as error:
            code, answer = 3, str(error)
        except BaseException:
            code, answer = 4, traceback.format_exc()
        write(writer, answer.encode())
        os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    answer = text.lstrip(b"!")
    return os.waitstatus_to_exitcode(status), len(text) - len(answer), answer.decode()


@dataclass
class Tested:
    """An operation with its states, without harm."""

    name: str
    template: Path
    points: int
    states: list[Held | None]
    trials: int = 0
    problems: list[str] = field(default_factory=list)


def undisturbed(name: str, scratch: Path) -> Tested:
    """Perform an operation without harm: count its points, and note its states."""
    operation = OPERATIONS[name]
    place = Path(tempfile.mkdtemp(dir=scratch))
    template, folder = place / "template", place / "counted"
    template.mkdir()
    operation.prepare(template)
    shutil.copytree(template, folder)
    states = [held(folder)]
    shim = Shim(folder)

    def work(_: Ack) -> Any:
        shim.install()
        kept = []
        operation.act(folder, lambda: kept.append(len(shim.points)))
        return [len(shim.points), kept]

    _, _, answer = in_process(work)
    points, acknowledged = json.loads(answer)
    if name == "write":  # the states between its acknowledgements
        for number in range(1, len(acknowledged)):
            partly = place / str(number)
            shutil.copytree(template, partly)
            with FeatureStore(partly / "store") as store, store.writer() as writer:
                for each in (2, 3, 4)[:number]:
                    writer.add(clip(each), Source(f"{each:064x}", each, each), outcomes(each))
            states.append(held(partly))
    states.append(held(folder))
    return Tested(name, template, points, states)


def trial(tested: Tested, way: str, at: int, scratch: Path) -> str:
    """Perform an operation with harm, and check the promises: what is broken, or the empty string."""
    operation = OPERATIONS[tested.name]
    folder = scratch / "trial"
    for leftover in scratch.glob("trial*"):
        shutil.rmtree(leftover)
    shutil.copytree(tested.template, folder)
    shim = Shim(folder, way, at)

    def work(ack: Ack) -> None:
        shim.install()
        operation.act(folder, ack)
        if at == tested.points:
            shim.crash()

    code, acknowledged, answer = in_process(work)
    if code == 4:
        return f"raised no StoreError: {answer}"
    if code == 3 and "\n" in answer:
        return f"an error of several lines: {answer}"
    code, _, answer = in_process(lambda _: _broken(folder, tested, acknowledged))
    if code or json.loads(answer):
        return f"opened again: {answer}"
    code, _, answer = in_process(lambda ack: operation.act(folder, ack))
    if code:
        return f"done again: {answer}"
    code, _, answer = in_process(lambda _: _broken(folder, tested, len(tested.states) - 1))
    if code or json.loads(answer):
        return f"after it was done again: {answer}"
    left = unfinished(folder)
    return f"left behind: {left}" if left else ""


def _broken(folder: Path, tested: Tested, acknowledged: int) -> str:
    """Whether what is held is neither of the states from the last one that was acknowledged."""
    now = held(folder)
    allowed = tested.states[acknowledged:]
    if now is None:
        return "" if None in allowed else "the store is gone"
    states = [state or {} for state in allowed]
    for key in {*now, *(key for state in states for key in state)}:
        if key[0] == "senseless":
            worst = max(state.get(key, 0) for state in states)
            if now[key] > worst + 1:  # a torn line was never acknowledged
                return f"{now[key]} senseless lines"
        elif not any(now.get(key) == state.get(key) for state in states):
            return f"{key} is neither as before nor as after"
    return ""


def run(
    scratch: Path, share: float = 1.0, seed: int = 0, on_problem: Callable[[str], None] = lambda _: None
) -> Iterator[Tested]:
    """All trials, or a random ``share`` of them."""
    for name in OPERATIONS:
        tested = undisturbed(name, scratch)
        trials = [(way, at) for at in range(tested.points) for way in WAYS]
        trials += [(way, tested.points) for way in KILLS]  # acknowledged, and then
        for way, at in random.Random(seed).sample(trials, math.ceil(share * len(trials))):
            tested.trials += 1
            problem = trial(tested, way, at, scratch)
            if problem:
                tested.problems.append(f"{way} at {at}: {problem}")
                on_problem(f"{name}, {tested.problems[-1]}")
        yield tested


@click.command()
@click.option("--share", default=1.0, show_default=True, help="Share of all trials, chosen at random.")
@click.option("--seed", default=0, show_default=True, help="Of that choice.")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write what was found there, too.")
def main(share: float, seed: int, report: Path | None) -> None:
    """Stop or fail each operation on a store at each point, and check what is left."""
    started = time.perf_counter()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for tested in run(Path(scratch), share, seed, lambda text: click.echo(text, err=True)):
            rows.append([tested.name, tested.points, tested.trials, len(tested.problems)])
            click.echo("{:<16}{:>4} points {:>6} trials {:>4} broken promises".format(*rows[-1]))
    total = [sum(row[place] for row in rows) for place in (1, 2, 3)]
    seconds = time.perf_counter() - started
    click.echo("{:<16}{:>4} points {:>6} trials {:>4} broken promises".format("all", *total)
               + f" in {seconds:.0f} s")  # fmt: skip
    if report:
        report.write_text(json.dumps({"operations": rows, "seconds": round(seconds)}) + "\n")
    sys.exit(bool(total[2]))


if __name__ == "__main__":
    main()
