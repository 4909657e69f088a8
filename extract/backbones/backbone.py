"""A face network with its weights, ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..device_errors import InBatches
from ..digest import sha256_of
from ..errors import WeightsError
from ..precision import Precision, dtype_of, exact_fp32, prepare, resolve_precision
from ..stopwatch import NETWORK, clocked
from .recognise import nearest, recognise
from .registry import get
from .spec import ONNX, BackboneSpec
from .weights import CLASS_LAYER, load_into
from .weights_folder import find

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a pixel's grey value (ITU-R BT.601, as in image decoders)."""


class Backbone:
    """``[N, S, S, 3]`` uint8 RGB views → ``[N, D]`` float32 features on the CPU.

    ``S`` is ``spec.input_size``, ``D`` is ``spec.features``. Views are sent to the device as bytes and
    normalised there. In bf16, weights and maps are bf16 and only the result is cast back. The weights are
    moved to the device with the first views, so that a process that only needs the settings uses no memory
    there. A batch that does not fit into the device's memory is run in halves.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        module: nn.Module,
        label: str,
        weights_sha256: str,
        device: torch.device | str = "cpu",
        precision: str = "auto",
    ) -> None:
        self.spec = spec
        self.label = label
        self.weights_sha256 = weights_sha256
        self.device = torch.device(device)
        self.precision: Precision = spec.resolved(precision, self.device)
        self._loaded = module
        self._in_batches = InBatches()

    @clocked(NETWORK)
    def __call__(self, views: Tensor | np.ndarray) -> Tensor:
        """Compute features; raise :class:`ValueError` if ``views`` is not uint8 ``[N, S, S, 3]``."""
        return self.on_device(views).cpu()

    @clocked(NETWORK)
    @torch.inference_mode()
    def on_device(self, views: Tensor | np.ndarray) -> Tensor:
        """Compute features as the call does, but leave them on the device."""
        views = self._checked(views)
        if len(views) == 0:
            return torch.empty(0, self.spec.features, device=self.device)
        with exact_fp32():
            return self._in_batches(self._features, views)

    def settings(self) -> dict[str, Any]:
        """Return all settings that affect the features, for their key."""
        return self.spec.settings(self.weights_sha256, self.precision)

    @cached_property
    def _module(self) -> nn.Module:
        with torch.inference_mode(False):
            module = self._in_int8() if self.precision == "int8" else self._loaded
            module = prepare(module, self.device, self.precision)
        del self._loaded
        return module

    def _in_int8(self) -> nn.Module:
        from ..int8 import calibration_pictures, in_int8

        pictures = torch.from_numpy(calibration_pictures(self.spec.input_size))
        return in_int8(self._loaded, self._normalised(pictures))

    @cached_property
    def _constants(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, standard deviation and luma on the device."""
        mean, std, luma = (
            torch.tensor(values, device=self.device) for values in (self.spec.mean, self.spec.std, LUMA)
        )
        return mean, std, luma

    def _features(self, views: Tensor) -> Tensor:
        features: Tensor = self._module(self._normalised(views))
        return features.float()

    def _checked(self, views: Tensor | np.ndarray) -> Tensor:
        if isinstance(views, np.ndarray):
            views = torch.from_numpy(np.require(views, requirements=("C", "W")))
        size = self.spec.input_size
        if views.dtype != torch.uint8 or views.ndim != 4 or tuple(views.shape[1:]) != (size, size, 3):
            raise ValueError(
                f"{self.label} expects views of uint8 and shape [N, {size}, {size}, 3], "
                f"got {views.dtype} and {list(views.shape)}"
            )
        return views

    def _normalised(self, views: Tensor) -> Tensor:
        mean, std, luma = self._constants
        views = views.to(self.device)
        if self.spec.colour == "bgr":
            views = views.flip(-1)
        # fp32 here even for bf16: a mean such as 129.19 would lose its fraction.
        values = views.to(torch.float32)
        if self.spec.colour == "grey":
            values = (values @ luma)[..., None]
        values = values.sub_(mean).div_(std)
        # [N, H, W, 3] viewed as [N, 3, H, W] is the channels-last layout already.
        return values.to(dtype_of(self.precision)).permute(0, 3, 1, 2)


def load_backbone(text: str, device: torch.device | str = "cpu", precision: str = "auto") -> Backbone:
    """Load the backbone ``NAME``, ``NAME@FILE`` or ``NAME@TAG`` (:func:`.weights_folder.find`).

    ``onnx@FILE.onnx`` always runs in fp32.

    Raises :class:`ExtractError` if the name or precision is unknown, and :class:`WeightsError` if the
    network needs a file and none is given or found, or the file is not a checkpoint of it.
    """
    name, _, wanted = text.partition("@")
    if name == ONNX and wanted:
        return _load_onnx(*find(name, wanted), device, precision)
    spec = get(name)
    path, label = find(name, wanted, spec.default_weights, spec.twin)
    state = spec.read(path)
    spec = spec.of_checkpoint(spec, state)
    with torch.device("meta"):
        module = spec.build()
    try:
        load_into(module, state, spec.name, path, (*spec.classifier, CLASS_LAYER))
    except WeightsError as error:
        raise WeightsError(_other_network(spec.name, path, state) or f"{error}. {nearest(state)}") from error
    return Backbone(spec, module, label, sha256_of(path), device, precision)


def _other_network(name: str, path: Path, state: Mapping[str, Tensor]) -> str:
    """Return the error for weights of another network; empty if they fit none."""
    fits = [fit.architecture for fit in recognise(state) if fit.complete]
    if not fits:
        return ""
    return f"{path}: not weights of {name!r}, but of {' or '.join(fits)}; give it as {fits[0]}@{path}"


def _load_onnx(path: Path, label: str, device: torch.device | str, precision: str) -> Backbone:
    from . import onnx_net

    resolve_precision(precision, device)  # an unknown precision is an error, even if unused
    spec, network, sha256 = onnx_net.open_onnx(path)
    return Backbone(spec, network, label, sha256, device, "fp32")


def random_backbone(
    name: str, seed: int = 0, device: torch.device | str = "cpu", precision: str = "auto"
) -> Backbone:
    """Build the network ``name`` with random weights, for benchmarks and tests; features are meaningless."""
    spec = get(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = spec.build()
    return Backbone(spec, module, f"{name}@random-{seed}", f"random-{seed}", device, precision)
