"""Time of one view in each face network, compared with the minimum cost of its arithmetic.

Each network runs as in stage 1: batches of byte views, one thread, in a process that keeps its
memory. The floor is the network's multiply-adds (torch's FlopCounterMode) at the rate at which the same
thread computes plain matrix products in the same precision, with the best of several sizes. Network and
products are timed in turns. On a CPU the clock is processor time, which equals wall time if the thread has a
core to itself, so other work on the machine hardly affects the ratio. Weights are random, which does not
change the time. An ONNX file keeps its own weights, runs in fp32, and gives no count of multiply-adds.

    python benchmarks/backbones.py
    python benchmarks/backbones.py --backbone dlib --backbone timm:convnext_atto --backbone onnx@FILE.onnx

``--device cuda`` is untested: no GPU was available.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from floor import PATIENT
from machine import describe, environment
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from avemo.extract.backbones import Backbone, get, load_backbone, names, random_backbone
from avemo.extract.crew import KEEP_MEMORY
from avemo.extract.networks import views_at_once
from avemo.extract.plan import Plan
from avemo.extract.precision import Precision, dtype_of
from avemo.pipelines.cli.table import aligned

ONNX = "onnx@"
MOBILEFACENET = Path(__file__).resolve().parents[2] / "shared/weights/MobileFaceNet.onnx"
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
PRODUCTS = (512, 1024, 2048)


class Cost(NamedTuple):
    """Cost of one network in one precision: ``ms`` a view, and its ``ratio`` to the floor, if known."""

    size: int
    features: int
    multiply_adds: int | None
    ms: float
    ratio: float | None


def cost(text: str, precision: Precision, device: str, batch: int, rounds: int) -> Cost | None:
    """Time a network; return None if it does not run in that precision."""
    torch.set_num_threads(1)
    backbone = _backbone(text, precision, device)
    if backbone.precision != precision:
        return None
    spec = backbone.spec
    views = torch.randint(256, (batch, spec.input_size, spec.input_size, 3), dtype=torch.uint8, device=device)
    count = None if text.startswith(ONNX) else multiply_adds(text)
    matrices = [torch.rand(2, size, size, device=device).to(dtype_of(precision)) for size in PRODUCTS]
    backbone(views)
    seconds, in_products = [], []  # of one view; multiply-adds that products compute in that time
    for _ in range(rounds):
        rate = max(products_per_second(pair) for pair in matrices)
        start = _now(views.device)
        backbone(views)
        seconds.append((_now(views.device) - start) / batch)
        in_products.append(seconds[-1] * rate)
    ratio = median(in_products) / count if count else None
    return Cost(spec.input_size, spec.features, count, 1e3 * median(seconds), ratio)


def multiply_adds(name: str) -> int:
    """Count the multiply-adds of one view."""
    spec = get(name)
    with torch.device("meta"):
        network = spec.build().eval().to("meta")
        view = torch.empty(1, len(spec.mean), spec.input_size, spec.input_size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(view)
    return counter.get_total_flops() // 2


def products_per_second(pair: torch.Tensor) -> float:
    """Return the rate of multiply-adds in one product of two square matrices, ``pair [2, n, n]``."""
    out = torch.empty_like(pair[0])
    torch.mm(pair[0], pair[1], out=out)
    start = _now(pair.device)
    torch.mm(pair[0], pair[1], out=out)
    return len(out) ** 3 / (_now(pair.device) - start)


def _now(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def _backbone(text: str, precision: Precision, device: str) -> Backbone:
    if text.startswith(ONNX):
        return load_backbone(text, device, precision)
    return random_backbone(text, device=device, precision=precision)


def row_of(text: str, costs: list[Cost | None]) -> list[object]:
    first = next(each for each in costs if each is not None)
    mega = None if first.multiply_adds is None else round(first.multiply_adds / 1e6)
    name = f"{ONNX}{Path(text).stem}" if text.startswith(ONNX) else text
    row: list[object] = [name, first.size, first.features, mega]
    for each in costs:
        row += [None, None] if each is None else [f"{each.ms:.2f}", each.ratio and f"{each.ratio:.1f}"]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--backbone",
        action="append",
        metavar="NAME",
        help="a network, timm:NAME or onnx@FILE; repeatable; default: all, and MobileFaceNet as an ONNX file",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, help="views per batch; default: that of stage 1")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    onnx = [f"{ONNX}{MOBILEFACENET}"] if MOBILEFACENET.is_file() else []
    batch = views_at_once(Plan(device=options.device, batch=options.batch))
    print(describe())
    print(f"batch {batch} on {options.device}, one thread, median of {options.rounds} rounds\n", flush=True)
    header = ["backbone", "pixels", "features", "M mult-adds"]
    header += [title for name in PRECISIONS for title in (f"{name} ms", "/ floor")]
    texts = options.backbone or [*names(), *onnx]
    table = []
    with (
        environment(**KEEP_MEMORY, **PATIENT),
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process,
    ):
        for text in tqdm(texts, unit="network", leave=False):
            jobs = [
                process.submit(cost, text, precision, options.device, batch, options.rounds)
                for precision in PRECISIONS
            ]
            table.append(row_of(text, [job.result() for job in jobs]))
    print(aligned(header, table))


if __name__ == "__main__":
    main()
