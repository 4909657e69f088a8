"""What a GPU's errors cost, and what fp32 means there. There is no GPU here: networks stand in for one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from avemo.cache.clips import Clip
from avemo.cache.store import FeatureStore
from avemo.extract import clip as clip_module
from avemo.extract.backbones import Backbone, get, load_backbone
from avemo.extract.clip import ClipJob, ClipResult, extract_clip
from avemo.extract.device_errors import InBatches, is_device_error
from avemo.extract.errors import DeviceError, ExtractError
from avemo.extract.plan import Plan
from avemo.extract.run import Extraction
from avemo.extract.streams.registry import keys_of

ROOT = Path(__file__).resolve().parents[2]
QUICK = Plan(device="cpu", view_sets=("none",))
ASSERT = "CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later"


class Small(nn.Module):
    """A network on a device whose memory holds five views."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def forward(self, views: Tensor) -> Tensor:
        self.asked.append(len(views))
        if len(views) > 5:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return views.float().mean((2, 3))


def test_a_batch_too_large_for_the_device_is_halved_until_it_fits() -> None:
    network = Small()
    backbone = Backbone(get("ferresnet"), network, "small", "", precision="fp32")
    size = backbone.spec.input_size
    views = torch.randint(256, (17, size, size, 3), dtype=torch.uint8)
    features = backbone(views)
    one_by_one = torch.cat(
        [Backbone(get("ferresnet"), Small(), "s", "", precision="fp32")(v[None]) for v in views]
    )
    torch.testing.assert_close(features, one_by_one)
    assert network.asked == [17, 8, 4, 4, 4, 4, 1]
    network.asked.clear()
    backbone(views[:6])
    assert network.asked == [4, 2]  # it has learnt


def test_a_single_view_too_large_is_an_error() -> None:
    def full(rows: Tensor) -> Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        InBatches()(full, torch.zeros(9, 2))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(ASSERT),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
        RuntimeError("HIP error: an illegal memory access was encountered"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
    ],
)
def test_errors_of_the_device(error: Exception) -> None:
    assert is_device_error(error)
    wrapped = ValueError("a library's own")
    wrapped.__cause__ = error
    assert is_device_error(wrapped)


@pytest.mark.parametrize(
    "error", [RuntimeError("Invalid data found"), ValueError("CUDA error"), MemoryError()]
)
def test_errors_of_a_clip(error: Exception) -> None:
    assert not is_device_error(error)


def test_a_device_error_is_no_failure_of_the_clip(
    make_clip: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(ASSERT)

    monkeypatch.setattr(clip_module, "find_faces", broken)
    path = make_clip(tmp_path / "a.mp4", 3)
    with pytest.raises(DeviceError, match=r"^CUDA error: device-side assert triggered$"):
        extract_clip(QUICK, ClipJob(Clip("a", "train", str(path)), keys_of(QUICK)), tmp_path)


def breaks_once(plan: Plan, job: ClipJob, spool: Path, threads: int, listener: object) -> ClipResult:
    """As a device that fails for two clips at their first try, and for one at every try."""
    path = Path(job.clip.path)
    first = path.with_suffix(".tried")
    if path.stem == "always" or (path.stem in ("1", "3") and not first.exists()):
        first.touch()
        raise DeviceError("CUDA error: an illegal memory access was encountered")
    return ClipResult(job)


def always_breaks(plan: Plan, job: ClipJob, spool: Path, threads: int, listener: object) -> ClipResult:
    with (Path(job.clip.path).parent / "tries").open("a") as tries:
        tries.write("x")
    raise DeviceError("CUDA error: unspecified launch failure")


def run(
    folder: Path, names: list[str], monkeypatch: pytest.MonkeyPatch, work: object, workers: int = 2
) -> list[ClipResult]:
    monkeypatch.syspath_prepend(str(ROOT))  # for the worker processes
    monkeypatch.setattr("avemo.extract.crew.extract_clip", work)
    for name in names:
        (folder / f"{name}.mp4").touch()
    clips = [Clip(name, "train", str(folder / f"{name}.mp4")) for name in names]
    store = FeatureStore(folder / "store", create=True)
    return list(Extraction(clips, QUICK, store, workers))


def test_clips_are_tried_again_after_a_device_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = run(tmp_path, ["0", "1", "2", "3", "4", "always"], monkeypatch, breaks_once)
    failures = {result.job.clip.id: result.failure for result in results}
    assert sorted(failures) == ["0", "1", "2", "3", "4", "always"]
    assert {name for name, reason in failures.items() if reason} == {"always"}
    assert "the device failed on it twice (CUDA error: an illegal memory access" in failures["always"]


def test_a_device_that_always_fails_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExtractError, match=r"failed 4 times in a row, last: CUDA error: unspecified"):
        run(tmp_path, [str(n) for n in range(9)], monkeypatch, always_breaks, workers=1)
    assert len((tmp_path / "tries").read_text()) == 4


class Recording(nn.Module):
    def forward(self, views: Tensor) -> Tensor:
        self.seen = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
        return views.mean((2, 3))


def test_fp32_is_not_tf32() -> None:
    network = Recording()
    backbone = Backbone(get("ferresnet"), network, "r", "", precision="fp32")
    size = backbone.spec.input_size
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        backbone(torch.zeros(2, size, size, 3, dtype=torch.uint8))
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before[1])
    assert network.seen == (False, "highest")
    assert torch.backends.cudnn.allow_tf32 == before[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="shows by the lack of a GPU that none is used")
def test_settings_need_no_weights_on_the_device() -> None:
    there = load_backbone("ferresnet", device="cuda", precision="fp32")
    assert there.settings() == load_backbone("ferresnet", device="cpu", precision="fp32").settings()
