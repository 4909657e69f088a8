"""Measure everything to be known of a GPU, in under ten minutes, on a bare machine without network.

Each part may fail alone; the JSON is rewritten after every part:

* tests: those that need a GPU (tests/test_gpu.py);
* network: ResNet18's views a second at each batch, in bf16, fp32 and fp32 with TF32, nothing else running;
* whole: runs with different numbers of workers that feed the network process, in the best batch of
  the network alone; compared with that network or with the rate that the cores can supply, whichever is
  less (goal: at least 0.9), and with the plain script on the same GPU (goal: 20 times);
* members: 32 heads stacked as one, compared with one after another (members.py; goal: at most 0.06);
* training: seconds an epoch of the recipe in gpu_pretrain.sh, on noise, which takes as long as faces.

avemo need not be installed: this checkout is used, and wheels of missing packages are installed into a
temporary folder. benchmarks/README.md says what to carry. On a CPU, ``--tiny`` shows that all parts run:

    python benchmarks/gpu.py CLIPS --yunet FILE.onnx --device cpu --tiny
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NETWORK = "resnet18"
BATCHES = (64, 144, 288, 576, 1152, 2304)
TRIAL_SECONDS = 2.0
GOALS = {"whole / slowest": 0.9, "plain / avemo": 20.0, "stacked / turn": 0.06}


def prepare(wheels: Path | None, folder: Path) -> None:
    """Let this process and its children import avemo and the packages in the wheels."""
    paths = [folder / "path"]
    paths[0].mkdir()
    (paths[0] / "avemo").symlink_to(ROOT)
    if wheels is not None:
        files = [str(file) for file in sorted(wheels.glob("*.whl"))]
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile"]
        subprocess.run([*pip, "--target", str(folder / "site"), *files], check=True)
        paths.append(folder / "site")
    sys.path[:0] = map(str, paths)
    os.environ["PYTHONPATH"] = os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")])


def child(command: list[str], **variables: str) -> str:
    """Return the output of a Python process; if it fails, raise its last lines."""
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env={**os.environ, **variables}, cwd=ROOT
    )
    if done.returncode:
        raise RuntimeError("\n".join((done.stdout + done.stderr).strip().splitlines()[-15:]))
    return done.stdout


class Bench:
    """The parts, on one device."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        from extract import random_weights

        self.device, self.tiny, self.clips = options.device, options.tiny, options.clips.resolve()
        self.yunet = str(options.yunet.resolve())
        self.folder = folder
        self.weights = random_weights(folder)
        self.bare: dict[str, dict[str, float]] = {}

    def tests(self) -> dict[str, Any]:
        words = ["-m", "pytest", "tests/test_gpu.py", "-m", "gpu", "-q", "-rs", "-p", "no:cacheprovider"]
        surroundings = {"AVEMO_TEST_DEVICE": self.device, "AVEMO_TEST_DETECTOR": f"yunet@{self.yunet}"}
        return {"pytest": child(words, **surroundings).strip().splitlines()[-1]}

    def network(self) -> dict[str, Any]:
        """Time the bare network on prepared views, and compare the results of the precisions."""
        import torch
        from torch import nn

        from avemo.extract.backbones import get
        from avemo.extract.precision import Precision, dtype_of, prepare

        def ready(precision: Precision) -> nn.Module:
            torch.manual_seed(0)
            return prepare(get(NETWORK).build(), self.device, precision)

        size, features = get(NETWORK).input_size, {}
        sample = torch.rand(16, 3, size, size, generator=torch.Generator().manual_seed(1)).to(self.device)
        for name in ("bf16", "fp32", "tf32"):
            precision: Precision = "bf16" if name == "bf16" else "fp32"
            module = ready(precision)
            dtype = dtype_of(precision)
            torch.backends.cudnn.allow_tf32 = name == "tf32"
            torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
            self.bare[name] = {}
            with torch.inference_mode():
                features[name] = module(sample.to(dtype)).float().cpu()
                for batch in BATCHES[: 1 if self.tiny else None]:
                    views = torch.rand(batch, 3, size, size, device=self.device, dtype=dtype)
                    views = views.to(memory_format=torch.channels_last)
                    self.bare[name][str(batch)] = batch / self._seconds(partial(module, views))
        torch.backends.cudnn.allow_tf32 = True  # the initial setting
        torch.set_float32_matmul_precision("highest")
        exact = features["fp32"]
        apart = {name: float((got - exact).norm() / exact.norm()) for name, got in features.items()}
        best = {name: max(found.values()) for name, found in self.bare.items()}
        return {"views a second": self.bare, "best": best, "relative distance to fp32": apart}

    def whole(self) -> dict[str, Any]:
        """Run many clips; compare with the network alone, the cores alone, and the plain script."""
        from avemo.cache.clips import Clip
        from avemo.extract import stopwatch
        from avemo.extract.plan import Plan
        from avemo.extract.run import usable_cores
        from avemo.pipelines.bench.measure import BenchSettings, measure
        from avemo.pipelines.bench.verdict import judge

        files = sorted(file for file in self.clips.rglob("*") if file.suffix in (".mp4", ".avi", ".mkv"))
        clips = [Clip(file.stem, "all", str(file)) for file in files]
        cores = usable_cores()
        plan = Plan(
            detector=f"yunet@{self.yunet}",
            backbones=(f"{NETWORK}@{self.weights}",),
            device=self.device,
            max_frames=2 if self.tiny else None,
            batch=self._best_batch(),
        )
        folder = self.folder / "stages"
        folder.mkdir()
        wanted = BenchSettings(clips, plan, cores, 24, 1.0 if self.tiny else 40.0, apart=True)
        measured = measure(wanted, folder, lambda done, total: None)
        stages, alone = judge(measured, plan).stages, measured.alone
        busy = sum(each.seconds for each in stages if each.stage != stopwatch.NETWORK) * alone.clips
        limits = {"cores": 18 * alone.frames / busy * cores}
        if self.bare:
            limits["network"] = max(max(of.values()) for of in self.bare.values())
        # Many clips are needed, but only few can be carried to a bare machine.
        wanted_clips = 12 if self.tiny else 8 * cores
        many = [Clip(str(n), "all", str(files[n % len(files)])) for n in range(wanted_clips)]
        runs = [
            self._steady(many, plan, workers) for workers in ((2,) if self.tiny else (cores, cores * 3 // 2))
        ]
        best = max(run["views a second"] for run in runs)
        wall = min(limits, key=lambda name: limits[name])
        plain = self._plain([str(files[0])])
        return {
            "batch": plan.batch,
            "runs": runs,
            "stages": {each.stage: each.ms_a_frame for each in stages},
            "limits": limits,
            "wall": wall,
            **({"whole / network": best / limits["network"]} if self.bare else {}),
            "whole / slowest": best / limits[wall],
            "plain views a second": plain,
            "plain / avemo": best / plain,
        }

    def _steady(self, clips: list[Any], plan: Any, workers: int) -> dict[str, Any]:
        """Run once; take the rate from when all workers have done a clip until they find no more."""
        from avemo.cache.store import FeatureStore
        from avemo.extract.run import Extraction
        from avemo.extract.streams.faces import FACES

        start, times, frames, failed = time.perf_counter(), [], [], []
        with FeatureStore(self.folder / f"whole-{workers}", create=True) as store:
            for result in Extraction(clips, plan, store, workers, network_processes=True):
                times.append(time.perf_counter() - start)
                faces = result.streams.get(FACES)
                frames.append(faces.info.get("frames", 0) if faces else 0)
                failed += [result.failure] if result.failure else []
        first, last = workers - 1, len(times) - workers
        return {
            "workers": workers,
            "views a second": 18 * sum(frames[first + 1 : last + 1]) / (times[last] - times[first]),
            "with start and end": 18 * sum(frames) / times[-1],
            "failed": failed,
        }

    def _best_batch(self) -> int | None:
        """Return the best batch in the precision in use; None if the network was not timed."""
        import torch

        from avemo.extract.precision import has_fast_bf16

        timed = self.bare.get("bf16" if has_fast_bf16(torch.device(self.device)) else "fp32", {})
        return int(max(timed, key=lambda batch: timed[batch])) if timed else None

    def members(self) -> dict[str, Any]:
        from members import CLASSES, IN_TURN, corpus, run, tasks_of

        from avemo.fusion.heads.registry import settings_for
        from avemo.fusion.training.settings import TrainingSettings
        from avemo.fusion.training.training import Setup

        count, epochs = (4, 1) if self.tiny else (32, 20)
        data = corpus(144, 32, 512, 256)
        setup = Setup(CLASSES, settings_for("fbp"), TrainingSettings(epochs), self.device)
        run(data, tasks_of(setup, 144, 1), 1, False)  # one-time work of a process
        tasks = tasks_of(setup, 144, count)
        few, own = run(data, tasks[:IN_TURN], 1, False)
        stacked, together = run(data, tasks, 1, True)
        turn = few / len(own) * count
        apart = max(abs(own[n].probabilities - together[n].probabilities).max() for n in own)
        seconds = {"members": count, "in turn": turn, "stacked": stacked, "stacked / turn": stacked / turn}
        return {**seconds, "furthest apart": float(apart)}

    def training(self) -> dict[str, Any]:
        """Time an epoch as the difference between runs of few and of more epochs."""
        rows, few, more = (140, 1, 2) if self.tiny else (7000, 1, 4)
        data = self.folder / "noise"
        write_noise(data, rows)
        found = {}
        for backbone, extra in (("ferresnet", ["--mixup", "0.2"]), ("ferplusnet", ["--half"])):
            seconds = {}
            for epochs in (few, more):
                out = self.folder / f"{backbone}-{epochs}.safetensors"
                words = ["pretrain", "face", "--data", str(data / "fer2013new.csv"), "--votes", "soft"]
                words += ["--backbone", backbone, "--epochs", str(epochs), "--out", str(out), "--lr", "0.1"]
                words += ["--label-smoothing", "0", "--device", self.device, *extra]
                start = time.perf_counter()
                child(["-c", "from avemo.pipelines.cli.main import main; main(prog_name='avemo')", *words])
                seconds[epochs] = time.perf_counter() - start
            each = (seconds[more] - seconds[few]) / (more - few)
            found[backbone] = {"seconds an epoch of 28,000 images": each * 28_000 / rows, "rows": rows}
        return found

    def _plain(self, files: list[str]) -> float:
        script = ["benchmarks/plain_extract.py", str(self.weights), *files, "--yunet", self.yunet]
        script += ["--device", self.device, "--max-frames", "2" if self.tiny else "60"]
        result = json.loads(child(script))
        return float(18 * result["frames"] / result["wall"])

    def _seconds(self, work: Callable[[], object]) -> float:
        """Time one call, after a warm-up."""
        import torch

        def timed(times: int) -> float:
            start = time.perf_counter()
            for _ in range(times):
                work()
            if self.device != "cpu":
                torch.cuda.synchronize()
            return (time.perf_counter() - start) / times

        once = min(timed(1), timed(1))
        return once if self.tiny else timed(max(1, round(TRIAL_SECONDS / len(BATCHES) / once)))


def write_noise(folder: Path, rows: int) -> None:
    """Write FER2013's and FER+'s tables with images of noise; six of seven are for training."""
    import numpy as np

    rng = np.random.default_rng(0)
    folder.mkdir()
    with (folder / "fer2013.csv").open("w", newline="") as a, (folder / "fer2013new.csv").open("w") as b:
        pixels, votes = csv.writer(a), csv.writer(b)
        pixels.writerow(["emotion", "pixels", "Usage"])
        emotions = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"]
        votes.writerow(["Usage", "Image name", *emotions, "unknown", "NF"])
        for row in range(rows):
            usage = "PublicTest" if row % 7 == 0 else "Training"
            image = rng.integers(0, 256, 48 * 48)
            pixels.writerow([row // 7 % 7, " ".join(map(str, image.tolist())), usage])
            votes.writerow([usage, f"fer{row:07d}.png", *(10 * (np.arange(10) == row // 7 % 8)).tolist()])


def machine(device: str) -> dict[str, Any]:
    import torch
    from machine import describe

    here: dict[str, Any] = {"machine": describe(), "device": device}
    if device != "cpu":
        properties = torch.cuda.get_device_properties(device)
        here |= {
            "card": properties.name,
            "memory GB": properties.total_memory / 1e9,
            "cuda": torch.version.cuda,
        }
    return here


def table(found: Mapping[str, Any]) -> str:
    """Format the figures that have a goal, and those beside them."""
    lines = [f"{found.get('card', found['device'])}; {found['machine']}", ""]
    for part, result in found["parts"].items():
        lines.append(f"{part}: {result.get('failed', '')}".rstrip())
        for name, value in result.items():
            if name in GOALS:
                sign = "at most" if name == "stacked / turn" else "at least"
                lines.append(f"  {name}: {value:.3f} (goal: {sign} {GOALS[name]})")
            elif isinstance(value, dict):
                lines.append(f"  {name}: {json.dumps(value)}")
            elif isinstance(value, list):
                for run in value:
                    told = {key: each for key, each in run.items() if key not in ("stages", "failed")}
                    lines.append(f"  {json.dumps(told)}")
            elif name != "failed":
                lines.append(f"  {name}: {value}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clips", type=Path, metavar="CLIPS")
    parser.add_argument("--yunet", type=Path, required=True, metavar="FILE", help="the detector's ONNX file")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument(
        "--wheels", type=Path, metavar="DIR", help="wheels of packages that the machine lacks"
    )
    parser.add_argument("--parts", nargs="+", default=["tests", "network", "whole", "members", "training"])
    parser.add_argument("--seconds", type=float, default=540, help="start no part after this time")
    parser.add_argument("--tiny", action="store_true", help="run each part on the smallest input")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        prepare(options.wheels, Path(name))
        bench = Bench(options, Path(name))
        found: dict[str, Any] = {**machine(options.device), "tiny": options.tiny, "parts": {}}
        for part in options.parts:
            begun = time.monotonic()
            if begun - started > options.seconds:
                found["parts"][part] = {"failed": "no time was left"}
                continue
            try:
                result = getattr(bench, part)()
            except Exception as error:  # continue with the other parts: the machine is lent for minutes only
                result = {"failed": f"{type(error).__name__}: {error}"}
            found["parts"][part] = {**result, "seconds": round(time.monotonic() - begun, 1)}
            options.out.write_text(json.dumps(found, indent=2) + "\n")
            print(f"{part}: {found['parts'][part]['seconds']} s", flush=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
