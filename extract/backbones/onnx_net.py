"""ONNX files as face networks: ``onnx@FILE.onnx`` (extra ``onnx``).

The graph defines its input's size, layout and batch. Everything else is in a card, ``FILE.json`` beside
``FILE.onnx``, whose entries are all optional::

    {"colour": "rgb", "range": 1, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
     "output": "features", "input_size": 224}

========== ============================================================== ===========================
entry      meaning                                                        default
========== ============================================================== ===========================
colour     ``"rgb"``, ``"bgr"`` or ``"grey"``, also for mean and std      rgb
range      white, in the units of mean and std: 255 or 1                  255
mean, std  the network's input is ``(view - mean) / std``                 ImageNet's
window     the square of the chip that it sees: left, top and side, as    the whole chip,
           shares of the chip's side                                      ``[0, 0, 1]``
output     any tensor of the graph; ``"below-classifier"`` is the input   the only output
           of its last fully connected layer
input_size side in pixels, if the graph leaves it open                    the graph's
========== ============================================================== ===========================

HSEmotion's files need no card: they are recognised by name.

Files are treated as data: weights outside a file's folder are refused, and libraries of custom operators are
never loaded.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn

from ..digest import sha256_of
from ..errors import WeightsError
from .spec import IMAGENET_MEAN, IMAGENET_STD, ONNX, BackboneSpec, Colour

BELOW_CLASSIFIER = "below-classifier"

Window = tuple[float, float, float]

_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_ENTRIES = ("colour", "range", "mean", "std", "window", "input_size", "output")
# operators that may follow the last fully connected layer of a classifier
_AFTER_CLASSIFIER = ("Add", "Identity", "LogSoftmax", "Sigmoid", "Softmax")


@dataclass(frozen=True)
class OnnxCard:
    """Settings that a graph does not define; see the module. Here ``mean`` and ``std`` are on a 0-255 scale.

    ``input_size`` is None, and ``output`` empty, if the graph defines it.
    """

    colour: Colour = "rgb"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    window: Window = (0.0, 0.0, 1.0)
    input_size: int | None = None
    output: str = ""


# As the authors of HSEmotion run them (hsemotion_onnx/facial_emotions.py, Apache-2.0).
_HSEMOTION = OnnxCard(output=BELOW_CLASSIFIER)
_KNOWN = {
    "enet_b0_8_best_afew": _HSEMOTION,
    "enet_b0_8_best_vgaf": _HSEMOTION,
    "enet_b0_8_va_mtl": _HSEMOTION,
    "enet_b2_7": _HSEMOTION,
    "enet_b2_8": _HSEMOTION,
    "mobilevit_va_mtl": _HSEMOTION,
    "mbf_va_mtl": replace(_HSEMOTION, mean=(127.5,) * 3, std=(127.5,) * 3),
}


class OnnxNetwork(nn.Module):
    """``[N, C, S, S]`` float32 → ``[N, D]`` float32 by onnxruntime.

    A graph with a fixed batch is run repeatedly, and the last batch is filled up with copies of the last
    face. Faces on a CUDA device are computed there if this onnxruntime supports it (untested: no GPU was
    available), otherwise on the CPU, with as many threads as torch uses when the file is read.
    """

    def __init__(self, path: Path, model: bytes) -> None:
        super().__init__()
        self._path, self._model = path, model if _runs_on_cuda() else b""
        self._session = _session(path, model, torch.device("cpu"))
        self._device = torch.device("cpu")
        self.input = _only_input(path, self._session)
        self.channels_last = self.input.shape[3] in (1, 3) and self.input.shape[1] not in (1, 3)
        self.output: str = self._session.get_outputs()[0].name
        self._batch = _fixed(self.input.shape[0])

    def forward(self, faces: Tensor) -> Tensor:
        return torch.cat([self._run(part) for part in torch.split(faces, self._batch or len(faces))])

    def _run(self, faces: Tensor) -> Tensor:
        count = len(faces)
        if faces.device != self._device and faces.is_cuda and self._model:
            self._session = _session(self._path, self._model, faces.device)
            self._device = faces.device
        if self._batch is not None and count < self._batch:
            faces = torch.cat([faces, faces[-1:].expand(self._batch - count, -1, -1, -1)])
        if self.channels_last:
            faces = faces.permute(0, 2, 3, 1)
        values = np.ascontiguousarray(faces.cpu().numpy(), dtype=_FLOATS[self.input.type])
        (features,) = self._session.run([self.output], {self.input.name: values})
        if (
            features.ndim not in (2, 4)
            or len(features) != len(faces)
            or features.shape[2:] not in ((), (1, 1))
        ):
            raise ValueError(
                f"the tensor {self.output!r} has the shape {list(features.shape)} for {len(faces)} faces, "
                "expected [N, D] or [N, D, 1, 1]"
            )
        return torch.from_numpy(features).float().flatten(1)[:count]


def open_onnx(path: Path) -> tuple[BackboneSpec, OnnxNetwork, str]:
    """Return the spec, the network and the SHA-256 of an ONNX file.

    If weights are in separate files, their SHA-256 follow after ``+``, in the order of their names.

    Raises :class:`WeightsError` if onnx or onnxruntime is not installed; the file is absent, damaged, not
    an ONNX file, or not a network of one image in and one vector out; or the card is invalid.
    """
    _check_installed()
    card = read_onnx_card(path)
    model, sha256 = _read_model(path)
    model = _with_output(path, model, card.output)
    network = OnnxNetwork(path, model.SerializeToString())
    size = _input_size(path, network, card)
    try:
        features = network(torch.zeros(2, len(card.mean), size, size)).shape[1]
    except Exception as error:  # onnxruntime has no common class for its errors
        raise WeightsError(
            f"{path}: cannot be run on faces of {size}×{size} pixels ({_first_line(error)})"
        ) from error
    spec = BackboneSpec(
        name=ONNX,
        features=features,
        input_size=size,
        mean=card.mean,
        std=card.std,
        layer=network.output,
        build=lambda: network,
        source="the file's own",
        colour=card.colour,
        window=card.window,
        bf16=False,
    )
    return spec, network, sha256


def _check_installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise WeightsError(
            f"an ONNX file needs the package {error.name}: pip install 'avemo[onnx]'"
        ) from error


# ---- the card


def read_onnx_card(path: Path) -> OnnxCard:
    """Return the card of an ONNX file, or the one known by its name; the file itself need not exist."""
    file = path.with_suffix(".json")
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return _KNOWN.get(path.stem, OnnxCard())
    except (OSError, UnicodeError) as error:
        raise WeightsError(f"{file}: the card of {path.name} cannot be read ({error})") from error
    try:
        return _card_of(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{file}: the card of {path.name} is wrong: {error}") from error


def _card_of(entries: Any) -> OnnxCard:
    if not isinstance(entries, dict):
        raise ValueError(f"it holds a {type(entries).__name__}, expected an object of {', '.join(_ENTRIES)}")
    unknown = [key for key in entries if key not in _ENTRIES]
    if unknown:
        raise ValueError(f"there is no entry {unknown[0]!r}, expected some of {', '.join(_ENTRIES)}")
    card = OnnxCard()
    colour, size = entries.get("colour", card.colour), entries.get("input_size")
    white, output = entries.get("range", 255), entries.get("output", card.output)
    if colour not in get_args(Colour):
        raise ValueError(f"colour {colour!r}, expected one of {', '.join(get_args(Colour))}")
    if white not in (1, 255):
        raise ValueError(f"range {white!r}, expected 255 or 1")
    if size is not None and (type(size) is not int or size < 1):
        raise ValueError(f"input_size {size!r}, expected a number of pixels")
    if not isinstance(output, str):
        raise ValueError(f"output {output!r}, expected the name of a tensor")
    channels = 1 if colour == "grey" else 3
    mean = _numbers(entries, "mean", channels) or card.mean
    std = _numbers(entries, "std", channels) or card.std
    window = _numbers(entries, "window", 3) or card.window
    if len(mean) != channels or len(std) != channels:
        raise ValueError("colour 'grey' needs a mean and a std of one value each")
    if min(std) <= 0 or window[2] <= 0:
        raise ValueError(f"std {list(std)} and window {list(window)}, expected a std and a side above 0")
    if white == 255 and max(std) < 1:
        raise ValueError(f'std {list(std)} belongs to values of 0-1: add "range": 1')
    if white == 1:
        mean, std = (
            tuple(255 * value for value in values) if key in entries else values
            for key, values in (("mean", mean), ("std", std))
        )
    return OnnxCard(cast(Colour, colour), mean, std, cast(Window, window), size, output)


def _numbers(entries: dict[str, Any], key: str, count: int) -> tuple[float, ...] | None:
    """Return a list of ``count`` numbers; None if there is no such entry."""
    if key not in entries:
        return None
    values = entries[key]
    if (
        not isinstance(values, list)
        or len(values) != count
        or not all(type(value) in (int, float) and math.isfinite(value) for value in values)
    ):
        raise ValueError(f"{key} {values!r}, expected a list of {count} numbers")
    return tuple(map(float, values))


# ---- the file


def _read_model(path: Path) -> tuple[Any, str]:
    """Read an ``onnx.ModelProto`` with all weights in it, so that no other file is opened later."""
    import onnx
    from onnx.external_data_helper import load_external_data_for_model, uses_external_data

    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: the ONNX file cannot be read ({error.strerror})") from error
    try:
        model = onnx.load_from_string(content)
    except Exception:  # a class of protobuf
        model = onnx.ModelProto()
    if not model.graph.node:
        raise WeightsError(
            f"{path}: not an ONNX file, or a damaged one (it begins with {content[:16]!r}). "
            "A download that failed often leaves a web page or an empty file: fetch it again"
        )
    outside = [tensor for tensor in _tensors(model) if uses_external_data(tensor)]
    locations = {
        entry.value for tensor in outside for entry in tensor.external_data if entry.key == "location"
    }
    try:
        load_external_data_for_model(model, str(path.parent))  # refuses paths outside the folder
    except Exception as error:  # a C++ exception of no public class, or an OSError
        raise WeightsError(
            f"{path}: its weights lie in {', '.join(sorted(locations))}, which cannot be used "
            f"({_first_line(error)}); put the file that came with it beside it"
        ) from error
    if any(uses_external_data(tensor) for tensor in _tensors(model)):
        raise WeightsError(f"{path}: keeps weights outside in a way that onnx cannot read; store them inside")
    sums = [hashlib.sha256(content).hexdigest()]
    return model, "+".join([*sums, *(sha256_of(path.parent / name) for name in sorted(locations))])


def _tensors(message: Any) -> Iterator[Any]:
    """Yield every ``TensorProto`` in a part of a model, at any depth."""
    from onnx import TensorProto

    if isinstance(message, TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in (value,) if hasattr(value, "ListFields") else value:
                yield from _tensors(part)


def _with_output(path: Path, model: Any, name: str) -> Any:
    """Make the tensor ``name`` the only output of ``model``; if empty, keep its single output."""
    from onnx.helper import make_empty_tensor_value_info

    outputs = [output.name for output in model.graph.output]
    if not name and len(outputs) == 1:
        return model
    if not name:
        raise WeightsError(
            f"{path}: has {len(outputs)} outputs ({', '.join(outputs)}); name the one to take as "
            f'"output" in {path.with_suffix(".json").name}'
        )
    name = _below_classifier(path, model.graph) if name == BELOW_CLASSIFIER else name
    tensors = {tensor: None for node in model.graph.node for tensor in node.output if tensor}
    if name not in tensors:
        nearest = difflib.get_close_matches(name, tensors) or list(tensors)[-5:]
        raise WeightsError(
            f"{path}: has no tensor {name!r}; outputs are {', '.join(outputs)}, other names "
            f"{', '.join(nearest)}"
        )
    del model.graph.output[:]
    model.graph.output.append(make_empty_tensor_value_info(name))
    return model


def _below_classifier(path: Path, graph: Any) -> str:
    """Return the input of the last fully connected layer, which HSEmotion's authors use as features."""
    made_by = {tensor: node for node in graph.node for tensor in node.output}
    node = made_by.get(graph.output[0].name)
    while node is not None and node.op_type in _AFTER_CLASSIFIER:
        # an added bias comes from the weights, not from a node
        node = next((made_by[tensor] for tensor in node.input if tensor in made_by), None)
    if node is None or node.op_type not in ("Gemm", "MatMul"):
        raise WeightsError(
            f"{path}: does not end in a fully connected layer, so nothing is below it; "
            f'name the tensor to take as "output" in {path.with_suffix(".json").name}'
        )
    return str(node.input[0])


# ---- the session


def _session(path: Path, model: bytes, device: torch.device) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that spin while they wait take the cores from other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # errors are raised as exceptions
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda":
        # exact fp32, see precision.py
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0, "use_tf32": 0}))
    try:
        return onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:  # onnxruntime has no common class for its errors
        raise WeightsError(f"{path}: onnxruntime cannot run it ({_first_line(error)})") from error


def _runs_on_cuda() -> bool:
    import onnxruntime

    return torch.cuda.is_available() and "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _only_input(path: Path, session: Any) -> Any:
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _FLOATS:
        found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
        raise WeightsError(
            f"{path}: takes {found}; expected one input of float and shape [N, C, S, S] or [N, S, S, C]"
        )
    return inputs[0]


def _input_size(path: Path, network: OnnxNetwork, card: OnnxCard) -> int:
    """Return the side in pixels, after checking the graph's input against the card."""
    shape = network.input.shape
    channels, *sides = (shape[3], *shape[1:3]) if network.channels_last else shape[1:]
    if _fixed(channels) not in (None, len(card.mean)):
        raise WeightsError(
            f"{path}: takes images of {channels} channels, but the colour is {card.colour!r}; say colour, "
            f"mean and std in {path.with_suffix('.json').name}"
        )
    known = {side for side in (*map(_fixed, sides), card.input_size) if side is not None}
    if len(known) != 1:
        raise WeightsError(
            f"{path}: takes images of {sides[0]}×{sides[1]} pixels and the card says "
            f"{card.input_size or 'nothing'}; expected one size, of a square: "
            f'give it as "input_size" in {path.with_suffix(".json").name}'
        )
    return known.pop()


def _fixed(dimension: Any) -> int | None:
    return dimension if isinstance(dimension, int) and dimension > 0 else None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
