"""Weights files: what is read, what is refused, and how a mismatch is told."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from avemo.extract.backbones.weights import load_into, load_state
from avemo.extract.digest import sha256_of
from avemo.extract.errors import WeightsError


def small_net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return small_net().state_dict()


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=0, atol=0)


def test_reads_torch_files_old_and_new_and_safetensors(
    tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    torch.save(state, tmp_path / "new.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state, tmp_path / "safe.safetensors")
    for path in tmp_path.iterdir():
        assert_same(load_state(path), state)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_unwraps_and_strips_data_parallel_prefix(
    tmp_path: Path, state: dict[str, torch.Tensor], wrapper: str
) -> None:
    path = tmp_path / "checkpoint.pth.tar"
    torch.save({"epoch": 3, wrapper: {f"module.{k}": v for k, v in state.items()}, "best_prec1": 0.5}, path)
    assert_same(load_state(path), state)


def test_half_precision_becomes_float32_and_parameters_become_tensors(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.randn(3, 2, dtype=torch.float16))
    torch.save({"weight": weight}, tmp_path / "half.pth")
    loaded = load_state(tmp_path / "half.pth")["weight"]
    assert loaded.dtype == torch.float32 and not loaded.requires_grad
    torch.testing.assert_close(loaded, weight.detach().float(), rtol=0, atol=0)


@pytest.mark.parametrize("content", [b"", b"hello", b"<!DOCTYPE html><html>Not found</html>", b"\x00" * 500])
def test_refuses_what_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"weights\.pth: not a checkpoint"):
        load_state(path)


@pytest.mark.parametrize("kind", ["new", "old", "safetensors"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_refuses_truncated_files(
    tmp_path: Path, state: dict[str, torch.Tensor], kind: str, kept: float
) -> None:
    path = tmp_path / "cut"
    if kind == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "new")
    os.truncate(path, int(path.stat().st_size * kept))
    with pytest.raises(WeightsError, match="damaged or truncated"):
        load_state(path)


def test_names_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.pth.*cannot be read \(No such file"):
        load_state(tmp_path / "absent.pth")


def test_refuses_a_pickled_model_with_the_remedy(tmp_path: Path) -> None:
    torch.save(small_net(), tmp_path / "model.pth")
    with pytest.raises(WeightsError, match=r"would run code.*state_dict\(\)"):
        load_state(tmp_path / "model.pth")


class Intruder:
    """Unpickling it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.open, (str(self.path), os.O_CREAT)


def test_runs_no_code_from_a_file(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    torch.save({"weight": Intruder(proof)}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="would run code"):
        load_state(tmp_path / "evil.pth")
    assert not proof.exists()


def test_refuses_torchscript(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "scripted.pt", "w") as archive:
        for part in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"scripted/{part}", b"")
    with pytest.raises(WeightsError, match="TorchScript"):
        load_state(tmp_path / "scripted.pt")


def test_refuses_content_that_is_no_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save([torch.zeros(2)], path)
    with pytest.raises(WeightsError, match="holds a list"):
        load_state(path)
    torch.save({"weight": torch.zeros(2), "epoch": 3}, path)
    with pytest.raises(WeightsError, match=r"1 entries that are not tensors \(epoch\)"):
        load_state(path)


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_load_into_fills_a_meta_module_and_drops_the_classifier(state: dict[str, torch.Tensor]) -> None:
    with torch.device("meta"):
        net = small_net()
    given = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    load_into(net, {**given, "fc.weight": torch.zeros(1)}, "small", "f.pth", ignored=("fc.",))
    assert_same({k: v for k, v in net.state_dict().items() if k in given}, given)
    assert not any(value.is_meta for value in net.state_dict().values())


def test_load_into_names_missing_extra_and_misshapen_keys(state: dict[str, torch.Tensor]) -> None:
    given = {k: v for k, v in state.items() if k != "0.bias"}
    given["3.weight"] = torch.zeros(2, 99)
    given |= {f"extra.{i}": torch.zeros(1) for i in range(7)}
    with pytest.raises(WeightsError) as caught:
        load_into(small_net(), given, "small", "f.pth")
    message = str(caught.value)
    assert message.startswith("f.pth: not weights of 'small': ")
    assert "1 missing (0.bias)" in message
    assert "7 extra (extra.0, extra.1, extra.2, extra.3, extra.4, …)" in message
    assert "1 misshapen (3.weight [2, 99] instead of [2, 16])" in message


def test_load_into_leaves_a_module_alone_on_error(state: dict[str, torch.Tensor]) -> None:
    net = small_net()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(WeightsError):
        load_into(net, {**state, "extra": torch.zeros(1)}, "small", "f.pth")
    assert_same(net.state_dict(), before)


def test_refuses_an_archive_that_unpacks_to_more_than_it_is(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1 << 20)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for member in plain.namelist():
            bomb.writestr(member, plain.read(member))
    with pytest.raises(WeightsError, match=r"it is compressed, which torch\.save never does"):
        load_state(tmp_path / "bomb.pth")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1, dtype=torch.float16).expand(1 << 20, 1 << 14),
        torch.empty(2, 2, device="meta"),
        torch.zeros(2, 2).to_sparse(),
    ],
)
def test_refuses_tensors_whose_values_are_not_in_the_file(tmp_path: Path, tensor: torch.Tensor) -> None:
    torch.save({"weight": tensor}, tmp_path / "strange.pth")
    with pytest.raises(WeightsError, match="expected plain tensors by name"):
        load_state(tmp_path / "strange.pth")


def test_refuses_whole_numbers_in_the_place_of_weights(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not weights of 'linear'"):
        load_into(nn.Linear(3, 4), {"weight": torch.zeros(4, 3, dtype=torch.bool), "bias": torch.zeros(4)},
                  "linear", tmp_path)  # fmt: skip
