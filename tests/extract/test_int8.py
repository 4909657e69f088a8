"""Networks in 8-bit integers: exact sums, ranges that batch norms tell, and where int8 is refused."""

from __future__ import annotations

import copy
import platform
from dataclasses import replace
from multiprocessing.synchronize import SemLock
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from tqdm.std import TqdmDefaultWriteLock, tqdm

from avemo.extract.backbones import get, load_backbone
from avemo.extract.errors import ExtractError
from avemo.extract.int8 import Code, _Convolution, calibration_pictures, decode, encode, in_int8, ranges
from avemo.extract.plan import Plan
from avemo.extract.precision import IN_INT8, resolve_precision
from avemo.extract.streams.registry import keys_of

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="int8 is for x86 processors"
)


@pytest.mark.parametrize(("zero", "relu"), [(0, False), (0, True), (100, False)])
@torch.inference_mode()
def test_sums_of_the_largest_numbers_are_exact(zero: int, relu: bool) -> None:
    """Two products of 255 and 63 just fit the 16 bits in which AVX2 adds them; of 255 and 127 would not."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(64, 32, 3, stride=2, padding=1)
    convolution.weight.copy_(torch.randint(-63, 64, (32, 64, 3, 3)) / 63)
    convolution.weight[:8] = 1.0
    codes = torch.randint(0, 256, (2, 64, 9, 9), dtype=torch.uint8)
    codes[0] = 255
    given = Code(0.25, zero)
    made = _Convolution(convolution, given, None, None, relu)(
        codes.contiguous(memory_format=torch.channels_last)
    )
    exact = F.conv2d(
        decode(codes, *given).double(), convolution.weight.double(), convolution.bias.double(), 2, 1
    )
    torch.testing.assert_close(made, (exact.relu() if relu else exact).float(), rtol=1e-5, atol=1e-3)


@torch.inference_mode()
def test_a_sum_is_part_of_the_convolution() -> None:
    """To a code, by which the rounding of the result may differ."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(16, 16, 3, padding=1, bias=False)
    values, added = torch.randn(2, 3, 16, 8, 8)
    given, other, result = (Code.of((-4.0, 4.0)) for _ in range(3))
    layer = _Convolution(convolution, given, replace_step(result), other, relu=True)
    codes, more = encode(values, *given), encode(added, *other)
    expected = (F.conv2d(decode(codes, *given), _weights(layer), padding=1) + decode(more, *other)).relu()
    made = decode(layer(codes, more), *replace_step(result))
    assert float((made - expected).abs().max()) <= replace_step(result).step


def replace_step(code: Code) -> Code:
    return Code(1.5 * code.step, 0)


def _weights(layer: _Convolution) -> Tensor:
    return layer._weight.float() * layer._steps[:, None, None, None]


def test_values_come_back_to_half_a_step_and_those_out_of_range_as_the_nearest() -> None:
    code = Code.of((-1.0, 3.0))
    values = torch.linspace(-1.5, 4.5, 1001)[None, :, None, None]
    assert float((decode(encode(values, *code), *code) - values).abs().max()) <= 0.51 * code.step
    far = decode(encode(torch.full((1, 1, 1, 1), 1e4), *code), *code)
    assert 4.5 <= float(far) == pytest.approx((255 - code.zero) * code.step)


class Residual(nn.Module):
    """A stem, a residual block, and a block that halves the map, as in ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
        self.one, self.two, self.three = (
            nn.Sequential(nn.Conv2d(16, 16, 3, stride, 1, bias=False), nn.BatchNorm2d(16))
            for stride in (1, 1, 2)
        )
        self.short = nn.Sequential(nn.Conv2d(16, 16, 1, 2, bias=False), nn.BatchNorm2d(16))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.two(torch.relu(self.one(x))) + x)
        return torch.relu(self.three(x) + self.short(x)).mean((2, 3))


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Tensor]:
    """A network whose batch norms know pictures of other mean and contrast than those that are made."""
    torch.manual_seed(0)
    network, pictures = Residual(), 40 * F.interpolate(torch.randn(32, 3, 8, 8), (32, 32)) + 20
    network.train()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    with torch.no_grad():
        for _ in range(3):
            network(pictures)
    return network.eval().requires_grad_(False), pictures


def _made() -> Tensor:
    return torch.from_numpy(calibration_pictures(32)).permute(0, 3, 1, 2) / 255


def test_batch_norms_tell_the_ranges_of_pictures_that_were_never_shown(
    trained: tuple[nn.Module, Tensor],
) -> None:
    network, pictures = trained
    met = ranges(network, _made())
    graph = fx.symbolic_trace(copy.deepcopy(network))
    seen = dict[str, float]()

    class Seen(fx.Interpreter):
        def run_node(self, node: fx.Node) -> object:
            value = super().run_node(node)
            seen[node.name] = float(value.max())
            return value

    Seen(graph).run(pictures)
    assert seen["x"] > 100 and met["x"][1] <= 1  # the pictures themselves are unlike
    for name in ("relu", "relu_1", "relu_2"):
        assert 0.5 < met[name][1] / seen[name] < 2, name


def test_a_network_in_int8_keeps_its_features(trained: tuple[nn.Module, Tensor]) -> None:
    """All of its convolutions are replaced, and the sums in it are theirs."""
    network, pictures = trained
    network_in_int8 = in_int8(copy.deepcopy(network), 160 * (_made() - 0.5) + 20)
    assert not any(isinstance(part, nn.Conv2d) for part in network_in_int8.modules())
    assert isinstance(network_in_int8, fx.GraphModule) and "add" not in network_in_int8.code
    with torch.inference_mode():
        exact, rounded = network(pictures), network_in_int8(pictures)
    error = (rounded - exact).norm(dim=1) / exact.norm(dim=1)
    assert 0 < float(error.mean()) < 0.05


@pytest.mark.parametrize("name", IN_INT8)
def test_embedded_networks_keep_their_features_whatever_the_batch(name: str) -> None:
    views = np.random.default_rng(0).integers(0, 256, (9, 48, 48, 3), dtype=np.uint8)
    exact, rounded = (load_backbone(name, "cpu", precision) for precision in ("fp32", "int8"))
    expected, found = exact(views), rounded(views)
    error = (found - expected).norm(dim=1) / expected.norm(dim=1)
    assert 0 < float(error.max()) < 0.06
    assert torch.equal(torch.cat([rounded(views[:2]), rounded(views[2:])]), found)
    again = load_backbone(name, "cpu", "int8")
    before = torch.get_num_threads()
    torch.set_num_threads(1 if before > 1 else 2)
    try:
        assert torch.equal(again(views), found)
    finally:
        torch.set_num_threads(before)


def test_int8_is_in_the_key_and_never_meant_by_auto() -> None:
    settings = {
        precision: get("ferplusnet").settings("0", resolve_precision(precision, "cpu", int8_suits=True))
        for precision in ("auto", "fp32", "int8")
    }
    assert settings["int8"]["precision"] == "int8" and "oneDNN" in settings["int8"]["int8"]
    assert settings["auto"]["precision"] in ("fp32", "bf16")
    assert set(settings["int8"]) - set(settings["fp32"]) == {"int8"}  # and nothing is new in other keys
    plan = Plan(view_sets=("none",), device="cpu")
    keys = [keys_of(replace(plan, precision=each))["ferplusnet/none"] for each in ("fp32", "bf16", "int8")]
    assert len({key.digest for key in keys}) == 3


@pytest.mark.parametrize(
    ("network", "device", "why"),
    [
        ("dlib", "cpu", "only for ferplusnet and ferresnet; use auto"),
        ("ferplusnet", "cuda", "needs --device cpu, and this is cuda; use auto"),
    ],
)
def test_int8_is_refused_where_it_cannot_act(network: str, device: str, why: str) -> None:
    with pytest.raises(ExtractError, match=why):
        load_backbone(network, device, "int8")


def test_int8_is_refused_for_onnx_and_other_processors(
    shared: Path, monkeypatch: pytest.MonkeyPatch, trained: tuple[nn.Module, Tensor]
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(ExtractError, match="int8 needs an x86 processor"):
        in_int8(copy.deepcopy(trained[0]), _made())
    with pytest.raises(ExtractError, match="only for ferplusnet and ferresnet"):
        load_backbone(f"onnx@{shared / 'weights/MobileFaceNet.onnx'}", "cpu", "int8")


def test_rounding_errors_of_other_processors_do_not_change_ranges() -> None:
    """Ranges go up to an eighth of a power of two."""
    assert Code.of((-1.0001, 2.0001)) == Code.of((-1.0002, 2.0003))
    assert Code.of((0.0, 1.0)).zero == 0


def test_no_semaphore_is_left_by_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*_: object, **__: object) -> None:
        raise AssertionError("a semaphore")

    monkeypatch.setattr(SemLock, "__init__", made)
    monkeypatch.delattr(tqdm, "_lock", raising=False)
    monkeypatch.delattr(TqdmDefaultWriteLock, "mp_lock", raising=False)
    assert ranges(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8))
