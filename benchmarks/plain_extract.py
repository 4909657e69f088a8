"""Plain extraction as one would write it without avemo: frame by frame, view by view, in one process.

dlib finds the face in colour, upsampled once, and cuts its chip. PIL rotates, scales and mirrors the chip.
torchvision's ResNet18 sees one view at a time in fp32. The mean and standard deviation of each frame's
18 views are kept. With --yunet, OpenCV's YuNet finds the face, and its box is cut out. The script imports
nothing of avemo. It prints, as JSON, its frames and its seconds of wall and processor time.

    python benchmarks/plain_extract.py WEIGHTS.pt CLIP... --max-frames 10
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision import models
from torchvision.transforms.functional import to_tensor

SIZE = 224
ANGLES, SCALES = (-2, 0, 2), (1.0, 1.03, 1.07)


def frames(path: str, most: int) -> list[np.ndarray]:
    """Return at most ``most`` frames, spread evenly over the clip."""
    with av.open(path) as container:
        every = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    wanted = np.linspace(0, len(every) - 1, min(most, len(every))).round().astype(int)
    return [np.ascontiguousarray(every[index]) for index in wanted]


def views(chip: Image.Image) -> Iterator[Image.Image]:
    for angle in ANGLES:
        turned = chip.rotate(angle, Image.Resampling.BILINEAR)
        for scale in SCALES:
            side = round(SIZE * scale)
            margin = (side - SIZE) // 2
            scaled = turned.resize((side, side), Image.Resampling.BILINEAR)
            view = scaled.crop((margin, margin, margin + SIZE, margin + SIZE))
            yield view
            yield ImageOps.mirror(view)


class PlainExtractor:
    def __init__(self, weights: str, device: str = "cpu", yunet: str = "") -> None:
        self.device = device
        self.network = models.resnet18(weights=None)
        self.network.fc = torch.nn.Identity()
        self.network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.network.eval().to(device)
        self.yunet = cv2.FaceDetectorYN.create(yunet, "", (320, 320), 0.6) if yunet else None
        if yunet:
            return
        import dlib

        self.cut = dlib.get_face_chip
        package = importlib.util.find_spec("face_recognition_models")
        assert package is not None and package.origin is not None, "pip install face-recognition-models"
        models_folder = Path(package.origin).parent / "models"
        self.detector = dlib.get_frontal_face_detector()
        self.predictor = dlib.shape_predictor(str(models_folder / "shape_predictor_5_face_landmarks.dat"))

    def chip(self, image: np.ndarray) -> Image.Image:
        if self.yunet is not None:
            return self.cropped(image, self.yunet)
        faces = self.detector(image, 1)
        if not faces:
            return Image.fromarray(image).resize((SIZE, SIZE))
        face = max(faces, key=lambda box: box.area())
        points = self.predictor(image, face)
        return Image.fromarray(self.cut(image, points, size=SIZE, padding=0.3))

    def cropped(self, image: np.ndarray, yunet: cv2.FaceDetectorYN) -> Image.Image:
        yunet.setInputSize((image.shape[1], image.shape[0]))
        found: np.ndarray | None = yunet.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
        whole = Image.fromarray(image)
        if found is None:
            return whole.resize((SIZE, SIZE))
        x, y, width, height = max(found[:, :4].tolist(), key=lambda box: box[2] * box[3])
        middle, half = (x + width / 2, y + height / 2), 0.65 * max(width, height)
        box = (middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half)
        return whole.crop(tuple(map(round, box))).resize((SIZE, SIZE), Image.Resampling.BILINEAR)

    @torch.no_grad()
    def features(self, image: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        of_views = torch.cat(
            [self.network(to_tensor(view)[None].to(self.device)) for view in views(self.chip(image))]
        )
        return of_views.mean(0).cpu(), of_views.std(0, unbiased=False).cpu()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--max-frames", type=int, default=10**9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--yunet", default="", metavar="FILE", help="default: dlib")
    options = parser.parse_args()
    extractor = PlainExtractor(options.weights, options.device, options.yunet)
    if options.device != "cpu":
        extractor.features(np.zeros((SIZE, SIZE, 3), np.uint8))  # starts the GPU
    start, busy = time.perf_counter(), time.process_time()
    count = 0
    for clip in options.clips:
        of_frames = [extractor.features(image) for image in frames(clip, options.max_frames)]
        count += len(of_frames)
    cost = {"wall": time.perf_counter() - start, "busy": time.process_time() - busy}
    print(json.dumps({"frames": count, **cost}))


if __name__ == "__main__":
    main()
