"""Effect of bf16 or int8 instead of fp32 on the features and classes of real faces.

For each network and statistic, over all frames: the distance of the feature from that in fp32, relative to
the length of the latter, and the cosine between them. With --faces, for embedded networks: the share of
labelled pictures classified correctly, in one view each, how many are lost and won, and McNemar's exact p.

    python benchmarks/precisions.py ../shared/data/java_sed/clips --backbone dlib \\
        --backbone mobilefacenet@../shared/weights/mobilefacenet.pt
    python benchmarks/precisions.py ../shared/data/java_sed/clips --backbone ferplusnet --precision int8 \\
        --faces fer/fer2013new.csv
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from faces import mcnemar
from machine import describe

from avemo.cache.clips import Clip
from avemo.cache.store import FeatureStore
from avemo.extract.backbones import get, load_backbone
from avemo.extract.plan import Plan
from avemo.extract.run import Extraction
from avemo.pipelines.corpora.images.find import find_pictures
from avemo.pretrain.card import read_classifier
from avemo.pretrain.packed import pack

STATISTICS = ("basic", "mean", "std")


def features(
    clips: list[Clip], backbones: tuple[str, ...], frames: int, precision: str
) -> dict[tuple[str, str], np.ndarray]:
    """Return ``[T, D]`` by stream and statistic, for the frames with a face, one clip after another."""
    plan = Plan(backbones=backbones, max_frames=frames, precision=precision)
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    with tempfile.TemporaryDirectory() as name, FeatureStore(Path(name) / "store", create=True) as store:
        for result in Extraction(clips, plan, store):
            if result.failure:
                raise RuntimeError(result.failure)
        store.refresh()
        for row in store.rows:
            seen = store.read(row, "faces", ["has_face"])["has_face"]
            for stream in store.streams:
                if stream.endswith("/default"):
                    for statistic, values in store.read(row, stream, STATISTICS).items():
                        found.setdefault((stream, statistic), []).append(values[seen])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def compare(full: np.ndarray, other: np.ndarray) -> str:
    length = np.linalg.norm(full, axis=1)
    error = np.linalg.norm(other - full, axis=1) / length
    cosine = (full * other).sum(1) / length / np.linalg.norm(other, axis=1)
    return f"{error.mean():>10.2%} {error.max():>10.2%} {cosine.mean():>12.6f} {cosine.min():>12.6f}"


def told_right(name: str, precision: str, faces: Path) -> np.ndarray:
    """Return which pictures of the held-out part the embedded network ``name`` classifies correctly."""
    spec = get(name)
    assert spec.default_weights is not None
    classifier, _, classes = read_classifier(spec.default_weights())
    unknown = set(find_pictures(faces).classes) - set(classes)
    found = find_pictures(faces, without=unknown).in_classes_of(classes, spec.default_weights())
    packed = pack(found, spec.input_size, True, lambda: None)
    held_out = packed.parts == next(part for part in ("test", "val") if (packed.parts == part).any())
    pixels = torch.from_numpy(packed.pixels[held_out].repeat(3, axis=-1))
    backbone = load_backbone(name, "cpu", precision)
    with torch.inference_mode():
        said = [classifier.eval().classes(backbone(part)).argmax(1) for part in pixels.split(36)]
    return np.asarray(torch.cat(said).numpy() == packed.targets[held_out])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="CLIPS")
    parser.add_argument("--backbone", action="append", required=True, metavar="NAME[@FILE]")
    parser.add_argument("--precision", choices=("bf16", "int8"), default="bf16")
    parser.add_argument("--clips", type=int, default=7)
    parser.add_argument("--frames", type=int, default=12, help="frames per clip")
    parser.add_argument("--faces", type=Path, metavar="FILE", help="labelled pictures, such as FER+")
    options = parser.parse_args()
    paths = sorted(options.folder.rglob("*.mp4"))
    chosen = paths[:: max(1, len(paths) // options.clips)][: options.clips]
    clips = [Clip(path.stem, "all", str(path)) for path in chosen]
    full, other = (
        features(clips, tuple(options.backbone), options.frames, precision)
        for precision in ("fp32", options.precision)
    )
    print(f"{describe()}; {options.precision} against fp32")
    print(f"{len(next(iter(full.values())))} faces of {len(clips)} clips\n")
    print(f"{'':<40} {'error':>10} {'at most':>10} {'cosine':>12} {'at least':>12}")
    for name in full:
        print(f"{' '.join(name):<40} {compare(full[name], other[name])}")
    for name in options.backbone if options.faces else ():
        was, now = (told_right(name, each, options.faces) for each in ("fp32", options.precision))
        print(
            f"\n{name}, {len(was)} pictures: {was.mean():.4f} right, now {now.mean():.4f}; "
            f"{(was & ~now).sum()} lost, {(now & ~was).sum()} won, p {mcnemar(now, was):.2f}"
        )


if __name__ == "__main__":
    main()
