"""8-bit integer convolutions on the CPU, by torch's oneDNN operations.

A convolution maps codes to codes: bytes that represent ``(code - zero) * step``. ReLU and the sum at the end
of a residual block are fused into it. Weights have 7 bits, because processors without VNNI add products in
pairs in 16 bits, which 8-bit weights would overflow.

The range of each feature map is calibrated by the batch norms, which know mean and deviation over the
network's training data. In training mode they impose these on any input, so synthetic pictures are enough and
no faces are needed. Codes cover 1.5 times the observed range, to leave room for other inputs.
"""

from __future__ import annotations

import copy
import math
import operator
import platform
from threading import RLock
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from tqdm import tqdm

from .errors import ExtractError
from .precision import fold_batch_norms

LARGEST_WEIGHT = 63
LARGEST_CODE = 255
RANGE_MARGIN = 1.5  # range covered by codes, as a multiple of the observed range
PICTURES = 16
_RELU, _ADD = (torch.relu, F.relu), (operator.add, operator.iadd, torch.add)

Range = tuple[float, float]


class Code(NamedTuple):
    """A quantisation: a byte represents ``(byte - zero) * step``."""

    step: float
    zero: int

    @classmethod
    def of(cls, value_range: Range) -> Code:
        low, high = (_rounded(RANGE_MARGIN * value) for value in value_range)
        step = max(high - low, 1e-6) / LARGEST_CODE
        return cls(step, round(-low / step))


def in_int8(module: nn.Module, pictures: Tensor) -> nn.Module:
    """Return ``module`` with batch norms folded into its convolutions, and these in 8-bit integers.

    Args:
        module: the network, with a batch norm after each convolution; it is modified.
        pictures: calibration pictures of :func:`calibration_pictures`, normalised for the network.

    Raises:
        ExtractError: this machine lacks the operations.
    """
    if platform.machine().lower() not in ("x86_64", "amd64") or not hasattr(
        torch.ops.onednn, "qconv2d_pointwise"
    ):
        raise ExtractError("precision int8 needs an x86 processor and a torch with oneDNN; use auto")
    value_ranges = ranges(module, pictures)
    graph = fold_batch_norms(module.eval().requires_grad_(False))
    assert isinstance(graph, fx.GraphModule)  # tracing has worked in ranges()
    return _Rewriter(graph, value_ranges).rewrite()


def calibration_pictures(side: int) -> np.ndarray:
    """Return calibration pictures ``[N, S, S, 3]`` uint8: blobs of all sizes, mostly dark to mostly bright.

    They are identical on every machine and in every version, as the quantised values depend on them.
    """
    random = np.random.RandomState(0)
    sizes = [size for size in (3, 6, 12, 24) if size < side] + [side]
    noise = [torch.from_numpy(random.standard_normal((PICTURES, 3, size, size))) for size in sizes]
    upsampled = [F.interpolate(each, (side, side), mode="bilinear") for each in noise]
    values = (torch.stack(upsampled).sum(0) * 0.18 + 0.5).clamp(0, 1)
    powers = torch.logspace(-1, 1, PICTURES, base=6, dtype=torch.float64)
    values = values ** powers[:, None, None, None]
    return (255 * values).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def ranges(module: nn.Module, pictures: Tensor) -> dict[str, Range]:
    """Return the range of each feature map, by its node's name in the graph without batch norms."""
    graph = fx.symbolic_trace(copy.deepcopy(module).double().eval())
    for part in graph.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.train()
    recorder = _RangeRecorder(graph)
    # The interpreter creates a progress bar, never shown, whose default lock is a semaphore that a killed
    # worker would leave behind.
    tqdm.set_lock(RLock())
    with torch.no_grad():
        # Processors round differently; in 64 bits the differences are too small to change the rounded ranges.
        recorder.run(pictures.double())
    return recorder.ranges


class _RangeRecorder(fx.Interpreter):
    """Runs a graph and records the range of each node's values."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.ranges: dict[str, Range] = {}

    def run_node(self, node: fx.Node) -> Any:
        value = super().run_node(node)
        if isinstance(value, Tensor) and value.is_floating_point():
            low, high = value.aminmax()
            # A batch norm is folded into the convolution before it.
            owner = _input_of(node) if _is_module(self.module, node, nn.BatchNorm2d) else node
            self.ranges[owner.name] = (min(float(low), 0.0), max(float(high), 0.0))
        return value


class _Fused(NamedTuple):
    """The nodes fused into a convolution: the last one, the sum and its other summand, and whether a ReLU."""

    last: fx.Node
    add: fx.Node | None
    other: fx.Node | None
    relu: bool


class _Rewriter:
    """Rewrites a graph to 8-bit integers."""

    def __init__(self, module: fx.GraphModule, value_ranges: dict[str, Range]) -> None:
        self._module, self._graph, self._ranges = module, module.graph, value_ranges
        self._place = {node: place for place, node in enumerate(self._graph.nodes)}
        self._codes: dict[fx.Node, tuple[fx.Node, Code]] = {}
        self._fused: dict[fx.Node, _Fused] = {}
        for node in self._graph.nodes:
            if _is_module(module, node, nn.Conv2d) and self._convolution(node).groups == 1:
                self._fused[node] = self._fused_nodes(node)

    def rewrite(self) -> fx.GraphModule:
        lasts = {fused.last: node for node, fused in self._fused.items()}
        for node in list(self._graph.nodes):
            if node in lasts:
                self._convolve(lasts[node], self._fused[lasts[node]])
        self._graph.eliminate_dead_code()
        self._module.delete_all_unused_submodules()
        self._module.recompile()
        return self._module

    def _fused_nodes(self, node: fx.Node) -> _Fused:
        last, add, other = node, None, None
        after = _only_user(node)
        if after is not None and after.target in _ADD and len(after.all_input_nodes) == 2:
            summand = next(each for each in after.all_input_nodes if each is not node)
            if self._may_overwrite(summand, node, after):
                last, add, other, after = after, after, summand, _only_user(after)
        relu = after is not None and (_is_module(self._module, after, nn.ReLU) or after.target in _RELU)
        return _Fused(after if relu and after is not None else last, add, other, relu)

    def _may_overwrite(self, summand: fx.Node, node: fx.Node, add: fx.Node) -> bool:
        """Whether the fused sum may overwrite ``summand``: no later node reads it and ``add`` is unfused."""
        if any(fused.add is add for fused in self._fused.values()):
            return False
        before = self._place[node]
        needed = [self._fused[user].last if user in self._fused else user for user in summand.users]
        return all(user is add or self._place[user] < before for user in needed)

    def _convolve(self, node: fx.Node, fused: _Fused) -> None:
        last = fused.last
        codes, input_code = self._encoded(_input_of(node), last)
        inputs, other_code = [codes], None
        if fused.other is not None:
            other, other_code = self._encoded(fused.other, last)
            inputs.append(other)
        feeds_codes = fused.other is not None or any(self._takes_codes(user) for user in last.users)
        code = Code.of(self._ranges[last.name]) if feeds_codes else None
        convolution = _Convolution(self._convolution(node), input_code, code, other_code, fused.relu)
        self._module.add_submodule(f"{node.name}_int8", convolution)
        with self._graph.inserting_before(last):
            result = self._graph.call_module(f"{node.name}_int8", tuple(inputs))
        self._replace(last, result, code)

    def _replace(self, node: fx.Node, result: fx.Node, code: Code | None) -> None:
        """Replace a node by its result, decoded for users that take no codes; dead code is removed later."""
        if code is not None:
            self._codes[node] = (result, code)
            with self._graph.inserting_after(result):
                result = self._graph.call_function(decode, (result, *code))
        for user in list(node.users):
            if not self._takes_codes(user):
                user.replace_input_with(node, result)

    def _convolution(self, node: fx.Node) -> nn.Conv2d:
        return cast(nn.Conv2d, self._module.get_submodule(str(node.target)))

    def _takes_codes(self, node: fx.Node) -> bool:
        return node in self._fused or any(fused.add is node for fused in self._fused.values())

    def _encoded(self, node: fx.Node, before: fx.Node) -> tuple[fx.Node, Code]:
        if node not in self._codes:
            code = Code.of(self._ranges[node.name])
            with self._graph.inserting_before(before):
                self._codes[node] = (self._graph.call_function(encode, (node, *code)), code)
        return self._codes[node]


class _Convolution(nn.Module):
    """A convolution from codes to codes, or to values if ``output_code`` is None."""

    def __init__(
        self,
        convolution: nn.Conv2d,
        input_code: Code,
        output_code: Code | None,
        other: Code | None,
        relu: bool,
    ) -> None:
        super().__init__()
        weight = convolution.weight.detach().float()
        self._steps = weight.abs().amax((1, 2, 3)).clamp(min=1e-12) / LARGEST_WEIGHT
        self._weight = (weight / self._steps[:, None, None, None]).round().to(torch.int8)
        self._bias = None if convolution.bias is None else convolution.bias.detach().float()
        self._input_code, self._other, self._relu = input_code, other, "relu" if relu else "none"
        self._result = (*output_code, torch.uint8) if output_code else (1.0, 0, torch.float32)
        self._shape = (
            list(convolution.stride),
            list(convolution.padding),
            list(convolution.dilation),
            convolution.groups,
        )
        self._packed: Tensor | None = None

    def forward(self, codes: Tensor, other: Tensor | None = None) -> Tensor:
        if self._packed is None:  # in oneDNN's layout for maps of this size
            self._packed = torch.ops.onednn.qconv_prepack(
                self._weight, self._steps, *self._input_code, *self._shape, list(codes.shape)
            )
        step, zero, dtype = self._result
        arguments = {
            "qx": codes,
            "x_scale": self._input_code.step,
            "x_zero_point": self._input_code.zero,
            "qw": self._packed,
            "w_scale": self._steps,
            "w_zero_point": torch.zeros(len(self._steps), dtype=torch.int64),
            "bias": self._bias,
            **dict(zip(("stride", "padding", "dilation", "groups"), self._shape, strict=True)),
            "output_scale": step,
            "output_zero_point": zero,
            "output_dtype": dtype,
        }
        convolve = torch.ops.onednn.qconv2d_pointwise
        if other is None:
            result: Tensor = convolve.default(**arguments, attr=self._relu, scalars=[], algorithm="")
            return result
        assert self._other is not None
        summed: Tensor = convolve.binary(
            **arguments,
            qaccum=other,
            accum_scale=self._other.step,
            accum_zero_point=self._other.zero,
            binary_attr="sum",
            alpha=1.0,
            unary_attr=self._relu,
            unary_scalars=[],
            unary_algorithm="",
        )
        return summed


def encode(values: Tensor, step: float, zero: int) -> Tensor:
    """Quantise values to codes; values out of range are clipped."""
    codes = (values * (1 / step)).add_(zero).round_().clamp_(0, LARGEST_CODE)
    return codes.to(torch.uint8).contiguous(memory_format=torch.channels_last)


def decode(codes: Tensor, step: float, zero: int) -> Tensor:
    """Return the values that codes represent."""
    return (codes.float() - zero) * step


def _is_module(module: fx.GraphModule | nn.Module, node: fx.Node, kind: type[nn.Module]) -> bool:
    return node.op == "call_module" and isinstance(module.get_submodule(str(node.target)), kind)


def _input_of(node: fx.Node) -> fx.Node:
    return node.all_input_nodes[0]


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _rounded(value: float) -> float:
    """Round away from zero to an eighth of a power of two, so that rounding errors do not matter."""
    return math.copysign(2 ** (math.ceil(8 * math.log2(abs(value))) / 8), value) if value else 0.0
