"""What computing in bf16 instead of fp32 does to features of real faces.

For each network and statistic, over all frames: the distance of the bf16 feature from the fp32 one as a
share of the latter's length, and the cosine between them.

    python benchmarks/bf16.py ../shared/data/java_sed/clips --backbone dlib \\
        --backbone mobilefacenet@../shared/weights/mobilefacenet.pt
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from machine import describe

from avemo.cache.clips import Clip
from avemo.cache.store import FeatureStore
from avemo.extract.plan import Plan
from avemo.extract.run import Extraction

STATISTICS = ("basic", "mean", "std")


def features(
    clips: list[Clip], backbones: tuple[str, ...], frames: int, precision: str
) -> dict[tuple[str, str], np.ndarray]:
    """``[T, D]`` by stream and statistic, of the frames with a face, one clip after another."""
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


def compare(full: np.ndarray, half: np.ndarray) -> str:
    length = np.linalg.norm(full, axis=1)
    error = np.linalg.norm(half - full, axis=1) / length
    cosine = (full * half).sum(1) / length / np.linalg.norm(half, axis=1)
    return f"{error.mean():>10.2%} {error.max():>10.2%} {cosine.mean():>12.6f} {cosine.min():>12.6f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="CLIPS")
    parser.add_argument("--backbone", action="append", required=True, metavar="NAME[@FILE]")
    parser.add_argument("--clips", type=int, default=7)
    parser.add_argument("--frames", type=int, default=12, help="of each clip")
    options = parser.parse_args()
    paths = sorted(options.folder.rglob("*.mp4"))
    chosen = paths[:: max(1, len(paths) // options.clips)][: options.clips]
    clips = [Clip(path.stem, "all", str(path)) for path in chosen]
    full, half = (
        features(clips, tuple(options.backbone), options.frames, precision) for precision in ("fp32", "bf16")
    )
    print(describe())
    print(f"{len(next(iter(full.values())))} faces of {len(clips)} clips\n")
    print(f"{'':<40} {'error':>10} {'at most':>10} {'cosine':>12} {'at least':>12}")
    for name in full:
        print(f"{' '.join(name):<40} {compare(full[name], half[name])}")


if __name__ == "__main__":
    main()
