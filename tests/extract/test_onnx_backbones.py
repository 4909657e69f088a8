"""ONNX files as backbones: numerics, layouts and batches, cards, provenance, and files that do harm."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from avemo.cache.clips import Clip
from avemo.cache.store import FeatureStore
from avemo.extract.backbones import Backbone, WeightsError, load_backbone
from avemo.extract.backbones.spec import IMAGENET_MEAN, IMAGENET_STD
from avemo.extract.plan import Plan
from avemo.extract.run import Extraction

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SIZE, FEATURES, CLASSES = 6, 5, 3
RNG = np.random.default_rng(0)
INNER = RNG.normal(size=(FEATURES, 3 * SIZE * SIZE)).astype(np.float32)
OUTER = RNG.normal(size=(CLASSES, FEATURES)).astype(np.float32)


def noise_views(count: int, size: int = SIZE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def small_model(
    shape: tuple[Any, ...] = ("N", 3, SIZE, SIZE),
    outputs: tuple[str, ...] = ("scores",),
    external: str | None = None,
    element: int = onnx.TensorProto.FLOAT,
    domain: str = "",
) -> Any:
    """``relu(INNER x)`` as ``features`` and softmax of ``OUTER features`` as ``scores``; x is ``[N, C·S·S]``.

    ``external`` is where it says that ``INNER`` lies.
    """
    helper = onnx.helper
    kind = np.dtype(helper.tensor_dtype_to_np_dtype(element))
    inner, outer = (
        onnx.numpy_helper.from_array(values.astype(kind), name)
        for values, name in ((INNER, "inner"), (OUTER, "outer"))
    )
    if external is not None:
        inner.ClearField("raw_data")
        inner.data_location = onnx.TensorProto.EXTERNAL
        inner.external_data.add(key="location", value=external)
    nodes = [
        helper.make_node("Flatten", ["faces"], ["flat"]),
        helper.make_node("Gemm", ["flat", "inner"], ["hidden"], transB=1),
        helper.make_node("Relu", ["hidden"], ["features"], domain=domain),
        helper.make_node("Gemm", ["features", "outer"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("faces", element, shape)],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [inner, outer],
    )
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., str]:
    """Writes :func:`small_model` and perhaps a card; gives the text of the backbone."""

    def write(card: object = None, name: str = "small", **choices: Any) -> str:
        (tmp_path / f"{name}.onnx").write_bytes(small_model(**choices).SerializeToString())
        if card is not None:
            (tmp_path / f"{name}.json").write_text(card if isinstance(card, str) else json.dumps(card))
        return f"onnx@{tmp_path / name}.onnx"

    return write


def expected_features(
    views: np.ndarray,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    channels_last: bool = False,
) -> np.ndarray:
    """``features`` in float64."""
    values = (views.astype(np.float64) - mean) / std
    flat = (values if channels_last else values.transpose(0, 3, 1, 2)).reshape(len(views), -1)
    return np.maximum(flat @ INNER.T.astype(np.float64), 0)


# ---- numerics


@pytest.fixture(scope="module")
def mobilefacenets(shared: Path) -> tuple[Backbone, Backbone]:
    """The ONNX file and the same network in torch."""
    weights = shared / "weights"
    return (
        load_backbone(f"onnx@{weights / 'MobileFaceNet.onnx'}"),
        load_backbone(f"mobilefacenet@{weights / 'mobilefacenet.pt'}", precision="fp32"),
    )


def test_mobilefacenet_gives_what_it_gives_in_torch(mobilefacenets: tuple[Backbone, Backbone]) -> None:
    ours, torchs = mobilefacenets
    views = noise_views(5, 112)
    views[3], views[4] = 0, 255
    features, expected = ours(views), torchs(views)
    assert features.dtype == torch.float32 and features.shape == (5, 128) and features.isfinite().all()
    error = (features - expected).norm(dim=1) / expected.norm(dim=1)
    assert error.max() < 1e-5


def test_mobilefacenet_of_a_fixed_batch_gives_one_by_one_the_same(
    mobilefacenets: tuple[Backbone, Backbone],
) -> None:
    ours, _ = mobilefacenets
    views = noise_views(3, 112)
    single = torch.cat([ours(views[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(ours(views), single, rtol=0, atol=0)
    assert ours(views[:0]).shape == (0, 128)


@pytest.mark.parametrize("batch", ["N", None, 1, 4])
@pytest.mark.parametrize("channels_last", [False, True])
def test_layouts_and_batches(save: Callable[..., str], batch: object, channels_last: bool) -> None:
    shape = (batch, SIZE, SIZE, 3) if channels_last else (batch, 3, SIZE, SIZE)
    backbone = load_backbone(save({"output": "features"}, shape=shape))
    assert (backbone.spec.input_size, backbone.spec.features) == (SIZE, FEATURES)
    for count in (1, 4, 7):
        views = noise_views(count)
        expected = expected_features(views, channels_last=channels_last)
        np.testing.assert_allclose(backbone(views).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_half_precision_graphs_run(save: Callable[..., str]) -> None:
    backbone = load_backbone(save({"output": "features"}, element=onnx.TensorProto.FLOAT16))
    features = backbone(noise_views(2))
    assert features.dtype == torch.float32
    np.testing.assert_allclose(features.numpy(), expected_features(noise_views(2)), rtol=0.02, atol=0.05)


def test_a_network_exported_by_torch_is_taken_below_its_classifier(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trunk = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    whole = nn.Sequential(trunk, nn.Dropout(), nn.Linear(8, 7)).eval()
    path = tmp_path / "enet_b0_8_best_vgaf.onnx"  # known by its name, so it needs no card
    torch.onnx.export(
        whole,
        (torch.zeros(1, 3, 32, 32),),
        str(path),
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {0: "batch_size"}, "output": {0: "batch_size"}},
        dynamo=False,
    )
    backbone = load_backbone(f"onnx@{path}")
    views = noise_views(3, 32)
    values = (torch.from_numpy(views) - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    with torch.no_grad():
        expected = trunk(values.permute(0, 3, 1, 2))
    torch.testing.assert_close(backbone(views), expected, rtol=1e-4, atol=1e-5)


# ---- the card


def test_without_a_card_imagenet_and_the_only_output_hold(save: Callable[..., str]) -> None:
    settings = load_backbone(save()).settings()
    assert settings["name"] == "onnx" and settings["layer"] == "scores" and settings["colour"] == "rgb"
    assert settings["mean"] == list(IMAGENET_MEAN) and settings["std"] == list(IMAGENET_STD)


@pytest.mark.parametrize("scale", [1, 255])
def test_the_card_says_how_views_are_prepared(save: Callable[..., str], scale: int) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    factor = 1 if scale == 1 else 255
    card = {
        "colour": "bgr",
        "range": scale,
        "mean": [value * factor for value in mean],
        "std": [value * factor for value in std],
        "output": "features",
        "window": [0.1, 0.2, 0.7],
    }
    views = noise_views(3)
    of_255 = [tuple(255 * value for value in values) for values in (mean, std)]
    expected = expected_features(views[..., ::-1], *of_255)
    backbone = load_backbone(save(card))
    np.testing.assert_allclose(backbone(views).numpy(), expected, rtol=1e-4, atol=1e-4)
    assert backbone.settings()["colour"] == "bgr" and backbone.spec.window == (0.1, 0.2, 0.7)


def test_below_classifier_is_what_the_last_full_layer_takes(save: Callable[..., str]) -> None:
    backbone = load_backbone(save({"output": "below-classifier"}))
    assert backbone.settings()["layer"] == "features"
    views = noise_views(2)
    np.testing.assert_allclose(backbone(views).numpy(), expected_features(views), rtol=1e-4, atol=1e-4)


def test_the_card_gives_a_size_that_the_graph_leaves_open(save: Callable[..., str]) -> None:
    open_shape = ("N", 3, "height", "width")
    with pytest.raises(WeightsError, match=r'small\.onnx: takes images of height×width .*"input_size"'):
        load_backbone(save(shape=open_shape))
    assert load_backbone(save({"input_size": SIZE}, shape=open_shape)).spec.input_size == SIZE
    with pytest.raises(WeightsError, match=r"cannot be run on faces of 9×9 pixels"):
        load_backbone(save({"input_size": 9}, shape=open_shape))
    with pytest.raises(WeightsError, match=r"takes images of 6×6 pixels and the card says 9"):
        load_backbone(save({"input_size": 9}))


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("{", r"small\.json: the card of small\.onnx is wrong"),
        ("[]", r"holds a list, expected an object of colour"),
        ({"color": "rgb"}, r"no entry 'color', expected some of colour"),
        ({"colour": "hsv"}, r"colour 'hsv', expected one of rgb, bgr, grey"),
        ({"colour": "grey"}, r"colour 'grey' needs a mean and a std of one value"),
        ({"mean": [1, 2]}, r"mean \[1, 2\], expected a list of 3 numbers"),
        ({"mean": [1, 2, True]}, r"mean .* expected a list of 3 numbers"),
        ('{"std": [1, 2, NaN]}', r"std .* expected a list of 3 numbers"),
        ("[" * 100_000, r"card of small\.onnx is wrong"),
        ({"std": [0, 1, 1]}, r"expected a std and a side above 0"),
        ({"window": [0.1, 0.1, 0]}, r"expected a std and a side above 0"),
        ({"std": [0.229, 0.224, 0.225]}, r'belongs to values of 0-1: add "range": 1'),
        ({"range": 2}, r"range 2, expected 255 or 1"),
        ({"input_size": "6"}, r"input_size '6', expected a number of pixels"),
        ({"output": 3}, r"output 3, expected the name of a tensor"),
        ({"output": "feature"}, r"has no tensor 'feature'; outputs are scores, other names features"),
        (
            {"output": "flat", "colour": "grey", "mean": [0], "std": [1]},
            r"3 channels, but the colour is 'grey'",
        ),
    ],
)
def test_a_wrong_card_is_told(save: Callable[..., str], card: object, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        load_backbone(save(card))


def test_of_several_outputs_one_must_be_named(save: Callable[..., str]) -> None:
    outputs = ("features", "scores")
    with pytest.raises(WeightsError, match=r"2 outputs \(features, scores\).*\"output\" in small\.json"):
        load_backbone(save(outputs=outputs))
    assert load_backbone(save({"output": "features"}, outputs=outputs)).spec.features == FEATURES


# ---- provenance


def test_the_key_follows_the_file_its_data_and_the_card(save: Callable[..., str], tmp_path: Path) -> None:
    data = tmp_path / "inner.data"
    data.write_bytes(INNER.tobytes())
    text = save({"output": "features"}, external="inner.data")
    first = load_backbone(text)
    sums = [
        hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("small.onnx", "inner.data")
    ]
    assert first.settings()["weights_sha256"] == "+".join(sums)
    assert first.label == "onnx@small"
    views = noise_views(2)
    np.testing.assert_allclose(first(views).numpy(), expected_features(views), rtol=1e-4, atol=1e-4)

    data.write_bytes((2 * INNER).tobytes())
    second = load_backbone(text)
    assert second.settings()["weights_sha256"] != first.settings()["weights_sha256"]
    assert not torch.allclose(first(views), second(views))
    with_other_card = load_backbone(save({"output": "hidden"}, external="inner.data"))
    assert with_other_card.settings() != second.settings()


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16"])
def test_onnx_runs_in_fp32_whatever_is_asked_for(save: Callable[..., str], precision: str) -> None:
    backbone = load_backbone(save(), precision=precision)
    assert backbone.precision == "fp32" == backbone.settings()["precision"]
    assert backbone(noise_views(2)).isfinite().all()


def test_an_unknown_precision_is_refused(save: Callable[..., str]) -> None:
    with pytest.raises(ValueError, match="'fp16' is unknown"):
        load_backbone(save(), precision="fp16")


def test_threads_follow_torch(save: Callable[..., str]) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        options = load_backbone(save())._module._session.get_session_options()
    finally:
        torch.set_num_threads(before)
    assert options.intra_op_num_threads == 1


# ---- bad files


@pytest.mark.parametrize("content", [b"", b"hello", b"<!DOCTYPE html><html>Not found</html>", b"\0" * 500])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "page.onnx").write_bytes(content)
    with pytest.raises(WeightsError, match=r"page\.onnx: not an ONNX file"):
        load_backbone(f"onnx@{tmp_path / 'page.onnx'}")


def test_truncated_files_are_refused(save: Callable[..., str], tmp_path: Path) -> None:
    text, path = save(), tmp_path / "small.onnx"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(WeightsError, match="not an ONNX file, or a damaged one"):
        load_backbone(text)


def test_absent_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.onnx.*cannot be read \(No such file"):
        load_backbone(f"onnx@{tmp_path / 'absent.onnx'}")
    with pytest.raises(ValueError, match="'onnx' is a file: give it as onnx@FILE"):
        load_backbone("onnx")


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/passwd", "link.data", "absent.data", "", "sub/../../secret"]
)
def test_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(INNER.tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "sub").mkdir()
    (folder / "link.data").symlink_to(tmp_path / "secret")
    (folder / "evil.onnx").write_bytes(small_model(external=location).SerializeToString())
    with pytest.raises(WeightsError, match=r"evil\.onnx: its weights lie in .* cannot be used") as caught:
        load_backbone(f"onnx@{folder / 'evil.onnx'}")
    assert "\n" not in str(caught.value)


def test_external_data_cut_short_is_refused(save: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "inner.data").write_bytes(INNER.tobytes()[:-8])
    with pytest.raises(WeightsError, match=r"small\.onnx: "):
        load_backbone(save(external="inner.data"))


def test_custom_operators_are_refused(save: Callable[..., str]) -> None:
    with pytest.raises(WeightsError, match=r"onnxruntime cannot run it .*evil"):
        load_backbone(save(domain="evil.ops"))


def test_networks_of_other_inputs_or_outputs_are_refused(save: Callable[..., str], shared: Path) -> None:
    with pytest.raises(WeightsError, match=r"takes faces tensor\(float\) .* expected one input of float"):
        load_backbone(save(shape=("N", 108)))
    with pytest.raises(WeightsError, match=r"2 outputs \(scores, boxes\)"):
        load_backbone(f"onnx@{shared / 'weights/version-RFB-320.onnx'}")


def test_without_the_extra_the_error_says_what_to_install(save: Callable[..., str]) -> None:
    script = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from avemo.extract.backbones import load_backbone\n"
        f"load_backbone({save()!r})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "needs the package onnxruntime: pip install 'avemo[onnx]'" in done.stderr.splitlines()[-1]


# ---- in a run


def test_a_run_stores_it_with_its_key(
    save: Callable[..., str], tmp_path: Path, make_clip: Callable[..., Path]
) -> None:
    clip = Clip("a", "all", str(make_clip(tmp_path / "a.mp4", frames=3)))
    plan = Plan(backbones=(save({"output": "features"}),), device="cpu", precision="bf16")
    with FeatureStore(tmp_path / "store", create=True) as store:
        assert [result.failure for result in Extraction([clip], plan, store, in_process=True)] == [""]
        store.refresh()
        (row,) = store.rows
        arrays = store.read(row, "onnx@small/default")
        assert {name: values.shape for name, values in arrays.items()} == {
            "basic": (3, FEATURES), "mean": (3, FEATURES), "std": (3, FEATURES), "times": (3,)
        }  # fmt: skip
        assert row.entries["onnx@small/default"].key.settings["layer"] == "features"
        assert not Extraction([clip], plan, store, in_process=True).jobs
