"""Face and audio networks: public keys, normalisation, precision, and MobileFaceNet against its ONNX file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import av
import cv2
import dlib
import numpy as np
import pytest
import torch
import torchvision.models as models
from torch import Tensor, nn

from avemo.extract import DEFAULT_BACKBONE
from avemo.extract.backbones import (
    Backbone,
    WeightsError,
    audio_names,
    get,
    load_audio_backbone,
    load_backbone,
    names,
    random_backbone,
)
from avemo.extract.precision import has_fast_bf16, prepare, resolve_precision

CPU = torch.device("cpu")


def noise_views(count: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def keys_of(name: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        return get(name).build().state_dict()


def with_random_batch_norms(net: nn.Module) -> nn.Module:
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.1)
    return net


# ---- the registry


def test_registry_names_them_all() -> None:
    assert names()[0] == DEFAULT_BACKBONE
    assert {"vggface", "resnet18", "ir50", "mobilefacenet", "alexnet", "vgg19"} < set(names())
    with pytest.raises(ValueError, match=r"'resnet19'.*resnet18"):
        get("resnet19")


@pytest.mark.parametrize("name", names())
def test_every_network_maps_its_input_to_its_features(name: str) -> None:
    spec = get(name)
    with torch.device("meta"):
        features = spec.build().eval()(torch.empty(2, len(spec.mean), spec.input_size, spec.input_size))
    assert features.shape == (2, spec.features)


def test_ir50_has_the_keys_of_face_evolve() -> None:
    keys = keys_of("ir50")
    assert keys["output_layer.3.weight"].shape == (512, 25088)
    assert {int(k.split(".")[1]) for k in keys if "shortcut_layer" in k} == {3, 7, 21}
    assert {k.split(".")[1] for k in keys if k.startswith("body.")} == {str(i) for i in range(24)}
    assert keys["body.3.shortcut_layer.0.weight"].shape == (128, 64, 1, 1)


def test_vggface_has_the_keys_of_vgg_face_dag() -> None:
    layers = dict.fromkeys(key.rpartition(".")[0] for key in keys_of("vggface"))
    stages = [(1, 2), (2, 2), (3, 3), (4, 3), (5, 3)]
    expected = [f"conv{stage}_{i}" for stage, count in stages for i in range(1, count + 1)]
    assert list(layers) == [*expected, "fc6", "fc7"]
    assert keys_of("vggface")["conv5_3.weight"].shape == (512, 512, 3, 3)


@pytest.mark.parametrize(("name", "net"), [("alexnet", models.alexnet), ("vgg19", models.vgg19)])
def test_torchvision_keys_but_for_the_classifier(name: str, net: type[nn.Module]) -> None:
    with torch.device("meta"):
        public = net().state_dict()
    assert keys_of(name).keys() == {k for k in public if not k.startswith(get(name).classifier)}


# ---- loading


def test_resnet18_loads_a_data_parallel_checkpoint_with_classifiers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    public = with_random_batch_norms(models.resnet18(num_classes=7)).eval()
    state = {f"module.{k}": v for k, v in public.state_dict().items()}
    path = tmp_path / "Resnet18_FER+.pth.tar"
    torch.save({"epoch": 9, "state_dict": {**state, "module.feature.weight": torch.zeros(5)}}, path)
    backbone = load_backbone(f"resnet18@{path}", precision="fp32")
    assert backbone.label == "resnet18@Resnet18_FER+.pth"

    views = noise_views(2, 224)
    public.fc = nn.Identity()
    with torch.no_grad():
        expected = public(torch.from_numpy(views).permute(0, 3, 1, 2) / 255)
    torch.testing.assert_close(backbone(views), expected, rtol=1e-4, atol=1e-4)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save(models.resnet18().state_dict(), path)
    with pytest.raises(
        WeightsError,
        match=r"other\.pth: not weights of 'mobilefacenet', but of resnet18 or resnet18-imagenet",
    ):
        load_backbone(f"mobilefacenet@{path}")


def test_weights_of_one_embedded_network_are_refused_by_the_other() -> None:
    old, new = (load_backbone(name, precision="fp32") for name in ("ferresnet", "ferplusnet"))
    assert old.settings()["weights_sha256"] != new.settings()["weights_sha256"]
    for name, other in (("ferplusnet", "ferresnet"), ("ferresnet", "ferplusnet")):
        theirs = get(other).default_weights
        assert theirs is not None
        with pytest.raises(
            WeightsError, match=rf"not weights of '{name}', but of {other}; give it as {other}@"
        ):
            load_backbone(f"{name}@{theirs()}")


def test_the_card_of_an_embedded_network_is_that_of_its_file() -> None:
    for name in ("ferresnet", "ferplusnet"):
        find_weights = get(name).default_weights
        assert find_weights is not None
        card = json.loads(find_weights().with_suffix(".json").read_text(encoding="utf-8"))
        assert card["architecture"] == name
        assert card["sha256"] == load_backbone(name, precision="fp32").settings()["weights_sha256"]


@pytest.mark.parametrize("name", [name for name in names() if get(name).default_weights is None])
def test_a_network_without_weights_says_which_file_to_give(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVEMO_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        load_backbone(name)
    assert f"{name}@FILE; for {name}" in str(caught.value)


def test_settings_tell_all_that_changes_the_values() -> None:
    settings = load_backbone("dlib", precision="fp32").settings()
    assert settings["name"] == "dlib" and settings["input_size"] == 150 and settings["precision"] == "fp32"
    assert settings["mean"] == [122.782, 117.001, 104.298] and settings["std"] == [256.0] * 3
    assert len(str(settings["weights_sha256"])) == 64


def test_random_weights_follow_the_seed_and_leave_torch_alone() -> None:
    views = noise_views(1, 112)
    torch.manual_seed(5)
    expected_draw = torch.rand(1)
    torch.manual_seed(5)
    a, b, c = (random_backbone("mobilefacenet", seed)(views) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected_draw)
    assert torch.equal(a, b) and not torch.allclose(a, c)


# ---- running


@pytest.fixture(scope="module")
def mobilefacenet() -> Backbone:
    return random_backbone("mobilefacenet", precision="fp32")


def test_arrays_tensors_and_strided_views_give_the_same(mobilefacenet: Backbone) -> None:
    views = noise_views(3, 112)
    flipped = views[:, :, ::-1]
    frozen = views.copy()
    frozen.flags.writeable = False
    expected = mobilefacenet(torch.from_numpy(views))
    assert expected.dtype == torch.float32 and expected.shape == (3, 128)
    torch.testing.assert_close(mobilefacenet(frozen), expected, rtol=0, atol=0)
    torch.testing.assert_close(mobilefacenet(flipped), mobilefacenet(flipped.copy()), rtol=0, atol=0)


def test_batched_equals_single_and_no_view_gives_no_feature(mobilefacenet: Backbone) -> None:
    views = noise_views(5, 112)
    single = torch.cat([mobilefacenet(views[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(mobilefacenet(views), single, rtol=1e-4, atol=1e-5)
    assert mobilefacenet(views[:0]).shape == (0, 128)


@pytest.mark.parametrize(
    "views",
    [noise_views(1, 96), noise_views(1, 112)[0], noise_views(1, 112).astype(np.float32)],
    ids=["size", "dimensions", "type"],
)
def test_other_views_are_refused(mobilefacenet: Backbone, views: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expects views of uint8 and shape \[N, 112, 112, 3\]"):
        mobilefacenet(views)


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_views_are_normalised_in_the_networks_colour_order(colour: str) -> None:
    spec = replace(
        get("resnet18"),
        build=nn.Flatten,
        input_size=4,
        features=48,
        colour=colour,
        mean=(129.1863, 104.7624, 93.5940),
        std=(58.0, 57.0, 56.0),
    )
    views = noise_views(2, 4)
    ours = Backbone(spec, spec.build(), "flat", "", precision="fp32")(views)
    ordered = views.astype(np.float64) if colour == "rgb" else views[..., ::-1].astype(np.float64)
    expected = ((ordered - spec.mean) / spec.std).transpose(0, 3, 1, 2).reshape(2, -1)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["resnet18", "mobilefacenet", "ir50"])
def test_folding_batch_norms_keeps_the_features(name: str) -> None:
    torch.manual_seed(0)
    spec = get(name)
    net = with_random_batch_norms(spec.build()).eval()
    faces = torch.randn(2, 3, spec.input_size, spec.input_size)
    with torch.no_grad():
        expected = net(faces)
        folded = prepare(net, CPU, "fp32")
        torch.testing.assert_close(
            folded(faces), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())
        )

    def count(module: nn.Module) -> int:
        return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())

    # IR-50's batch norms before a convolution cannot be folded: zero padding would change with them.
    assert count(folded) == (25 if name == "ir50" else 0)


# ---- precision


def test_auto_precision_follows_the_hardware_and_the_network() -> None:
    assert resolve_precision("auto", CPU) == ("bf16" if has_fast_bf16(CPU) else "fp32")
    assert resolve_precision("auto", CPU, bf16_suits=False) == "fp32"
    assert resolve_precision("bf16", CPU, bf16_suits=False) == "bf16"
    with pytest.raises(ValueError, match="'fp16' is unknown: expected auto, fp32, bf16 or int8"):
        resolve_precision("fp16", CPU)


def test_bf16_stays_close_on_the_default_network() -> None:
    views = noise_views(4, 150)
    exact = load_backbone("dlib", precision="fp32")(views)
    rounded = load_backbone("dlib", precision="bf16")(views)
    assert rounded.dtype == torch.float32
    error = (rounded - exact).norm(dim=1) / exact.norm(dim=1)
    assert 0 < error.max() < 0.03


# ---- MobileFaceNet's real weights


@pytest.fixture(scope="module")
def faces(shared: Path) -> np.ndarray:
    """``[N, 112, 112, 3]``: faces that dlib finds in frames of three actors."""
    detector = dlib.get_frontal_face_detector()
    found = []
    for clip in sorted((shared / "data/java_sed/clips").glob("*.mp4"))[::60]:
        with av.open(str(clip)) as media:
            *_, frame = (frame for _, frame in zip(range(40), media.decode(video=0), strict=False))
        image = np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
        for box in detector(image, 1)[:1]:
            crop = image[max(box.top(), 0) : box.bottom(), max(box.left(), 0) : box.right()]
            found.append(cv2.resize(crop, (112, 112), interpolation=cv2.INTER_AREA))
    assert len(found) == 3
    return np.stack(found)


def test_mobilefacenet_agrees_with_its_onnx_file(shared: Path, faces: np.ndarray) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(shared / "weights/MobileFaceNet.onnx"))
    spec = get("mobilefacenet")
    inputs = ((faces - np.array(spec.mean)) / np.array(spec.std)).astype(np.float32).transpose(0, 3, 1, 2)
    theirs = np.concatenate([session.run(None, {"input0": face[None]})[0] for face in inputs])
    ours = load_backbone(f"mobilefacenet@{shared / 'weights/mobilefacenet.pt'}", precision="fp32")(faces)
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=1e-4)


# ---- audio


@pytest.fixture(scope="module")
def alexnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under torchvision's names, with one of the classifier's that must be dropped."""
    torch.manual_seed(0)
    trunk = {f"features.{key}": value for key, value in models.alexnet().features.state_dict().items()}
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save({**trunk, "classifier.6.bias": torch.zeros(1000)}, path)
    return path


def spectrogram(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-90, 10, (200, frames)).astype(np.float32)


@pytest.mark.parametrize("frames", [1, 20, 62, 63, 94, 95, 126, 127, 300])
def test_alexnet_map_sizes(alexnet_file: Path, frames: int) -> None:
    vectors, times = load_audio_backbone(f"alexnet@{alexnet_file}")(spectrogram(frames))
    count = 5 * (max(frames - 63, 0) // 32 + 1)
    assert vectors.shape == (count, 256) and times.shape == (count,)


def test_alexnet_vectors_are_the_maps_cells_in_order_of_time(alexnet_file: Path) -> None:
    decibels = spectrogram(200)
    vectors, _ = load_audio_backbone(f"alexnet@{alexnet_file}")(decibels)
    net = models.alexnet()
    net.load_state_dict(torch.load(alexnet_file, weights_only=True), strict=False)
    unit = np.clip((decibels - decibels.max()) / 80 + 1, 0, 1)
    image = [
        (unit - mean) / std for mean, std in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
    ]
    with torch.no_grad():
        maps = net.features.eval()(torch.from_numpy(np.stack(image)[None]).float())[0]
    height, width = maps.shape[1:]
    assert (height, width) == (5, 5)
    for step in range(width):
        for row in range(height):
            torch.testing.assert_close(vectors[step * height + row], maps[:, row, step], rtol=1e-4, atol=1e-6)


def test_alexnet_times_are_the_middle_of_what_a_vector_sees(alexnet_file: Path) -> None:
    frames = 63 + 32 * 9
    _, times = load_audio_backbone(f"alexnet@{alexnet_file}")(spectrogram(frames), hop=1.0, first=0.0)
    # With positive weights and averages instead of maxima every frame that a vector sees has a gradient.
    trunk = models.alexnet().features
    parts = [nn.AvgPool2d(3, 2) if isinstance(part, nn.MaxPool2d) else part for part in trunk]
    for parameter in trunk.parameters():
        parameter.data.abs_()
    image = torch.ones(1, 3, 200, frames, requires_grad=True)
    maps = nn.Sequential(*parts)(image)
    for step in (4, 5):
        (gradient,) = torch.autograd.grad(maps[0, :, 2, step].sum(), image, retain_graph=True)
        seen = gradient[0].sum(dim=(0, 1)).nonzero().flatten()
        assert seen[0] > 0 and seen[-1] < frames - 1
        assert times[5 * step] == (seen[0] + seen[-1]) / 2


def test_a_short_clips_vectors_stand_at_its_middle(alexnet_file: Path) -> None:
    _, times = load_audio_backbone(f"alexnet@{alexnet_file}")(spectrogram(21))
    assert times.tolist() == pytest.approx([0.02 + 0.01 * 10] * 5)


def test_audio_gain_and_silence(alexnet_file: Path) -> None:
    audio = load_audio_backbone(f"alexnet@{alexnet_file}")
    decibels = spectrogram(100)
    torch.testing.assert_close(audio(decibels)[0], audio(decibels + 12)[0], rtol=1e-3, atol=1e-5)
    assert audio(np.full((200, 100), -100.0))[0].isfinite().all()


@pytest.mark.parametrize(
    "values", [np.zeros((200, 0)), np.zeros(200), np.zeros((40, 100)), np.full((200, 70), -np.inf)]
)
def test_audio_refuses_other_shapes_and_infinities(alexnet_file: Path, values: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected a spectrogram|not finite"):
        load_audio_backbone(f"alexnet@{alexnet_file}")(values)


def log_mel_of(frames: int) -> np.ndarray:
    """``[3, 40, T]``: nepers, and slopes of either sign."""
    rng = np.random.default_rng(0)
    values = [rng.uniform(-20, 2, (40, frames)), *rng.normal(size=(2, 40, frames))]
    return np.stack(values).astype(np.float32)


def test_alexnet_reads_log_mel_as_three_colours(alexnet_file: Path) -> None:
    """Against the picture made by hand: OpenCV's stretching, torchvision's network."""
    values = log_mel_of(95)
    vectors, times = load_audio_backbone(f"alexnet-logmel@{alexnet_file}")(values)
    assert vectors.shape == (10, 256) and times[0] == pytest.approx(0.0125 + 0.31)
    decibels = 10 * np.log10(np.exp(values[0].astype(np.float64)))
    colours = [np.maximum((decibels - decibels.max()) / 80 + 1, 0)]
    colours += [(slope / np.abs(slope).max() + 1) / 2 for slope in values[1:]]
    stretched = [cv2.resize(c.astype(np.float32), (95, 200), interpolation=cv2.INTER_LINEAR) for c in colours]
    net = models.alexnet()
    net.load_state_dict(torch.load(alexnet_file, weights_only=True), strict=False)
    image = [
        (c - mean) / std
        for c, mean, std in zip(stretched, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
    ]
    with torch.no_grad():
        maps = net.features.eval()(torch.from_numpy(np.stack(image)[None]).float())[0]
    expected = maps.permute(2, 1, 0).reshape(10, 256)
    torch.testing.assert_close(vectors, expected, rtol=1e-3, atol=1e-5)


def test_log_mel_of_any_length_and_silence(alexnet_file: Path) -> None:
    audio = load_audio_backbone(f"alexnet-logmel@{alexnet_file}")
    assert audio.label == "alexnet-logmel@random"
    assert audio.settings()["name"] == "alexnet-logmel" and audio.settings()["rows"] == 200
    for frames in (1, 20, 63, 127):
        assert audio(log_mel_of(frames))[0].shape == (5 * (max(frames - 63, 0) // 32 + 1), 256)
    silent = np.stack([np.full((40, 80), np.log(1e-10)), *np.zeros((2, 40, 80))])
    assert audio(silent)[0].isfinite().all()
    with pytest.raises(ValueError, match="expected a log-Mel spectrogram"):
        audio(spectrogram(80))
    with pytest.raises(ValueError, match="not finite"):
        audio(np.full((3, 40, 80), np.nan))


def test_audio_names_and_errors(alexnet_file: Path) -> None:
    assert audio_names() == ("alexnet", "alexnet-logmel")
    with pytest.raises(ValueError, match=r"'vgg'.*alexnet"):
        load_audio_backbone(f"vgg@{alexnet_file}")
    with pytest.raises(WeightsError, match="alexnet@FILE"):
        load_audio_backbone("alexnet")
    audio = load_audio_backbone(f"alexnet@{alexnet_file}")
    assert audio.label == "alexnet@random" and audio.settings()["weights_sha256"] == audio.weights_sha256
