"""The zoo of weights: its table, recognising files by their keys, and finding those that are here."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
import torchvision.models as models
from torch import Tensor, nn

from avemo.cache.order import natural
from avemo.extract.backbones import (
    WeightsError,
    get,
    load_audio_backbone,
    load_backbone,
    names,
    weights_folder,
    zoo,
)
from avemo.extract.backbones.recognise import nearest, recognise
from avemo.extract.backbones.weights_folder import find, folder, stored

PUBLIC_FILES = {
    "backbone_ir50_ms1m_epoch120.pth": "ir50@ms1m",
    "model_ir_se50.pth": "irse50@ms1m",
    "Resnet18_FER+_pytorch.pth.tar": "resnet18@ferplus",
    "vgg_face_dag.pth": "vggface@vggface",
    "mobilefacenet.pt": "mobilefacenet@ms1m",
    "enet_b0_8_best_vgaf.onnx": "onnx@enet_b0_8_best_vgaf",
    "alexnet-owt-7be5be79.pth": "alexnet@imagenet",
}


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights, in place of the user's own."""
    path = tmp_path / "weights"
    monkeypatch.setenv("AVEMO_WEIGHTS", str(path))
    path.mkdir()
    return path


def random_state(name: str, seed: int = 0) -> dict[str, Tensor]:
    """Tensors of a network's names and shapes, of small random values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = get(name).build().state_dict()
    return {key: torch.rand(value.shape, generator=generator) for key, value in shapes.items()}


# ---- the table


def test_names_and_files_of_the_table_tell_its_weights_apart() -> None:
    entries = [entry.name for entry in zoo.TABLE]
    files = [file for entry in zoo.TABLE for file in entry.files]
    assert len(set(entries)) == len(entries) and len(set(files)) == len(files)
    for file, name in PUBLIC_FILES.items():
        entry = zoo.of_file(file)
        assert entry is not None and entry == zoo.of_name(name)
    assert zoo.of_file("weights.pth") is None and zoo.of_name("ir50@nobody") is None


@pytest.mark.parametrize("entry", zoo.TABLE, ids=lambda entry: entry.name)
def test_an_entry_says_what_can_be_used(entry: zoo.WeightSet) -> None:
    if entry.kind == "face network":
        assert entry.architecture in (*names(), "onnx")
    if entry.checksum is not None:
        assert re.fullmatch("sha256:([0-9a-f]{8}|[0-9a-f]{64})|git:[0-9a-f]{40}", entry.checksum)
    if entry.url is not None:
        assert entry.url.startswith("https://") and entry.files
    assert entry.page and entry.trained_on
    assert len(entry.classes) in (0, 7, 8)


def test_torchvision_says_where_its_files_are_and_how_their_sums_begin() -> None:
    entry = zoo.of_name("resnet18-imagenet@imagenet")
    assert entry is not None
    assert entry.url == "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    assert entry.files == ("resnet18-f37072fd.pth",) and entry.checksum == "sha256:f37072fd"


def test_digests_are_those_of_sha256_and_git(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello\n")
    digests = zoo.digests(path)
    assert digests == {
        "sha256": "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        "git": "ce013625030ba8dba906f756967f9e9ca394464a",
    }
    assert zoo.published(digests) is None


def test_published_files_are_known_by_their_sums(shared: Path) -> None:
    def known(path: Path) -> str:
        entry = zoo.published(zoo.digests(path))
        return entry.name if entry else ""

    assert known(shared / "weights/mobilefacenet.pt") == "mobilefacenet@ms1m"
    assert known(shared / "weights/face_detection_yunet_2026may.onnx") == "yunet@2026may"
    assert known(shared / "weights/version-RFB-320.onnx") == ""
    here = {weights.name: weights.path for weights in stored()}
    assert known(here["dlib"]) == "dlib" and known(here["dlib-points"]) == "dlib-points"


def test_natural_order_and_wildcards() -> None:
    assert sorted(["resnet101", "resnet18", "Resnet2"], key=lambda name: natural(name.lower())) == [
        "Resnet2",
        "resnet18",
        "resnet101",
    ]
    assert zoo.matches("resnet18@ferplus", "FERplus") and zoo.matches("resnet18@ferplus", "res*plus")
    assert not zoo.matches("resnet18@ferplus", "plus*") and zoo.matches("ir50@ms1m", "ir?0*")


# ---- recognising


@pytest.mark.parametrize("name", names())
def test_every_network_is_recognised_by_its_keys(name: str) -> None:
    with torch.device("meta"):
        state = get(name).build().state_dict()
    best = recognise(state)[0]
    assert best.complete and best.share == 1
    twins = ({"resnet18", "resnet18-64", "resnet18-imagenet"}, {"vgg19", "vgg19-227"})
    assert best.architecture == name or any({best.architecture, name} <= each for each in twins)


def test_layers_above_the_features_and_batch_counters_do_not_matter() -> None:
    with torch.device("meta"):
        state = models.resnet18(num_classes=7).state_dict()
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    complete = [fit.architecture for fit in recognise(state) if fit.complete]
    assert complete == ["resnet18", "resnet18-imagenet", "resnet18-64"]
    with torch.device("meta"):
        classified = {**get("ferresnet").build().state_dict(), "emotion.weight": torch.empty(7, 512)}
    assert recognise(classified)[0].complete


def test_a_network_that_is_none_of_ours_is_near_to_some() -> None:
    with torch.device("meta"):
        state = models.resnet34().state_dict()
    assert not any(fit.complete for fit in recognise(state))
    assert nearest(state).startswith("The nearest networks are resnet18 (100 of 100 tensors, 80 more), ")
    assert nearest({"weight": torch.zeros(2)}) == "No network of avemo has tensors of these names and shapes"


def test_weights_of_another_network_are_told_what_they_fit(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    safetensors.torch.save_file(random_state("mobilefacenet"), path)
    with pytest.raises(WeightsError, match="not weights of 'ir50', but of mobilefacenet"):
        load_backbone(f"ir50@{path}")


# ---- the networks that the zoo added


def test_irse50_has_the_keys_of_insightface_pytorch_and_unit_features() -> None:
    plain, attentive = random_state("ir50"), random_state("irse50")
    extra = {key for key in attentive if key not in plain}
    assert extra == {f"body.{i}.res_layer.5.fc{j}.weight" for i in range(24) for j in (1, 2)}
    assert attentive["body.0.res_layer.5.fc1.weight"].shape == (4, 64, 1, 1)
    assert attentive["body.23.res_layer.5.fc2.weight"].shape == (512, 32, 1, 1)
    assert get("irse50").colour == "bgr"


@pytest.mark.parametrize("name", ["ir50", "irse50"])
def test_ir50_takes_the_size_of_its_faces_from_the_checkpoint(name: str, tmp_path: Path) -> None:
    """facts.md: face.evoLVe's output_layer.3 is [512, 25088] at 112 pixels and [512, 100352] at 224."""
    state = random_state(name)
    assert state["output_layer.3.weight"].shape == (512, 25088)
    path = tmp_path / "mine.pth"
    torch.save(state, path)
    assert load_backbone(f"{name}@{path}").spec.input_size == 112
    state["output_layer.3.weight"] = torch.full((512, 100352), 1e-5)
    torch.save(state, path)
    backbone = load_backbone(f"{name}@{path}", precision="fp32")
    assert backbone.spec.input_size == backbone.settings()["input_size"] == 224
    assert backbone(torch.zeros(1, 224, 224, 3, dtype=torch.uint8)).shape == (1, 512)
    best = recognise(state)[0]
    assert best.complete and best.architecture == name


def test_a_file_that_only_bears_a_published_name_is_told(tmp_path: Path) -> None:
    path = tmp_path / "alexnet-owt-7be5be79.pth"
    path.write_bytes(b"another's training")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    why = weights_folder.mismatch(f"alexnet@{path}")
    assert why.endswith(f"is not the published file: expected sha256 7be5be79, found {found}")
    assert not weights_folder.mismatch(f"alexnet@{path.rename(tmp_path / 'mine.pth')}")
    assert not weights_folder.mismatch("ferresnet") and not weights_folder.mismatch("onnx@absent.onnx")


def test_irse50_is_ir50_of_halved_branches_where_attention_is_even() -> None:
    torch.manual_seed(0)
    plain, attentive = get("ir50").build().eval(), get("irse50").build().eval()
    for part in plain.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
    state = dict(plain.state_dict())
    for key, value in attentive.state_dict().items():
        state.setdefault(key, torch.zeros_like(value))  # weights of nothing: each channel times sigmoid(0)
    attentive.load_state_dict(state)
    with torch.no_grad():
        for block in plain.body:
            block.res_layer[4].weight *= 0.5
            block.res_layer[4].bias *= 0.5
        faces = torch.randn(2, 3, 112, 112)
        torch.testing.assert_close(attentive(faces), F.normalize(plain(faces)), rtol=1e-4, atol=1e-5)


def caffe_resnet50() -> nn.Module:
    """torchvision's ResNet-50 with the strides and the pooling of Caffe's."""
    net = models.resnet50()
    for layer in (net.layer2, net.layer3, net.layer4):
        layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    net.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    net.fc = nn.Identity()
    return net.eval()


def caffe_name(key: str) -> str:
    """``layer2.0.conv1.weight`` → ``conv3_1_1x1_reduce.weight``."""
    parts = {"conv1": "1x1_reduce", "conv2": "3x3", "conv3": "1x1_increase"}
    found = re.fullmatch(r"layer(\d)\.(\d)\.(?:(conv|bn)(\d)|downsample\.(\d))\.(\w+)", key)
    if found is None:
        return key.replace("conv1.", "conv1_7x7_s2.").replace("bn1.", "conv1_7x7_s2_bn.")
    layer, unit, kind, number, down, value = found.groups()
    part = "1x1_proj" if down else parts[f"conv{number}"]
    norm = "_bn" if kind == "bn" or down == "1" else ""
    return f"conv{int(layer) + 1}_{int(unit) + 1}_{part}{norm}.{value}"


def test_resnet50_is_caffes_by_the_keys_of_the_vgg_group() -> None:
    torch.manual_seed(0)
    plain, ours = caffe_resnet50(), get("resnet50").build().eval()
    ours.load_state_dict({caffe_name(key): value for key, value in plain.state_dict().items()})
    faces = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours(faces), plain(faces), rtol=1e-4, atol=1e-5)


def test_senet50_is_resnet50_where_attention_is_one() -> None:
    torch.manual_seed(0)
    plain, attentive = get("resnet50").build().eval(), get("senet50").build().eval()
    state = dict(plain.state_dict())
    for key, value in attentive.state_dict().items():
        state.setdefault(key, torch.full_like(value, 50.0 if key.endswith("up.bias") else 0.0))
    attentive.load_state_dict(state)
    assert state["conv2_1_1x1_down.weight"].shape == (16, 256, 1, 1)
    assert state["conv5_3_1x1_up.bias"].shape == (2048,)
    faces = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(attentive(faces), plain(faces), rtol=1e-5, atol=1e-6)


def test_facenet_has_the_keys_of_facenet_pytorch() -> None:
    state = random_state("facenet")
    assert state["conv2d_1a.conv.weight"].shape == (32, 3, 3, 3)
    assert state["repeat_1.4.branch2.2.conv.weight"].shape == (32, 32, 3, 3)
    assert state["repeat_2.9.branch1.1.conv.weight"].shape == (128, 128, 1, 7)
    assert state["mixed_6a.branch1.2.conv.weight"].shape == (256, 192, 3, 3)
    assert state["mixed_7a.branch2.2.bn.running_var"].shape == (256,)
    assert state["block8.conv2d.bias"].shape == (1792,)
    assert state["last_linear.weight"].shape == (512, 1792)
    assert (
        sum(value.numel() for key, value in state.items() if key.endswith(("weight", "bias"))) == 23_482_624
    )


def test_a_residual_block_of_facenet_by_hand() -> None:
    torch.manual_seed(0)
    block = get("facenet").build().eval().repeat_1[0]
    maps = torch.randn(1, 256, 5, 5)

    def unit(part: nn.Module, x: Tensor, padding: int) -> Tensor:
        # a batch norm that was never trained divides by sqrt(1 + eps)
        return F.conv2d(x, part.conv.weight, padding=padding).relu() / (1 + 1e-3) ** 0.5

    narrow = unit(block.branch0, maps, 0)
    middle = unit(block.branch1[1], unit(block.branch1[0], maps, 0), 1)
    wide = unit(block.branch2[2], unit(block.branch2[1], unit(block.branch2[0], maps, 0), 1), 1)
    joined = F.conv2d(torch.cat([narrow, middle, wide], 1), block.conv2d.weight, block.conv2d.bias)
    with torch.no_grad():
        torch.testing.assert_close(block(maps), (maps + 0.17 * joined).relu(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["irse50", "facenet"])
def test_these_networks_give_vectors_of_length_one(name: str) -> None:
    torch.manual_seed(0)
    size = get(name).input_size
    with torch.no_grad():
        features = get(name).build().eval()(torch.randn(2, 3, size, size))
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))


# ---- what is on this machine


def test_the_folder_is_the_variables_or_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folder() == tmp_path / "weights"
    monkeypatch.setenv("AVEMO_WEIGHTS", "~/mine")
    assert folder() == Path.home() / "mine"
    monkeypatch.delenv("AVEMO_WEIGHTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.platform", "linux")
    assert folder() == tmp_path / "cache" / "avemo" / "weights"


def test_no_weights_the_error_says_which_to_get_and_where_to_put_them(weights: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        load_backbone("ir50")
    message = str(caught.value)
    assert "'ir50' needs a weights file: give it as ir50@FILE" in message
    assert "get backbone_ir50_ms1m_epoch120.pth from https://github.com/ZhaoJ9014/face.evoLVe" in message
    assert f"put it into {weights}" in message and "\n" not in message
    with pytest.raises(WeightsError, match="`avemo weights fetch irse50@ms1m` gets"):
        load_backbone("irse50")
    with pytest.raises(WeightsError, match=r"irse50@ms1m is not on this machine: `avemo weights fetch"):
        load_backbone("irse50@ms1m")
    with pytest.raises(WeightsError, match=r"no file 'mine', nor weights called irse50@mine: give it as"):
        load_backbone("irse50@mine")
    with pytest.raises(WeightsError, match=r"onnx@enet_b2_8 is not on this machine"):
        load_backbone("onnx@enet_b2_8")


def test_the_only_weights_of_a_network_need_not_be_named(weights: Path, shared: Path) -> None:
    shutil.copy(shared / "weights/mobilefacenet.pt", weights)
    backbone = load_backbone("mobilefacenet")
    assert backbone.label == "mobilefacenet@ms1m" and backbone.weights_sha256.startswith("90a00ba1")
    assert load_backbone("mobilefacenet@ms1m").label == "mobilefacenet@ms1m"


def test_several_weights_of_a_network_must_be_named(weights: Path) -> None:
    for number, tag in enumerate(("rafdb", "affectnet")):
        safetensors.torch.save_file(
            random_state("mobilefacenet", number), weights / f"mobilefacenet@{tag}.safetensors"
        )
    with pytest.raises(WeightsError, match="say which, mobilefacenet@affectnet or mobilefacenet@rafdb"):
        load_backbone("mobilefacenet")
    assert load_backbone("mobilefacenet@rafdb").label == "mobilefacenet@rafdb"


def test_a_file_comes_before_a_tag(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (weights / "dlib@mine.dat").touch()
    monkeypatch.chdir(tmp_path)
    assert find("dlib", "mine") == (weights / "dlib@mine.dat", "dlib@mine")
    Path("mine").touch()
    assert find("dlib", "mine") == (Path("mine"), "dlib@mine")


def test_what_a_package_brings_needs_no_folder(weights: Path) -> None:
    here = {found.name: found for found in stored()}
    assert here["dlib"].place == "in a package" and here["dlib"].path.is_file()
    path, label = find("dlib", "", get("dlib").default_weights)
    assert (path, label) == (here["dlib"].path, "dlib")


def test_strange_files_in_the_folder_are_left_alone(weights: Path) -> None:
    for name in (
        "notes.txt",
        "other.pth",
        "nothing@x.safetensors",
        "ir50@.safetensors",
        "ir50@a.pth.partial",
    ):
        (weights / name).touch()
    assert not [found for found in stored() if found.place == "cached"]


def test_audio_networks_find_their_weights_too(weights: Path) -> None:
    with pytest.raises(WeightsError, match=r"`avemo weights fetch alexnet@imagenet` gets"):
        load_audio_backbone("alexnet")
    torch.save(models.alexnet().state_dict(), weights / "alexnet-owt-7be5be79.pth")
    assert load_audio_backbone("alexnet@imagenet").label == "alexnet@imagenet"


def test_a_network_takes_the_weights_of_its_twin(weights: Path) -> None:
    with pytest.raises(WeightsError, match="for vgg19-227@imagenet, `avemo weights fetch vgg19@imagenet`"):
        find("vgg19-227", twin=get("vgg19-227").twin)
    with pytest.raises(WeightsError, match="vgg19@imagenet is not on this machine"):
        find("vgg19-227", "imagenet", twin="vgg19")
    file = weights / "vgg19-dcbb9e9d.pth"
    file.touch()
    assert find("vgg19-227", twin="vgg19") == find("vgg19-227", "imagenet", twin="vgg19")
    assert find("vgg19-227", "imagenet", twin="vgg19") == (file, "vgg19-227@imagenet")
    own = weights / "vgg19-227@faces.safetensors"
    own.touch()
    assert find("vgg19-227", "faces", twin="vgg19") == (own, "vgg19-227@faces")
    with pytest.raises(WeightsError, match="say which, vgg19-227@faces or vgg19-227@imagenet"):
        find("vgg19-227", twin="vgg19")


def test_torchvisions_weights_are_its_own() -> None:
    ours = {weights.architecture: weights.url for weights in zoo.TABLE}
    assert ours["resnet18-imagenet"] == models.ResNet18_Weights.IMAGENET1K_V1.url
    assert ours["alexnet"] == models.AlexNet_Weights.IMAGENET1K_V1.url
    assert ours["vgg19"] == models.VGG19_Weights.IMAGENET1K_V1.url


def test_extraction_does_not_import_what_it_may_not_need() -> None:
    code = "import sys, avemo.extract.clip; print({'torchvision', 'torch._dynamo', 'sympy'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
