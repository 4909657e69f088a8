"""Speed of a head's training, compared with the minimum work that it needs.

A store of AFEW's size (773 training and 383 validation clips of 12 to 169 frames, 60 on average) is
filled with random features: 1024 visual values a frame, about 50 vectors of 256 audio values a clip.

* Training: one member of FBP with transformer attention, compared with the matrix products of the same
  frames alone (forward and weight gradients, no padding), in one thread each, by processor time.
* Two members side by side in two processes, compared with one after the other.

    python benchmarks/training.py --epochs 200
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.fusion.features.corpus import Corpus, load
from avemo.fusion.features.recipes import find
from avemo.fusion.heads.registry import HeadSettings
from avemo.fusion.training.members import train_all
from avemo.fusion.training.settings import TrainingSettings
from avemo.fusion.training.training import Fit, Setup, one_thread, train

CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
VISUAL = FeatureKey("random/default", {"seed": 0})
AUDIO = FeatureKey("alexnet@random", {"seed": 0})


def fill(path: Path, rng: np.random.Generator) -> FeatureStore:
    store = FeatureStore(path, create=True)
    with store.writer() as writer:
        for split, count in (("train", 773), ("val", 383)):
            for i in range(count):
                frames = int(np.clip(rng.gamma(6, 10.4), 12, 169))
                visual = rng.normal(size=(2, frames, 512)).astype(np.float32)
                audio = rng.normal(size=(rng.integers(20, 80), 256)).astype(np.float32)
                clip = Clip(f"{i:09d}", split, label=CLASSES[i % 7])
                streams = {
                    VISUAL.stream: Outcome(VISUAL, arrays={"mean": visual[0], "std": visual[1]}),
                    AUDIO.stream: Outcome(AUDIO, arrays={"vectors": audio}),
                }
                writer.add(clip, None, streams)
    store.refresh()
    return store


def timed(
    work: Callable[[], object], repeat: int = 1, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the seconds of the fastest of some runs."""
    best = float("inf")
    for _ in range(repeat):
        start = clock()
        work()
        best = min(best, clock() - start)
    return best


def products(corpus: Corpus, clips: np.ndarray, batch: int) -> list[tuple[torch.Tensor, ...]]:
    """Make the operands of the products in an epoch over ``clips``: frames, weights, gradients."""
    operands: list[tuple[torch.Tensor, ...]] = []
    for stream in corpus.streams.values():
        for part in np.array_split(clips, -(-len(clips) // batch)):
            frames = torch.randn(int(stream.lengths[part].sum()), stream.features)
            operands.append((frames, torch.randn(stream.features, 128), torch.randn(len(frames), 128)))
    return operands


def floor(operands: list[tuple[torch.Tensor, ...]], backward: bool) -> None:
    for frames, weights, gradients in operands:
        frames @ weights
        if backward:
            frames.T @ gradients


def seconds_of_floor(operands: list[list[tuple[torch.Tensor, ...]]]) -> float:
    """Mean processor time of an epoch's products: forward and backward for training, forward for the rest."""
    repeat = 8
    start = time.process_time()
    for _ in range(repeat):
        floor(operands[0], True)
        floor(operands[1], False)
    return (time.process_time() - start) / repeat


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--attention", default="transformer")
    parser.add_argument("--members", type=int, default=2, help="for the comparison of processes; 1 skips it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        store = fill(Path(name), np.random.default_rng(0))
        features = {"visual": find(store, "visual", "f-meanstd"), "audio": find(store, "audio", "alexnet")}
        corpus = load(store, features, store.rows)
    training = TrainingSettings(epochs=options.epochs)
    head = HeadSettings(visual_attention=options.attention, audio_attention=options.attention)
    setup = Setup(CLASSES, head, training)
    fit, watch = corpus.of_split("train"), corpus.of_split("val")
    busy = time.process_time
    with one_thread():
        operands = [products(corpus, clips, training.batch) for clips in (fit, watch)]
        before = seconds_of_floor(operands)
        start = time.perf_counter()
        ours = timed(lambda: train(corpus, setup, Fit(0, fit, watch), lambda done: None), 1, busy)
        wall = time.perf_counter() - start
        least = (before + seconds_of_floor(operands)) / 2
    print(
        f"train {options.epochs} epochs, {options.attention}: {wall / 60:.2f} min; processor time "
        f"{ours / options.epochs * 1e3:.0f} ms an epoch, matrix products alone {least * 1e3:.0f} ms: "
        f"ratio {ours / options.epochs / least:.2f}"
    )
    tasks = [(setup, Fit(seed, fit, watch)) for seed in range(options.members)]
    if len(tasks) > 1:
        one, many = (
            timed(lambda: list(train_all(corpus, tasks, workers)))  # noqa: B023
            for workers in (1, len(tasks))
        )
        print(
            f"{len(tasks)} members: {one:.0f} s in turn, {many:.0f} s side by side; {one / many:.2f} as fast"
        )


if __name__ == "__main__":
    main()
