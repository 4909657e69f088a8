"""Detection and the features of one view: avemo beside other tools, on the same frames, one thread.

Each tool gets decoded RGB frames in memory, detects faces with its defaults, and runs its network once
on the largest face of each frame; avemo also aligns the face. The result is frames a second of processor
time, with the tools in turns.

* avemo: dlib, and YuNet with ``--yunet FILE``; ``ferplusnet``, and ``facenet`` (FaceNet at 160 pixels).
* facenet-pytorch: MTCNN (its weights are in the wheel), then InceptionResnetV1 with random weights, because
  the package downloads its own; the time is the same. One frame at a time, and 16 at once.

deepface, py-feat and hsemotion-onnx download their weights when they start, and video_features is not a
package. They cannot be run on a machine without a network, so they are not compared.

    pip install --no-deps facenet-pytorch
    python benchmarks/others.py ../shared/data/java_sed/clips
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from machine import describe, load

from avemo.extract.align import CHIP_SIZE, compose, window_transform
from avemo.extract.backbones import Backbone, load_backbone, random_backbone
from avemo.extract.decode.media import Media
from avemo.extract.detectors import Face, load_detector
from avemo.extract.networks import views_at_once
from avemo.extract.plan import Plan
from avemo.extract.track import Track, face_arrays
from avemo.extract.warp import warp
from avemo.pipelines.cli.table import aligned

Frames = list[np.ndarray]
Tool = Callable[[Frames], int]
"""Takes frames; returns the number of frames with a face."""

AT_ONCE = 16


def avemo(detector_text: str, network: Backbone) -> Tool:
    detector = load_detector(detector_text)
    size, batch = network.spec.input_size, views_at_once(Plan())
    framed = window_transform(network.spec.window, CHIP_SIZE, size)

    def run(frames: Frames) -> int:
        found = {number: max(detector(frame), key=_area, default=None) for number, frame in enumerate(frames)}
        track = Track({number: face for number, face in found.items() if face is not None})
        sizes = [frame.shape[:2] for frame in frames]
        faces = face_arrays([*map(float, range(len(frames)))], track, sizes, detector.layout)
        views = [
            warp(frame, compose(framed[None], transform), size, network.device)
            for frame, transform in zip(frames, faces["transform"], strict=True)
        ]
        for start in range(0, len(views), batch):
            network(torch.cat(views[start : start + batch]))
        return int(faces["has_face"].sum())

    return run


def _area(face: Face) -> float:
    return float(np.prod(face.box[2:] - face.box[:2]))


def facenet_pytorch(at_once: int) -> Tool:
    from facenet_pytorch import MTCNN, InceptionResnetV1

    detector = MTCNN(post_process=True)
    network = InceptionResnetV1(pretrained=None).eval()

    @torch.inference_mode()
    def run(frames: Frames) -> int:
        found = 0
        for start in range(0, len(frames), at_once):
            faces = [face for face in detector(frames[start : start + at_once]) if face is not None]
            found += len(faces)
            if faces:
                network(torch.stack(faces))
        return found

    return run


def tools(yunet: str | None) -> Iterator[tuple[str, Callable[[], Tool]]]:
    networks = {"ferplusnet": load_backbone("ferplusnet", precision="fp32")}
    networks["facenet"] = random_backbone("facenet", precision="fp32")
    for label, network in networks.items():
        for name, text in {"dlib": "dlib", **({"YuNet": f"yunet@{yunet}"} if yunet else {})}.items():
            yield f"avemo, {name}, {label}, fp32", partial(avemo, text, network)
    for at_once in (1, AT_ONCE):
        title = f"facenet-pytorch, MTCNN, InceptionResnetV1, {at_once} at once"
        yield title, partial(facenet_pytorch, at_once)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="CLIPS")
    parser.add_argument("--clips", type=int, default=8, help="number of clips, spread over the folder")
    parser.add_argument("--max-frames", type=int, default=16, help="frames per clip")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--yunet", metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    paths = sorted(options.folder.rglob("*.mp4"))
    clips = [paths[index] for index in np.linspace(0, len(paths) - 1, options.clips).astype(int)]
    frames = [frame.image for path in clips for frame in Media(path, options.max_frames).frames()]
    running: dict[str, Tool] = {}
    for title, make in tools(options.yunet):
        running[title] = make()
        running[title](frames[:2])
    seconds: dict[str, list[float]] = {title: [] for title in running}
    found = {}
    for _ in range(options.rounds):
        for title, run in running.items():
            start = time.process_time()
            found[title] = run(frames)
            seconds[title].append(time.process_time() - start)
    print(describe())
    print(f"{len(frames)} frames of {len(clips)} clips, one thread; load at the end {load()}")
    rows = [
        [title, f"{len(frames) / median(seconds[title]):.1f}", f"{found[title] / len(frames):.1%}"]
        for title in running
    ]
    print(aligned(["tool", "frames/s", "with a face"], rows))
    print(", ".join(f"{name} {version(name)}" for name in ("facenet-pytorch", "dlib-bin")))


if __name__ == "__main__":
    main()
