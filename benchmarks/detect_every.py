"""Cost and effects of ``--detect-every N``: time, boxes, features, and the accuracy of a linear SVM.

Each detector runs once on every frame of each clip, in one thread; processor time is measured. For each N,
faces are then taken only from the frames that ``--detect-every N`` would examine, and followed between them
as in stage 1 (extract/follow.py). Features are those of every seventh frame, so they are spread evenly
between examined frames. Accuracy: faces only, leave one subject out, with the SVM of faces.py.

    python benchmarks/detect_every.py CLIPS --detector dlib --detector yunet@FILE.onnx
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import cast

import cv2
import joblib
import numpy as np
import torch
from faces import by_subject, mcnemar, right
from machine import describe

from avemo.cache.clips import Clip
from avemo.extract import DEFAULT_BACKBONE
from avemo.extract.align import CHIP_SIZE, compose, window_transform
from avemo.extract.decode.media import Frame, Media
from avemo.extract.detectors import Face, load_detector
from avemo.extract.follow import FaceSearch
from avemo.extract.networks import face_networks
from avemo.extract.plan import Plan
from avemo.extract.track import Track, face_arrays, overlap
from avemo.extract.warp import warp
from avemo.pipelines.cli.table import aligned
from avemo.pipelines.corpora.clips.find import find_clips

STRIDE = 7  # compare the features of every seventh frame


@dataclass
class Replayed:
    """A clip's frames and the faces found in each; it stands in for both the film and the detector."""

    kept: list[Frame]
    found: dict[int, list[Face]]
    layout: str

    def frames(self) -> Iterator[Frame]:
        yield from self.kept

    def settings(self) -> dict[str, object]:
        return {}

    def __call__(self, image: np.ndarray) -> list[Face]:
        return self.found[id(image)]


@dataclass
class Outcome:
    """Results of one detector on one clip: processor seconds per detection, and the results for each N."""

    seconds: np.ndarray
    looks: dict[int, int] = field(default_factory=dict)
    boxes: dict[int, np.ndarray] = field(default_factory=dict)
    features: dict[int, np.ndarray] = field(default_factory=dict)


def looked(clip: Clip, detectors: Sequence[str], looks: Sequence[int], backbone: str) -> dict[str, Outcome]:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    frames = list(Media(clip.path).frames())
    network = face_networks(Plan(backbones=(backbone,)))[0]
    framed = window_transform(network.spec.window, CHIP_SIZE, network.spec.input_size)
    outcomes = {}
    for name in detectors:
        detector, found, seconds = load_detector(name), {}, []
        for frame in frames:
            start = time.process_time()
            found[id(frame.image)] = detector(frame.image)
            seconds.append(time.process_time() - start)
        film = Replayed(frames, found, detector.layout)
        outcome = outcomes[name] = Outcome(np.array(seconds))
        for every in looks:
            search = FaceSearch(film, every)
            sizes = [frame.image.shape[:2] for frame in search.frames(cast(Media, film))]
            track = Track(search.interpolate(search.tracker.main().faces))
            faces = face_arrays(search.times, track, sizes, detector.layout)
            outcome.looks[every], outcome.boxes[every] = len(search.examined), faces["box"]
            views = [
                warp(frame.image, compose(framed[None], transform), network.spec.input_size, network.device)
                for frame, transform in list(zip(frames, faces["transform"], strict=True))[3::STRIDE]
            ]
            outcome.features[every] = network(torch.cat(views)).float().numpy()
    return outcomes


def hits(
    outcomes: Sequence[Outcome], every: int, labels: np.ndarray, subjects: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return which clips the SVM classifies correctly, plain and by subject."""
    parts = [outcome.features[every] for outcome in outcomes]
    values = np.stack([np.concatenate([part.mean(0), part.std(0), part.max(0)]) for part in parts])
    return right(values, labels, subjects), right(by_subject(values, subjects), labels, subjects)


def rows_of(
    outcomes: Sequence[Outcome], looks: Sequence[int], labels: np.ndarray, subjects: np.ndarray
) -> Iterator[list[str]]:
    whole = [outcome.features[1].mean(0) for outcome in outcomes]
    count = sum(len(outcome.seconds) for outcome in outcomes)
    first = hits(outcomes, 1, labels, subjects)
    for every in looks:
        spent = sum(outcome.seconds.mean() * outcome.looks[every] for outcome in outcomes) / count
        pairs = [
            (one, other)
            for outcome in outcomes
            for one, other in zip(outcome.boxes[1], outcome.boxes[every], strict=True)
        ]
        seen = [[not np.isnan(box[0]) for box in pair] for pair in pairs]
        overlaps = [overlap(*pair) for pair, both in zip(pairs, seen, strict=True) if all(both)]
        means = [outcome.features[every].mean(0) for outcome in outcomes]
        cosines = [
            one @ other / np.linalg.norm(one) / np.linalg.norm(other)
            for one, other in zip(whole, means, strict=True)
        ]
        row = [
            str(every),
            f"{1e3 * spent:.1f}",
            f"{np.mean(overlaps):.3f}",
            f"{np.quantile(overlaps, 0.01):.2f}",
        ]
        row += [f"{np.mean([one != other for one, other in seen]):.1%}"]
        row += [f"{np.mean(cosines):.5f}", f"{min(cosines):.3f}"]
        for own, theirs in zip(hits(outcomes, every, labels, subjects), first, strict=True):
            row += [f"{own.mean():.3f}", f"{mcnemar(own, theirs):.2f}"]
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--detector", action="append", help="repeatable; default: dlib")
    parser.add_argument("--backbone", default=DEFAULT_BACKBONE)
    parser.add_argument("--jobs", type=int, default=joblib.cpu_count())
    parser.add_argument(
        "--every",
        type=int,
        nargs="+",
        default=[1, 2, 3, 5],
        metavar="N",
        help="values of N; 1 is always included",
    )
    parser.add_argument("--step", type=int, default=1, help="only every Nth clip")
    arguments = parser.parse_args()
    detectors, looks = arguments.detector or ["dlib"], sorted({1, *arguments.every})
    clips = [clip for clip in find_clips(arguments.clips).clips if clip.label][:: arguments.step]
    work = (joblib.delayed(looked)(clip, detectors, looks, arguments.backbone) for clip in clips)
    done = joblib.Parallel(n_jobs=arguments.jobs, verbose=1)(work)
    labels, subjects = (np.array([getattr(clip, name) for clip in clips]) for name in ("label", "subject"))
    header = ["detector", "N", "ms a frame", "IoU", "1 %", "flag differs", "cosine", "least"]
    header += ["SVM", "p", "by subject", "p"]
    outcomes = {name: [each[name] for each in done] for name in detectors}
    table = [
        [name.partition("@")[0], *row]
        for name in detectors
        for row in rows_of(outcomes[name], looks, labels, subjects)
    ]
    print(f"{describe()}\n{len(clips)} clips, {arguments.backbone}\n{aligned(header, table)}")
    for one, other in combinations(detectors, 2):
        pairs = zip(*(hits(outcomes[name], 1, labels, subjects) for name in (one, other)), strict=True)
        plain, within = (mcnemar(*pair) for pair in pairs)
        print(f"{one} against {other}, N = 1: p {plain:.2f}, by subject {within:.2f}")


if __name__ == "__main__":
    main()
