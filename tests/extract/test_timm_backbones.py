"""timm's networks as backbones: against plain timm, weights under other names, the hub, and errors."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from avemo.extract.backbones import WeightsError, get, load_backbone, random_backbone
from avemo.extract.errors import ExtractError

timm = pytest.importorskip("timm")


def noise_views(count: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def random_network(name: str, classes: int) -> nn.Module:
    """With batch norms that change something."""
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=classes).eval()
    for part in network.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.1)
    return network


def plain_features(network: nn.Module, views: np.ndarray) -> Tensor:
    """As timm's own scripts do it, but for the crop."""
    config = network.pretrained_cfg
    mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
    images = (torch.from_numpy(views).permute(0, 3, 1, 2) / 255 - mean) / std
    network.reset_classifier(0)
    with torch.no_grad():
        return network(images)


def saved(state: dict[str, Tensor], path: Path) -> Path:
    safetensors.torch.save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


# ---- numerics


# Among them: features of another width than num_features (mobilenetv3), a mean and deviation of 0.5 (vit),
# and tables that no checkpoint holds (swin). tf_efficientnet_b0 cannot be traced, so it stays unfolded.
@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("resnet18", 512),
        ("efficientnet_b0", 1280),
        ("tf_efficientnet_b0", 1280),
        ("mobilenetv3_small_050", 1024),
        ("vit_tiny_patch16_224", 192),
        ("convnext_atto", 320),
        ("swin_tiny_patch4_window7_224", 768),
    ],
)
def test_features_are_those_of_plain_timm(tmp_path: Path, name: str, features: int) -> None:
    network = random_network(name, classes=7)
    path = saved(network.state_dict(), tmp_path / "fine-tuned.safetensors")
    backbone = load_backbone(f"timm:{name}@{path}")
    assert backbone.label == f"timm:{name}@fine-tuned"
    assert backbone.spec.features == features and backbone.precision == "fp32"
    views = noise_views(2, backbone.spec.input_size)
    ours, expected = backbone(views), plain_features(network, views)
    assert ours.isfinite().all() and ours.shape == (2, features)
    assert (ours - expected).norm() < 1e-5 * expected.norm()
    torch.testing.assert_close(ours[:1], backbone(views[:1]), rtol=1e-3, atol=1e-4)


def test_a_resnet_is_folded_and_an_untraceable_network_is_not() -> None:
    def batch_norms(name: str) -> int:
        network = random_backbone(f"timm:{name}", precision="fp32")._module
        return sum(isinstance(part, nn.BatchNorm2d) for part in network.modules())

    assert batch_norms("resnet18") == 0
    assert batch_norms("tf_efficientnet_b0") == 49


def test_torch_files_are_read_too(tmp_path: Path) -> None:
    network = random_network("test_resnet", classes=7)
    path = tmp_path / "epoch.pth.tar"
    torch.save({"epoch": 3, "state_dict": network.state_dict()}, path)
    backbone = load_backbone(f"timm:test_resnet@{path}")
    views = noise_views(1, backbone.spec.input_size)
    torch.testing.assert_close(backbone(views), plain_features(network, views), rtol=1e-4, atol=1e-4)


def test_keys_of_the_networks_authors_are_renamed_by_timm(tmp_path: Path) -> None:
    network = random_network("convnext_atto", classes=7)
    authors = {}
    for key, value in network.state_dict().items():
        key = key.replace("stem.", "downsample_layers.0.").replace("head.norm.", "norm.")
        key = key.replace("head.fc.", "head.").replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
        key = re.sub(r"stages.(\d+).downsample.(\d+)", r"downsample_layers.\1.\2", key)
        authors[re.sub(r"stages.(\d+).blocks.(\d+)", r"stages.\1.\2", key)] = value
    assert not authors.keys() & network.state_dict().keys()
    backbone = load_backbone(f"timm:convnext_atto@{saved(authors, tmp_path / 'authors.safetensors')}")
    views = noise_views(1, 224)
    torch.testing.assert_close(backbone(views), plain_features(network, views), rtol=1e-4, atol=1e-4)


# ---- what timm knows


def test_the_spec_takes_size_and_normalisation_from_timm() -> None:
    spec = get("timm:vit_tiny_patch16_224")
    assert spec.name == "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    assert (spec.input_size, spec.mean, spec.std) == (224, (127.5,) * 3, (127.5,) * 3)
    assert get("timm:resnet18.tv_in1k").mean == pytest.approx((123.675, 116.28, 103.53))


def test_settings_name_the_tag_and_the_file(tmp_path: Path) -> None:
    path = saved(random_network("test_vit", 0).state_dict(), tmp_path / "w.safetensors")
    settings = load_backbone(f"timm:test_vit@{path}").settings()
    assert settings["name"] == "timm:test_vit.r160_in1k" and settings["input_size"] == 160
    assert len(str(settings["weights_sha256"])) == 64


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:resnet81", r"no network 'resnet81'; the nearest are resnet18"),
        ("timm:resnet18.best", r"no weights 'resnet18\.best'; there are resnet18\.a1_in1k"),
        ("timm:", r"no network ''"),
        ("timm:hf-hub:someone/something", r"no network 'hf-hub"),
        ("timm:vit_base_patch16_sapiens2", r"expected a network of one square colour image"),
    ],
)
def test_networks_that_do_not_fit_are_told(name: str, message: str) -> None:
    with pytest.raises(ExtractError, match=message) as caught:
        load_backbone(name)
    assert "\n" not in str(caught.value)


def test_another_networks_file_is_refused_key_by_key(tmp_path: Path) -> None:
    path = saved(random_network("test_resnet", 0).state_dict(), tmp_path / "other.safetensors")
    for name in ("vit_tiny_patch16_224", "resnet18"):
        with pytest.raises(WeightsError, match=rf"not weights of 'timm:{name}.*\d+ missing .*\d+ extra"):
            load_backbone(f"timm:{name}@{path}")


def test_pickled_models_are_refused(tmp_path: Path) -> None:
    torch.save(random_network("test_resnet", 0), tmp_path / "model.pth")
    with pytest.raises(WeightsError, match="would run code"):
        load_backbone(f"timm:test_resnet@{tmp_path / 'model.pth'}")


def test_without_the_extra_the_error_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['timm'] = None\n"
        "from avemo.extract.backbones import get\n"
        "get('timm:resnet18')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "pip install 'avemo[timm]'" in done.stderr.splitlines()[-1]


# ---- the hub


@pytest.fixture
def offline_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, nn.Module], Path]:
    """A hub's cache in a folder of its own and no way out; puts a network's weights into it."""
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))

    def put(repository: str, network: nn.Module) -> Path:
        folder = tmp_path / f"models--{repository.replace('/', '--')}"
        snapshot = folder / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("0" * 40)
        return saved(network.state_dict(), snapshot / "model.safetensors")

    return put


def test_weights_in_the_hubs_cache_are_used(offline_hub: Callable[[str, nn.Module], Path]) -> None:
    network = random_network("test_resnet", classes=1000)
    offline_hub("timm/test_resnet.r160_in1k", network)
    backbone = load_backbone("timm:test_resnet")
    views = noise_views(1, backbone.spec.input_size)
    assert backbone.label == "timm:test_resnet"
    torch.testing.assert_close(backbone(views), plain_features(network, views), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("offline_hub")
def test_offline_one_line_says_which_file_to_fetch() -> None:
    with pytest.raises(WeightsError) as caught:
        load_backbone("timm:test_resnet")
    message = str(caught.value)
    assert "fetch model.safetensors of timm/test_resnet.r160_in1k" in message
    assert "timm:test_resnet@FILE" in message and "\n" not in message


@pytest.mark.usefixtures("offline_hub")
def test_weights_that_no_hub_has_are_asked_for() -> None:
    with pytest.raises(WeightsError, match="on no hub: give their file as timm:legacy_seresnet18@FILE"):
        load_backbone("timm:legacy_seresnet18")
