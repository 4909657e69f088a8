"""Audio networks: a speech or log-Mel spectrogram as a sequence of vectors (zhou2019 §2.2, §3.3).

"We extract the feature maps of the audio from the last pooling layer of AlexNet": the map of
``H × W × C`` is split into ``n = H × W`` vectors of ``C = 256`` values, which attention then weights.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..digest import sha256_of
from ..precision import exact_fp32, prepare
from ..stopwatch import NETWORK, clocked
from .audio_spec import DYNAMIC_RANGE_DB, MIN_FRAMES, OF_LOG_MEL, OF_SPECTROGRAM, ROWS, AudioSpec, find_audio
from .spec import IMAGENET_MEAN, IMAGENET_STD
from .weights import CLASS_LAYER, load_into, load_state

# With the trunk's kernels and paddings, vector j sees frames around 32 j + 31.
_STRIDE, _FIRST_CENTRE = 32, 31
_DB_PER_NEPER = 10 / float(np.log(10))  # of power


class AudioBackbone:
    """AlexNet's last pooling map of a log-power spectrogram.

    A spectrogram ``[F, T]`` in dB becomes an image in 0-1: the loudest cell is 1, cells 80 dB or more
    below it are 0. This needs only the clip itself (there are no training set statistics at extraction),
    gives the same result in any run, and removes the recording's gain but not the contours of loudness
    within the clip. The image is repeated to three channels and normalised as AlexNet's ImageNet weights
    expect. Clips under 63 frames are padded with 0 on both sides. The network runs in fp32.

    Attributes:
        spec: name and input of the network.
    """

    spec: ClassVar[AudioSpec] = OF_SPECTROGRAM
    features = 256

    def __init__(
        self, trunk: nn.Module, label: str, weights_sha256: str, device: torch.device | str = "cpu"
    ) -> None:
        self.label = label
        self.weights_sha256 = weights_sha256
        self.device = torch.device(device)
        self._loaded = trunk

    @cached_property
    def _trunk(self) -> nn.Module:
        """The network, moved to the device at the first clip, as the settings need no weights there."""
        with torch.inference_mode(False):
            trunk = prepare(self._loaded, self.device, "fp32")
        del self._loaded
        return trunk

    @clocked(NETWORK)
    @torch.inference_mode()
    def __call__(
        self, spectrogram: Tensor | np.ndarray, hop: float = 0.01, first: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return ``(vectors [n, 256] float32, times [n] float64)``, both on the CPU.

        ``spectrogram`` is ``[F bins, T frames]`` in dB; ``hop`` and the centre of the ``first`` frame (by
        default the class's) are in seconds. With F = 200 bins, ``n = 5 * (max(T - 63, 0) // 32 + 1)``.
        Vectors are in time order: the H vectors of one step, from low bins to high, share a time (s), the
        middle of the frames that they see.

        Raises :class:`ValueError` if ``spectrogram`` is not two-dimensional, has fewer than 63 bins or no
        frame, or has values that are not finite.
        """
        picture, left = self._picture(torch.as_tensor(spectrogram, dtype=torch.float32).to(self.device))
        with exact_fp32():
            maps: Tensor = self._trunk(picture[None])
        _, depth, height, width = maps.shape
        vectors = maps.permute(0, 3, 2, 1).reshape(width * height, depth)
        frames = torch.arange(width, dtype=torch.float64) * _STRIDE + _FIRST_CENTRE - left
        start = self.spec.first if first is None else first
        return vectors.cpu(), (start + hop * frames).repeat_interleave(height)

    def _picture(self, values: Tensor) -> tuple[Tensor, int]:
        """Return the input ``[3, F, T]``, of at least 63 frames, and how many were padded before its own."""
        decibels, left = pad_to_minimum(_checked(values))
        return as_picture(decibels), left

    def settings(self) -> dict[str, Any]:
        """Return all settings that affect the vectors, for their key."""
        return self.spec.settings(self.weights_sha256)


class LogMelBackbone(AudioBackbone):
    """The same map of a log-Mel spectrogram ``[3, 40, T]``, with its rows, their Δ and ΔΔ as three colours.

    zhou2019 §3.3, "We also use log Mel-spectrogram for audio CNN", does not say how. Here the first colour is
    scaled like a spectrogram: the loudest cell is 1, 80 dB less is 0. In the others, a slope of 0 is 0.5, and
    the clip's steepest is 0 or 1. The last pooling needs at least 63 rows, so the 40 rows are stretched
    (bilinear) to the 200 of a spectrogram, which also gives as many vectors. Clips under 63 frames are padded
    with silence of slope 0.
    """

    spec = OF_LOG_MEL

    def _picture(self, values: Tensor) -> tuple[Tensor, int]:
        if values.ndim != 3 or len(values) != 3 or not values.shape[1] or not values.shape[2]:
            raise ValueError(f"expected a log-Mel spectrogram [3, F, T frames], got {list(values.shape)}")
        _require_finite(values)
        decibels, left = pad_to_minimum(values[0] * _DB_PER_NEPER)
        slopes = F.pad(values[1:], (left, decibels.shape[1] - values.shape[2] - left))
        steepest = slopes.abs().amax((-2, -1), keepdim=True)
        slopes = 0.5 + slopes / (2 * (steepest + (steepest == 0)))
        picture = torch.cat([_brightness(decibels)[None], slopes])
        size = (ROWS, picture.shape[2])
        return _normalised(F.interpolate(picture[None], size, mode="bilinear", align_corners=False)[0]), left


AUDIO_BACKBONES = {kind.spec.name: kind for kind in (AudioBackbone, LogMelBackbone)}


def load_audio_backbone(text: str, device: torch.device | str = "cpu") -> AudioBackbone:
    """Load the audio network ``NAME``, ``NAME@FILE`` or ``NAME@TAG`` (:func:`.weights_folder.find`).

    Raises :class:`ExtractError` if the name is unknown, and :class:`WeightsError` if no file is given or
    found, or it is not a checkpoint of torchvision's AlexNet or of ``avemo pretrain audio``.
    """
    name, path, label = find_audio(text)
    from torchvision.models import alexnet

    with torch.device("meta"):
        trunk = nn.Sequential()
        trunk.add_module("features", alexnet(weights=None).features)
    load_into(trunk, load_state(path), name, path, ignored=("classifier.", CLASS_LAYER))
    return AUDIO_BACKBONES[name](trunk, label, sha256_of(path), device)


def _checked(values: Tensor) -> Tensor:
    if values.ndim != 2 or values.shape[0] < MIN_FRAMES or values.shape[1] == 0:
        raise ValueError(
            f"expected a spectrogram [F bins, T frames] of at least {MIN_FRAMES} bins and 1 frame, "
            f"got {list(values.shape)}"
        )
    _require_finite(values)
    return values


def _require_finite(values: Tensor) -> None:
    if not torch.isfinite(values).all():
        raise ValueError("the spectrogram has values that are not finite: take the logarithm with a floor")


def as_picture(decibels: Tensor) -> Tensor:
    """Convert ``[..., F, T]`` dB to ``[..., 3, F, T]``, as AlexNet's ImageNet weights expect it.

    A cell of minus infinity (no sound at all) is as dark as one 80 dB below the loudest.
    """
    return _normalised(_brightness(decibels).unsqueeze(-3))


def _brightness(decibels: Tensor) -> Tensor:
    """Scale ``[..., F, T]`` dB to 0-1."""
    loudest = decibels.amax((-2, -1), keepdim=True)
    return ((decibels - loudest) / DYNAMIC_RANGE_DB + 1).clamp(min=0)


def _normalised(image: Tensor) -> Tensor:
    """Normalise ``[..., 3, F, T]`` of 0-1 as AlexNet's ImageNet weights expect it."""
    mean, std = (
        torch.tensor(values, device=image.device).reshape(3, 1, 1) / 255
        for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return (image - mean) / std


def pad_to_minimum(decibels: Tensor) -> tuple[Tensor, int]:
    """Pad ``[F, T]`` dB with silence to ``MIN_FRAMES`` frames; also return how many come before its own."""
    short = max(MIN_FRAMES - decibels.shape[1], 0)
    left = short // 2
    return F.pad(decibels, (left, short - left), value=-torch.inf), left
