"""Networks named in a plan: their labels and key settings, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..digest import sha256_of
from ..errors import WeightsError
from .audio_spec import audio_spec, find_audio
from .registry import get
from .spec import ONNX, TIMM, as_it_is
from .weights import file_kind
from .weights_folder import find


@dataclass(frozen=True)
class PlannedNetwork:
    """A network that need not be loaded yet.

    Attributes:
        text: name as given by the user.
        label: name of its streams.
        settings: all settings that affect its values.
        reads: stream that an audio network reads.
    """

    text: str
    label: str
    settings: Mapping[str, Any]
    reads: str = ""


def planned_backbone(text: str, device: str, precision: str) -> PlannedNetwork:
    """Describe what :func:`.backbone.load_backbone` would load, without checking that the file fits.

    A network that depends on its file (ONNX, timm, IR-50) is loaded.

    Raises:
        ExtractError: the name or precision is unknown, or there is no such file.
    """
    name, _, wanted = text.partition("@")
    if name == ONNX or name.startswith(TIMM) or get(name).of_checkpoint is not as_it_is:
        from .backbone import load_backbone

        network = load_backbone(text, device, precision)
        return PlannedNetwork(text, network.label, network.settings())
    spec = get(name)
    path, label = find(name, wanted, spec.default_weights, spec.twin)
    settings = spec.settings(_sha256(path), spec.resolved(precision, device))
    return PlannedNetwork(text, label, settings)


def planned_audio_backbone(text: str) -> PlannedNetwork:
    """Describe what :func:`.audio.load_audio_backbone` would load; see :func:`planned_backbone`."""
    name, path, label = find_audio(text)
    spec = audio_spec(name)
    return PlannedNetwork(text, label, spec.settings(_sha256(path)), spec.reads)


def _sha256(path: Path) -> str:
    file_kind(path)  # fails at once if this cannot be a weights file
    try:
        return sha256_of(path)
    except OSError as error:
        raise WeightsError(f"{path}: the weights file cannot be read ({error.strerror})") from error
