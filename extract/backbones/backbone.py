"""A face network with its weights, ready to run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..precision import DTYPES, Precision, prepare, resolve_precision
from .registry import get
from .spec import BackboneSpec
from .weights import WeightsError, load_into, weights_sha256


class Backbone:
    """``[N, S, S, 3]`` uint8 RGB views → ``[N, D]`` float32 features on the CPU.

    ``S`` is ``spec.input_size``, ``D`` is ``spec.features``. Views go to the device as bytes and are
    normalised there. In bf16, weights and maps are bf16 and only the result is cast back.
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
        self.precision: Precision = resolve_precision(precision, self.device, spec.bf16)
        self._module = prepare(module, self.device, self.precision)
        self._mean = torch.tensor(spec.mean, device=self.device)
        self._std = torch.tensor(spec.std, device=self.device)

    @torch.inference_mode()
    def __call__(self, views: Tensor | np.ndarray) -> Tensor:
        """Raises :class:`ValueError` where ``views`` is not uint8 ``[N, S, S, 3]``."""
        views = self._checked(views)
        if len(views) == 0:
            return torch.empty(0, self.spec.features)
        features: Tensor = self._module(self._normalised(views))
        return features.float().cpu()

    def settings(self) -> dict[str, str | int | float | list[float]]:
        """All that decides the features' values, for their provenance."""
        return {
            "name": self.spec.name,
            "weights_sha256": self.weights_sha256,
            "layer": self.spec.layer,
            "input_size": self.spec.input_size,
            "colour": self.spec.colour,
            "mean": list(self.spec.mean),
            "std": list(self.spec.std),
            "precision": self.precision,
        }

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
        views = views.to(self.device)
        if self.spec.colour == "bgr":
            views = views.flip(-1)
        # fp32 here even for bf16: a mean such as 129.19 would lose its fraction.
        values = views.to(torch.float32).sub_(self._mean).div_(self._std)
        # [N, H, W, 3] seen as [N, 3, H, W] is the channels-last layout already.
        return values.to(DTYPES[self.precision]).permute(0, 3, 1, 2)


def load_backbone(text: str, device: torch.device | str = "cpu", precision: str = "auto") -> Backbone:
    """The backbone that ``NAME`` or ``NAME@FILE`` stands for.

    Raises :class:`ExtractError` on an unknown name or precision, and :class:`WeightsError` where the
    network needs a file and none is given, or the file is not a checkpoint of it.
    """
    name, _, file = text.partition("@")
    spec = get(name)
    path = Path(file).expanduser() if file else _default_weights(spec)
    with torch.device("meta"):
        module = spec.build()
    load_into(module, spec.read(path), spec.name, path, spec.classifier)
    label = f"{name}@{path.stem}" if file else name
    return Backbone(spec, module, label, weights_sha256(path), device, precision)


def random_backbone(
    name: str, seed: int = 0, device: torch.device | str = "cpu", precision: str = "auto"
) -> Backbone:
    """The network ``name`` with random weights, for benchmarks and tests: its features mean nothing."""
    spec = get(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = spec.build()
    return Backbone(spec, module, f"{name}@random-{seed}", f"random-{seed}", device, precision)


def _default_weights(spec: BackboneSpec) -> Path:
    if spec.default_weights is None:
        raise WeightsError(
            f"the backbone {spec.name!r} needs a weights file: give it as {spec.name}@FILE, "
            f"FILE being {spec.checkpoint}"
        )
    return spec.default_weights()
