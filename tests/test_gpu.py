"""What runs on a GPU gives what a processor gives; ``benchmarks/gpu.py`` runs these where there is one.

AVEMO_TEST_DEVICE=cpu runs them without one, which shows only that the tests work. AVEMO_TEST_DETECTOR names
another detector than dlib, whose files a bare machine has not got.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from avemo.cache.clips import Clip
from avemo.cache.store import FeatureStore
from avemo.extract import DEFAULT_BACKBONE, network_process
from avemo.extract.align import CHIP_SIZE
from avemo.extract.apart import NetworkCall
from avemo.extract.backbones import load_backbone
from avemo.extract.plan import Plan
from avemo.extract.run import Extraction
from avemo.extract.views import VIEW_SETS
from avemo.extract.warp import warp
from avemo.fusion.features.corpus import Corpus, Sequences
from avemo.fusion.heads.registry import settings_for
from avemo.fusion.training.members import train_all
from avemo.fusion.training.training import Fit, Setup, TrainingSettings

DEVICE = os.environ.get("AVEMO_TEST_DEVICE", "cuda")
DETECTOR = os.environ.get("AVEMO_TEST_DETECTOR", "dlib")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a GPU"),
]


def smooth_views(count: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (count, 6, 6, 3))
    large = torch.nn.functional.interpolate(
        torch.from_numpy(coarse).permute(0, 3, 1, 2), size=(size, size), mode="bicubic"
    )
    return large.clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8).numpy()


def test_views_are_warped_as_on_a_processor() -> None:
    frame = smooth_views(1, 224)[0]
    matrices = VIEW_SETS["default"].matrices(CHIP_SIZE)
    here = warp(frame, matrices, CHIP_SIZE, torch.device("cpu")).float()
    there = warp(frame, matrices, CHIP_SIZE, torch.device(DEVICE)).cpu().float()
    inner = (slice(None), slice(8, -8), slice(8, -8))
    assert (here[inner] - there[inner]).abs().max() <= 3
    assert (here[inner] - there[inner]).abs().mean() < 0.5


@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-4), ("bf16", 0.05)])
def test_features_are_those_of_a_processor(precision: str, error: float) -> None:
    """1e-4 is below what TF32 leaves, whose products have 10 bits."""
    here = load_backbone(DEFAULT_BACKBONE, "cpu", "fp32")
    there = load_backbone(DEFAULT_BACKBONE, DEVICE, precision)
    views = smooth_views(300, here.spec.input_size)
    expected, got = here(views), there(views)
    assert got.device.type == "cpu"
    assert torch.linalg.norm(expected - got) / torch.linalg.norm(expected) < error


def test_a_store_is_that_of_a_processor(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    """Several clips share a batch on the device, of which no clip has a multiple."""
    frames = {"a": 12, "b": 3, "c": 25}
    clips = [Clip(name, "all", str(make_clip(tmp_path / f"{name}.mp4", frames[name]))) for name in frames]
    stores = {}
    for device in ("cpu", DEVICE):
        path = tmp_path / f"{device}-{len(stores)}"
        with FeatureStore(path, create=True) as store:
            plan = Plan(detector=DETECTOR, device=device, precision="fp32")
            run = Extraction(clips, plan, store, workers=2, network_processes=len(stores) > 0)
            assert [result.failure for result in run] == ["", "", ""]
            store.refresh()
            (stream,) = [name for name in run.keys if name.endswith("/default")]
            stores[path] = [store.read(row, stream) for row in store.rows]
    here, there = stores.values()
    for expected, got in zip(here, there, strict=True):
        for name in ("basic", "mean", "std"):
            far = np.abs(expected[name] - got[name]).max()
            assert far < 0.02 * np.abs(expected["basic"]).max(), name  # views may differ by a grey level


@pytest.mark.skipif(DEVICE == "cpu", reason="a processor does not wait for itself")
def test_a_batch_is_begun_without_waiting_for_the_one_before() -> None:
    service = network_process._Service(Plan(device=DEVICE, view_sets=("default", "wide")))
    call = NetworkCall("views", DEFAULT_BACKBONE, ("default", "wide"))
    matrices = service._views_of(call).matrices
    arrays = [smooth_views(4, 300), np.stack([matrices] * 4)]
    parts = [
        network_process._Part(network_process._Request(None, 0, call, arrays), *ends)  # type: ignore[arg-type]
        for ends in ((0, 4), (1, 3))
    ]
    expected = service._copies.to_host(service._statistics(parts))()
    torch.cuda.set_sync_debug_mode("error")
    try:
        waited = service._copies.to_host(service._statistics(parts))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    np.testing.assert_array_equal(waited(), expected)


def test_stacked_members_are_those_in_turn_on_a_processor() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 9, 28)
    streams = {
        name: Sequences.of([rng.normal(size=(n, size)).astype(np.float32) for n in lengths])
        for name, size in (("visual", 16), ("audio", 8))
    }
    classes = ("Angry", "Happy", "Neutral", "Sad")
    data = Corpus(tuple(Clip(str(i), "train", label=classes[i % 4]) for i in range(28)), streams)
    nobody = np.array([], dtype=np.int64)

    def trained(device: str, stacked: bool) -> np.ndarray:
        setup = Setup(classes, settings_for("fbp"), TrainingSettings(3), device)
        tasks = [(setup, Fit(seed, np.arange(28), nobody)) for seed in range(3)]
        results = dict(train_all(data, tasks, 1, stacked=stacked))
        return np.stack([results[number].probabilities for number in range(3)])

    # Dropout is drawn by seed on the processor, or else the two could not agree.
    np.testing.assert_allclose(trained(DEVICE, True), trained("cpu", False), atol=1e-3)
