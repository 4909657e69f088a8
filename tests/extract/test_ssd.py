"""The SSD detector: networks of its published form that find a bright square, and files that are none.

OpenCV's own network is not here; these have its input, its tail (prior boxes, detection output) and its
output.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from avemo.extract.align import CHIP_SIZE
from avemo.extract.detectors import load_detector
from avemo.extract.detectors.ssd import SsdDetector
from avemo.extract.errors import ExtractError
from avemo.extract.plan import Plan
from avemo.extract.streams.registry import keys_of
from avemo.extract.track import Tracker, face_arrays

CELL = 60  # pixels of the network's 300 that a prior box is wide
BLUE = 2  # of RGB

GRAPH = """
node { name: "data" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
node {
  name: "score" op: "Conv2D" input: "data" input: "score/weights"
  attr { key: "padding" value { s: "VALID" } }
  attr { key: "strides" value { list { i: 1 i: 60 i: 60 i: 1 } } }
}
node { name: "conf_map" op: "BiasAdd" input: "score" input: "score/bias" }
node { name: "conf" op: "Flatten" input: "conf_map" }
node { name: "conf_pairs" op: "Reshape" input: "conf" input: "pairs" }
node { name: "conf_softmax" op: "Softmax" input: "conf_pairs" attr { key: "axis" value { i: 2 } } }
node { name: "conf_flat" op: "Flatten" input: "conf_softmax" }
node {
  name: "place" op: "Conv2D" input: "data" input: "place/weights"
  attr { key: "padding" value { s: "VALID" } }
  attr { key: "strides" value { list { i: 1 i: 60 i: 60 i: 1 } } }
}
node { name: "loc" op: "Flatten" input: "place" }
node {
  name: "priors" op: "PriorBox" input: "score" input: "data"
  attr { key: "clip" value { b: false } }
  attr { key: "flip" value { b: true } }
  attr { key: "min_size" value { i: 60 } }
  attr { key: "offset" value { f: 0.5 } }
  attr { key: "step" value { f: 60.0 } }
  attr { key: "variance" value { tensor {
    dtype: DT_FLOAT tensor_shape { dim { size: 4 } }
    float_val: 0.1 float_val: 0.1 float_val: 0.2 float_val: 0.2
  } } }
}
node {
  name: "detection_out" op: "DetectionOutput" input: "loc" input: "conf_flat" input: "priors"
  attr { key: "background_label_id" value { i: 0 } }
  attr { key: "code_type" value { s: "CENTER_SIZE" } }
  attr { key: "confidence_threshold" value { f: 0.01 } }
  attr { key: "keep_top_k" value { i: 200 } }
  attr { key: "nms_threshold" value { f: 0.45 } }
  attr { key: "num_classes" value { i: 2 } }
  attr { key: "share_location" value { b: true } }
  attr { key: "top_k" value { i: 400 } }
}
node { name: "pairs" op: "Const" attr { key: "value" value { tensor {
  dtype: DT_INT32 tensor_shape { dim { size: 3 } } int_val: 0 int_val: -1 int_val: 2
} } } }
library { }
"""


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def constant(name: str, values: np.ndarray) -> bytes:
    """A node of TensorFlow's GraphDef, as protobuf writes it."""
    is_float = b"\x08\x01"  # field 1, DT_FLOAT
    shape = b"".join(field(2, b"\x08" + varint(size)) for size in values.shape)
    tensor = field(8, is_float + field(2, shape) + field(4, values.astype("<f4").tobytes()))
    attributes = field(5, field(1, b"value") + field(2, tensor))
    return field(1, field(1, name.encode()) + field(2, b"Const") + attributes)


def make_network(folder: Path) -> None:
    """A network that sees a face in each cell that is blue, the more so the bluer."""
    score = np.zeros((CELL, CELL, 3, 2))
    score[:, :, 0, 1] = 0.1 / CELL**2  # BGR
    weights = {
        "score/weights": score,
        "score/bias": np.zeros(2),
        "place/weights": np.zeros((CELL, CELL, 3, 4)),
    }
    (folder / "detector_uint8.pb").write_bytes(b"".join(constant(*each) for each in weights.items()))
    (folder / "detector.pbtxt").write_text(GRAPH)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with such a network."""
    make_network(tmp_path)
    return tmp_path


def picture(*squares: tuple[int, int, int], size: tuple[int, int] = (600, 300)) -> np.ndarray:
    """Yellow, RGB, of ``size`` (width, height); squares are column, row and blue of cells, 5 × 5."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :, :BLUE] = 255
    for column, row, blue in squares:
        image[row * height // 5 :, column * width // 5 :][: height // 5, : width // 5] = (0, 0, blue)
    return image


def test_it_finds_the_blue_square_where_it_is(files: Path) -> None:
    detector = load_detector(f"ssd@{files / 'detector_uint8.pb'}")
    (face,) = detector(picture((3, 1, 255)))
    np.testing.assert_allclose(face.box, [360, 60, 480, 120], atol=0.5)
    assert face.points is None
    assert face.confidence == pytest.approx(1 / (1 + np.exp(-0.1 * (255 - 104))), abs=1e-3)  # less its mean


def test_the_most_confident_is_first_and_the_doubtful_are_left_out(files: Path) -> None:
    detector = SsdDetector(files)
    faces = detector(picture((0, 0, 125), (4, 4, 250), (2, 2, 100), size=(300, 300)))
    assert [tuple(face.box.round()) for face in faces] == [(240, 240, 300, 300), (0, 0, 60, 60)]
    assert faces[0].confidence > faces[1].confidence > 0.5
    assert detector(picture()) == []


def test_the_chip_is_the_square_about_the_box(files: Path) -> None:
    detector = SsdDetector(files)
    tracker = Tracker()
    tracker.add(0, 0.0, detector(picture((3, 1, 255))))  # 120 × 60 pixels from (360, 60)
    arrays = face_arrays([0.0], tracker.main(), [(300, 600)], detector.layout)
    assert arrays["has_face"].all()
    assert np.isnan(arrays["points"]).all()
    edges = arrays["transform"][0] @ [[359.5, 479.5], [29.5, 149.5], [1, 1]]
    np.testing.assert_allclose(edges, [[-0.5, CHIP_SIZE - 0.5]] * 2, atol=1.5)


def test_the_key_tells_how_faces_are_cut(files: Path) -> None:
    plan = Plan(detector=f"ssd@{files}", backbones=())
    settings = keys_of(plan)["faces"].settings
    assert settings["detector"] == "ssd"
    assert (settings["chip.align"], settings["chip.padding"]) == ("square of the box", 0.0)
    assert keys_of(Plan(backbones=()))["faces"].settings["chip.padding"] == 0.3
    (files / "detector.pbtxt").write_text(GRAPH + "\n")
    assert SsdDetector(files).settings()["detector.weights"] != settings["detector.weights"]


def test_a_graph_of_the_same_name_goes_before_others(files: Path) -> None:
    (files / "other.pbtxt").write_text("nothing")
    with pytest.raises(
        ExtractError, match=r"detector\.pbtxt, other\.pbtxt; keep one, or call it detector_uint8"
    ):
        SsdDetector(files)
    (files / "detector.pbtxt").rename(files / "detector_uint8.pbtxt")
    assert SsdDetector(files)(picture((0, 0, 255)))


def onnx_network(path: Path, rows: int = 2) -> Path:
    """A network whose first row is a box, the surer the redder the picture; the second lies beyond it."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    weights, bias = np.zeros((14, 3, 1, 1), np.float32), np.zeros(14, np.float32)
    weights[2, 2] = 1 / 200
    bias[:] = [0, 1, 0.2, 0.25, 0.5, 0.5, 0.75, 0, 1, 0.9, 1.5, 0, 2.5, 1]
    constants = {"w": weights, "b": bias, "s": np.array([1, 1, 2, 7] if rows == 2 else [1, 14], np.int64)}
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["mean"]),
        helper.make_node("Conv", ["mean", "w", "b"], ["values"]),
        helper.make_node("Reshape", ["values", "s"], ["found"]),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "ssd",
        [helper.make_tensor_value_info("data", kind, [1, 3, 300, 300])],
        [helper.make_tensor_value_info("found", kind, constants["s"].tolist())],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


def test_an_onnx_network_of_the_same_output(tmp_path: Path) -> None:
    detector = load_detector(f"ssd@{onnx_network(tmp_path / 'ssd.onnx')}")
    red = np.zeros((100, 200, 3), np.uint8)
    red[:, :, 0] = 243
    (face,) = detector(red)  # what lies beyond the frame is no face
    np.testing.assert_allclose(face.box, [50, 50, 100, 75], atol=1e-3)
    assert face.confidence == pytest.approx(0.2 + (243 - 123) / 200, abs=1e-3)
    assert detector(np.zeros_like(red)) == []


def refusal(text: str) -> str:
    with pytest.raises(ExtractError) as caught:
        load_detector(text)
    return str(caught.value)


def test_files_that_cannot_be_used(files: Path, tmp_path: Path) -> None:
    assert "--detector ssd@" in refusal("ssd")
    assert "no such file" in refusal(f"ssd@{tmp_path / 'gone.pb'}")
    assert "expected a network of .onnx" in refusal(f"ssd@{files / 'detector.pbtxt'}")
    page = tmp_path / "page.onnx"
    page.write_text("<html>not found</html>")
    assert f"{page} is not a face detector that OpenCV" in refusal(f"ssd@{page}")
    assert "page.onnx" in refusal(f"ssd@{files}")  # two networks in the folder
    assert "gives [1, 14], expected [1, 1, N, 7]" in refusal(f"ssd@{onnx_network(tmp_path / 'x.onnx', 1)}")
    (files / "detector.pbtxt").unlink()
    assert "needs its graph, a .pbtxt beside it" in refusal(f"ssd@{files / 'detector_uint8.pb'}")


def test_a_network_that_opencv_crashes_on_costs_another_process(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(onnx_network(tmp_path / "ssd.onnx")))
    (convolution,) = (node for node in model.graph.node if node.op_type == "Conv")
    convolution.attribute.append(onnx.helper.make_attribute("strides", [0, 0]))  # OpenCV 5 divides by it
    onnx.save(model, str(tmp_path / "crash.onnx"))
    assert f"{tmp_path / 'crash.onnx'} is not a face detector" in refusal(f"ssd@{tmp_path / 'crash.onnx'}")


def test_a_yunet_that_opencv_reads_but_cannot_run(tmp_path: Path) -> None:
    network = onnx_network(tmp_path / "other.onnx")  # without YuNet's outputs
    assert f"{network} is not a face detector that OpenCV" in refusal(f"yunet@{network}")


@pytest.mark.skipif(hasattr(cv2.dnn, "readNetFromCaffe"), reason="this OpenCV still reads Caffe's networks")
def test_caffe_is_refused_with_the_way_out(tmp_path: Path) -> None:
    said = refusal(f"ssd@{tmp_path / 'res10_300x300_ssd_iter_140000.caffemodel'}")
    assert "opencv_face_detector_uint8.pb" in said
    assert "opencv-python-headless<5" in said
