"""Speed of reading and writing a store, compared with plain ``.npy`` files of the same arrays.

    python benchmarks/store.py FOLDER [--clips 1809]

FOLDER, which must not exist, gets a store of random features (``mean`` and ``std``, 512 values, 40 to 150
frames a clip) and the same arrays as one ``.npy`` each and as one ``.npy`` of all. The ``.npy`` files
are synced one by one, as in a run that must not lose a clip. Everything is read from the page cache.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from machine import describe

from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome

KEY = FeatureKey("net/default", {"made": "for a benchmark"})
NAMES = ("mean", "std")
ROUNDS = 5


def arrays(clips: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random((int(rng.integers(40, 150)), 512), dtype=np.float32) for _ in range(clips)]


def write_store(path: Path, made: list[np.ndarray]) -> None:
    with FeatureStore(path, create=True) as store, store.writer() as writer:
        for number, array in enumerate(made):
            outcome = Outcome(KEY, arrays=dict.fromkeys(NAMES, array))
            writer.add(Clip(str(number), "train"), None, {KEY.stream: outcome})


def write_plain(path: Path, made: list[np.ndarray]) -> None:
    path.mkdir()
    for number, array in enumerate(made):
        for name in NAMES:
            with (path / f"{number}-{name}.npy").open("wb") as file:
                np.save(file, array)
                file.flush()
                os.fsync(file.fileno())


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=1809)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True)
    store, plain, whole = (arguments.folder / name for name in ("store", "plain", "all.npy"))
    made = arrays(arguments.clips)
    print(describe())
    print(f"{len(made)} clips, {2 * sum(array.nbytes for array in made) / 1e6:.0f} MB")
    written = seconds(lambda: write_store(store, made)), seconds(lambda: write_plain(plain, made))
    np.save(whole, np.concatenate([array for array in made for _ in NAMES]))
    opened = FeatureStore(store)
    rows, files = opened.rows, sorted(plain.iterdir())
    ways: list[Callable[[], object]] = [
        lambda: [opened.read(row, KEY.stream) for row in rows],
        lambda: [np.load(file) for file in files],
        lambda: np.load(whole),
    ]
    rounds = [[seconds(way) for way in ways] for _ in range(ROUNDS)]
    ours, each, at_once = (median(column) for column in zip(*rounds, strict=True))
    print(f"written: store {written[0]:.2f} s, a .npy an array {written[1]:.2f} s, ", end="")
    print(f"{written[1] / written[0]:.2f} times as long")
    print(f"read, checksums verified: store {ours:.3f} s, a .npy an array {each:.3f} s, ", end="")
    print(f"{each / ours:.2f} times as long; one .npy of all {at_once:.3f} s, {at_once / ours:.2f} times")


if __name__ == "__main__":
    main()
