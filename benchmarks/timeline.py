"""Draws a run of stage 1: the clips that each process works on, and the time of each stage.

Each bar is a clip. Its stages are drawn one after another, although those of a frame alternate.

    python benchmarks/timeline.py ../shared/data/java_sed/clips docs/images/timeline.png
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import matplotlib
from machine import describe
from matplotlib import pyplot as plt

from avemo.cache.clips import Clip
from avemo.cache.store import FeatureStore
from avemo.extract import DEFAULT_BACKBONE
from avemo.extract.plan import Plan
from avemo.extract.run import Extraction
from avemo.extract.stopwatch import DECODE, DETECT, NETWORK, REST, SOUND, WARP, WRITE
from extract import spread

COLOURS = {
    DECODE: "#4477aa",
    DETECT: "#ccbb44",
    WARP: "#66ccee",
    NETWORK: "#aa3377",
    SOUND: "#228833",
    REST: "#bbbbbb",
    WRITE: "#000000",
}
INCHES = (9.0, 3.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="CLIPS")
    parser.add_argument("out", type=Path, metavar="PNG")
    parser.add_argument("--clips", type=int, default=24, help="number of clips, spread over the folder")
    parser.add_argument("--max-frames", type=int, help="frames per clip; default: all")
    parser.add_argument("--backbone", default=DEFAULT_BACKBONE)
    parser.add_argument("--detector", default=Plan().detector)
    options = parser.parse_args()
    paths = spread(sorted(options.folder.rglob("*.mp4")), options.clips)
    clips = [Clip(path.stem, "all", str(path)) for path in paths]
    plan = Plan(options.detector, (options.backbone,), max_frames=options.max_frames)
    ended = []
    with tempfile.TemporaryDirectory() as name, FeatureStore(Path(name), create=True) as store:
        run = Extraction(clips, plan, store)
        begun = time.perf_counter()
        for result in run:
            ended.append((time.perf_counter() - begun, result))
        end = time.perf_counter() - begun
    matplotlib.use("Agg")
    figure, axes = plt.subplots(figsize=INCHES, layout="constrained")
    free = [0.0] * run.workers  # end of the last bar of each process
    total = dict.fromkeys(COLOURS, 0.0)
    for at, result in ended:
        start = at - sum(spent.wall for spent in result.stages.values())
        lane = max(
            (n for n in range(run.workers) if free[n] <= start + 0.2), key=lambda n: free[n], default=0
        )
        free[lane] = at
        for stage in COLOURS:
            if stage in result.stages:
                width = result.stages[stage].wall
                axes.broken_barh([(start, width)], (lane - 0.4, 0.8), color=COLOURS[stage], linewidth=0)
                start, total[stage] = start + width, total[stage] + width
        axes.vlines(at, lane - 0.4, lane + 0.4, color="white", linewidth=0.8)
    total[WRITE] = run.watch.spent[WRITE].wall
    whole = sum(total.values())
    for stage, colour in COLOURS.items():
        axes.bar(0, 0, color=colour, label=f"{stage} {total[stage] / whole:.0%}")
    axes.set(xlim=(0, end), xlabel="seconds", yticks=range(run.workers))
    axes.set_yticklabels([f"process {number + 1}" for number in range(run.workers)])
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=len(COLOURS), frameon=False, fontsize="small")
    figure.savefig(options.out, dpi=110)
    print(describe())
    print(f"{len(clips)} clips, {options.backbone}, {options.detector}: {end:.1f} s; drawn in {options.out}")


if __name__ == "__main__":
    main()
