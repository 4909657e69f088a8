"""Time of one view in other engines and forms of a network, compared with the form that stage 1 runs.

One thread, random weights, in turns, in processor time. The forms are torch as built, with batch norms
folded, with channels last as well (stage 1's form), the same in bf16 and int8, and compiled (``--compile``);
ONNX Runtime and OpenVINO in fp32, and in int8 calibrated on the same random views. "error" is the largest
difference from torch's features, relative to the largest feature. It is meaningless for stage 1's int8,
because random batch norms give no value ranges (see ``precisions.py``). Engines that are not installed are
left out.

    pip install onnx onnxruntime openvino
    export MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=1073741824 MALLOC_TOP_PAD_=67108864
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python benchmarks/engines.py

The variables of the second line are those of stage 1's processes (``extract.run.KEEP_MEMORY``). Those of the
third limit torch, and apparently OpenVINO, to the instructions of a usual laptop (AVX2_VNNI: of a newer one).
ONNX Runtime ignores them, so compare it without.
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from machine import describe
from torch import Tensor, nn
from torch.fx.experimental import optimization

from avemo.extract.backbones import get
from avemo.extract.int8 import in_int8
from avemo.extract.precision import prepare
from avemo.pipelines.cli.table import aligned

Run = Callable[[], np.ndarray]
BEFORE = "stage 1 (folded, channels last)"


def torch_runs(network: nn.Module, views: Tensor, compiling: bool) -> Iterator[tuple[str, Run]]:
    last = views.to(memory_format=torch.channels_last)
    folded = optimization.fuse(copy.deepcopy(network))
    prepared = prepare(copy.deepcopy(network), "cpu", "fp32")
    yield "torch as built", lambda: network(views).numpy()
    yield "torch, batch norms folded", lambda: folded(views).numpy()
    yield BEFORE, lambda: prepared(last).numpy()
    half, halved = prepare(copy.deepcopy(network), "cpu", "bf16"), last.to(torch.bfloat16)
    yield "stage 1, bf16", lambda: half(halved).float().numpy()
    bytewise = in_int8(copy.deepcopy(network), views)
    yield "stage 1, int8", lambda: bytewise(last).numpy()
    if compiling:
        compiled = torch.compile(prepared)
        yield "torch.compile of that", lambda: compiled(last).numpy()


def other_runs(network: nn.Module, views: Tensor, folder: Path) -> Iterator[tuple[str, Run]]:
    path = folder / "network.onnx"
    torch.onnx.export(network, (views,), str(path), input_names=["x"], output_names=["y"], dynamo=False)
    array = views.numpy()
    paths = {"fp32": path, "int8": folder / "int8.onnx"}
    if find_spec("onnxruntime"):
        _to_int8(path, paths["int8"], array)
    for precision, file in paths.items():
        if find_spec("onnxruntime"):
            yield f"ONNX Runtime, {precision}", _onnx_runtime(file, array)
        if find_spec("openvino") and file.exists():
            yield f"OpenVINO, {precision}", _openvino(file, array)


def _to_int8(path: Path, out: Path, views: np.ndarray) -> None:
    from onnxruntime import quantization

    class Views(quantization.CalibrationDataReader):
        batches = iter([{"x": views}])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    quantization.quantize_static(str(path), str(out), Views(), per_channel=True)


def _onnx_runtime(path: Path, views: np.ndarray) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": views})[0]


def _openvino(path: Path, views: np.ndarray) -> Run:
    import openvino

    settings: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    request = compiled.create_infer_request()
    return lambda: request.infer([views], share_inputs=True)[0].copy()


@torch.no_grad()
def table(name: str, batch: int, rounds: int, compiling: bool) -> list[list[str]]:
    spec = get(name)
    torch.manual_seed(0)
    network = spec.build().eval().requires_grad_(False)
    views = torch.rand(batch, len(spec.mean), spec.input_size, spec.input_size)
    expected = network(views).numpy()
    with tempfile.TemporaryDirectory() as folder:
        runs = [*torch_runs(network, views, compiling), *other_runs(network, views, Path(folder))]
        errors = [float(np.abs(run() - expected).max() / np.abs(expected).max()) for _, run in runs]
        seconds: list[list[float]] = [[] for _ in runs]
        for _ in range(rounds):
            for (_, run), of_run in zip(runs, seconds, strict=True):
                start = time.process_time()
                run()
                of_run.append((time.process_time() - start) / batch)
    before = median(seconds[[title for title, _ in runs].index(BEFORE)])
    return [
        [name, title, f"{1e3 * median(of_run):.2f}", f"{before / median(of_run):.2f}", f"{error:.0e}"]
        for (title, _), of_run, error in zip(runs, seconds, errors, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--backbone", action="append", metavar="NAME", help="default: ferplusnet, resnet18")
    parser.add_argument("--batch", type=int, default=36)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="also time torch.compile; it has crashed here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(describe(), f"oneDNN up to {os.environ.get('ONEDNN_MAX_CPU_ISA', 'all')}", sep="; ")
    rows = []
    for name in options.backbone or ["ferplusnet", "resnet18"]:
        rows += table(name, options.batch, options.rounds, options.compile)
    print(aligned(["network", "engine", "ms a view", "times as fast", "error"], rows))


if __name__ == "__main__":
    main()
