"""Cost of a member when many are trained: in turn, in a process a core, and stacked as one model.

A corpus of the size of a leave-one-out fold of a small data set is filled with random features. Each way
trains the same members; their results are compared with those in turn. "products" are the bare matrix
products that every way needs: those of the frames' scores, forward and both gradients, without padding.

    python benchmarks/members.py --members 1 8 32 128
    python benchmarks/members.py --members 1 8 32 128 --device cuda
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from avemo.cache.clips import Clip
from avemo.fusion.features.corpus import Corpus, Sequences
from avemo.fusion.heads.registry import settings_for
from avemo.fusion.training.members import train_all
from avemo.fusion.training.settings import TrainingSettings
from avemo.fusion.training.stack import members_at_once
from avemo.fusion.training.training import Fit, Setup, Task, Trained, one_thread

CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
HEADER = [
    "members",
    "in turn (s)",
    "processes (s)",
    "stacked (s)",
    "processes/turn",
    "stacked/turn",
    "products/best",
    "furthest apart",
]
IN_TURN = 8  # most members trained in turn; each takes equally long


def corpus(clips: int, frames: int, visual: int, audio: int) -> Corpus:
    rng = np.random.default_rng(0)
    lengths = rng.integers(frames // 2, frames + 1, clips)
    streams = {
        "visual": Sequences.of([rng.normal(size=(n, visual)).astype(np.float32) for n in lengths]),
        "audio": Sequences.of([rng.normal(size=(n, audio)).astype(np.float32) for n in lengths]),
    }
    return Corpus(tuple(Clip(str(i), "train", label=CLASSES[i % 7]) for i in range(clips)), streams)


def tasks_of(setup: Setup, clips: int, members: int) -> list[Task]:
    """Make members that differ in seed and λ."""
    nobody = np.array([], dtype=np.int64)
    setups = [replace(setup, head=replace(setup.head, lambda_audio=0.1 * (n % 11))) for n in range(members)]
    return [(each, Fit(seed, np.arange(clips), nobody)) for seed, each in enumerate(setups)]


def run(data: Corpus, tasks: Sequence[Task], workers: int, stacked: bool) -> tuple[float, dict[int, Trained]]:
    start = time.perf_counter()
    results = dict(train_all(data, tasks, workers, stacked=stacked))
    return time.perf_counter() - start, results


def products(data: Corpus, setup: Setup, device: str) -> float:
    """Time the bare matrix products of one member's training, in seconds, in one thread."""
    operands = []
    batch = setup.training.batch
    for stream in data.streams.values():
        for first in range(0, len(data.clips), batch):
            rows = int(stream.lengths[first : first + batch].sum())
            frames = torch.randn(rows, stream.features, device=device)
            weights = torch.randn(stream.features, setup.head.hidden, device=device)
            operands.append((frames, weights, torch.randn(rows, setup.head.hidden, device=device)))
    with one_thread():
        for _ in range(3):
            start = time.perf_counter()
            for _ in range(setup.training.epochs):
                for frames, weights, gradients in operands:
                    frames @ weights
                    frames.T @ gradients
            if device != "cpu":
                torch.cuda.synchronize()
            seconds = time.perf_counter() - start
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--members", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--fusion", default="fbp")
    parser.add_argument("--clips", type=int, default=144)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--visual", type=int, default=512)
    parser.add_argument("--audio", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    data = corpus(options.clips, options.frames, options.visual, options.audio)
    setup = Setup(CLASSES, settings_for(options.fusion), TrainingSettings(options.epochs), options.device)
    run(data, tasks_of(setup, options.clips, 1), 1, False)  # one-time work of a process
    print(f"{options.fusion} on {options.device}, {options.clips} clips of up to {options.frames} vectors, "
          f"{options.visual} + {options.audio} values, {options.epochs} epochs; "
          f"at most {members_at_once(data, tasks_of(setup, options.clips, 1)[0])} in one stack")  # fmt: skip
    print("  ".join(HEADER))
    for count in options.members:
        tasks = tasks_of(setup, options.clips, count)
        few, own = run(data, tasks[:IN_TURN], 1, False)
        turn = few / len(own) * count
        least = products(data, setup, options.device) * count
        processes = turn
        if options.device == "cpu" and count > 1:
            processes, _ = run(data, tasks, torch.get_num_threads(), False)
        stacked, results = run(data, tasks, 1, True)
        apart = max(np.abs(own[n].probabilities - results[n].probabilities).max() for n in own)
        cores = torch.get_num_threads() if options.device == "cpu" else 1
        best = min(turn, processes, stacked)
        least /= cores if best == processes else 1
        cells = [f"{turn:.1f}", f"{processes:.1f}", f"{stacked:.1f}", f"{processes / turn:.2f}"]
        cells += [f"{stacked / turn:.2f}", f"{least / best:.2f}", f"{apart:.0e}"]
        row = [str(count), *cells]
        print("  ".join(cell.rjust(len(name)) for cell, name in zip(row, HEADER, strict=True)))


if __name__ == "__main__":
    main()
