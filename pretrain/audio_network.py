"""Audio classifiers: an encoder of stage 1 or of a head, with its input and a classification layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from ..extract.backbones.audio import as_picture, pad_to_minimum
from ..fusion.heads.attention import TransformerAttention, weighted_mean
from ..fusion.heads.encoders import ConvolutionalEncoder
from ..fusion.training.batches import Padded
from .audio_inputs import AudioInput, input_named
from .classifier import Classifier
from .errors import PretrainError
from .recordings import Sounds

NETWORKS = ("alexnet", "fcn")
POOLINGS = ("attention", "mean")


@dataclass(frozen=True)
class AudioNetwork:
    """An audio network without its weights.

    ``alexnet`` is stage 1's audio network: AlexNet over a spectrogram as a three-colour picture, which gives
    n vectors of 256 values. ``fcn`` is zhou2021's 1D-ABFCN: the same layers over standardised values, with or
    without LRN, and with the bins pooled to one.

    Attributes:
        name: one of :data:`NETWORKS`.
        input: one of :data:`.audio_inputs.INPUTS`.
        lrn: whether ``fcn`` uses LRN; ``alexnet`` never does.
        pooling: pooling of the vectors over time, one of :data:`POOLINGS`.
        temperature: λ of the attention (zhou2021 eq. 4).
        mean, std: mean and deviation of each of a frame's D values in the training recordings, for ``fcn``.

    Raises:
        PretrainError: a setting is unknown, or contradicts another.
    """

    name: str = "alexnet"
    input: str = "spectrogram"
    lrn: bool = False
    pooling: str = "attention"
    temperature: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in NETWORKS:
            raise PretrainError(f"no audio network is called {self.name!r}: expected {' or '.join(NETWORKS)}")
        if self.pooling not in POOLINGS:
            raise PretrainError(
                f"vectors cannot be pooled by {self.pooling!r}: expected {' or '.join(POOLINGS)}"
            )
        if self.pictures and self.reads.channels != 1:
            raise PretrainError(f"alexnet reads only spectrograms: for {self.input}, use fcn")
        if self.pictures and self.lrn:
            raise PretrainError("alexnet has no local response normalisation: use fcn")
        sizes = {len(self.mean), len(self.std)}
        if sizes not in ({0}, {self.reads.channels * self.reads.bins}) or min(self.std, default=1.0) <= 0:
            raise PretrainError(f"expected one mean and one deviation above 0 for each value of {self.input}")

    @property
    def pictures(self) -> bool:
        """Whether its inputs are pictures, each normalised on its own."""
        return self.name == "alexnet"

    @property
    def reads(self) -> AudioInput:
        return input_named(self.input)

    def fitted_to(self, sounds: Sounds, rows: Iterable[int], on_sound: Callable[[], object]) -> AudioNetwork:
        """Return the network with the mean and deviation of these sounds; constant values get deviation 1."""
        if self.pictures:
            return self
        count, total, squares = 0, np.zeros(()), np.zeros(())
        for row in rows:
            values = self.reads.of(sounds[row]).astype(np.float64)
            count += len(values)
            total, squares = total + values.sum(0), squares + (values**2).sum(0)
            on_sound()
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - mean**2, 0))
        std = np.where(std > 1e-6 * np.abs(mean) + 1e-12, std, 1)
        return replace(self, mean=tuple(mean.ravel().tolist()), std=tuple(std.ravel().tolist()))

    def classifier(self, classes: int, dropout: float = 0.0) -> Classifier:
        """Build the network with random weights; its inputs are those of :meth:`plain` and :func:`joined`."""
        reads = self.reads
        if self.pictures:
            encoder = ConvolutionalEncoder(3 * reads.bins, 3, pooled=False, lrn=False)
        else:
            encoder = ConvolutionalEncoder(reads.channels * reads.bins, reads.channels, lrn=self.lrn)
        temperature = self.temperature if self.pooling == "attention" else None
        return Classifier(PooledEncoder(encoder, temperature), encoder.out_features, classes, dropout)

    def prepared(self, values: Tensor, mask: Tensor) -> Tensor:
        """Normalise the input ``[B, T, K, F]`` to ``[B, T, C, F]``; zero outside ``mask`` ``[B, T]``."""
        inside = mask[:, :, None, None]
        if self.pictures:
            cells = values.masked_fill(~inside, -torch.inf).squeeze(2)
            normalised = as_picture(cells.transpose(1, 2)).permute(0, 3, 1, 2)
        else:
            mean, std = (
                torch.tensor(v, device=values.device).reshape(values.shape[2:]) for v in (self.mean, self.std)
            )
            normalised = (values - mean) / std
        return torch.where(inside, normalised, 0.0)

    def plain(self, sound: np.ndarray) -> Tensor:
        """Return the network's input ``[T, D + 1]`` for one sound, as in stage 1; see :func:`joined`."""
        values = torch.from_numpy(self.reads.of(sound))
        if self.pictures:
            values = pad_to_minimum(values.squeeze(1).T)[0].T.unsqueeze(1)
        mask = torch.ones(1, len(values), dtype=torch.bool)
        return joined(self.prepared(values.unsqueeze(0), mask), mask)[0]


def joined(prepared: Tensor, mask: Tensor) -> Tensor:
    """Join ``[B, T, C, F]`` and the mask ``[B, T]`` to ``[B, T, C F + 1]``, with the mask as last value."""
    return torch.cat([prepared.flatten(2), mask.unsqueeze(2).to(prepared.dtype)], dim=2)


class PooledEncoder(nn.Module):
    """``[B, T, D + 1]`` (see :func:`joined`) → one vector each, ``[B, 256]``.

    Args:
        encoder: encoder with one vector every 32 frames.
        temperature: λ of the pooling attention; None for the mean.
    """

    def __init__(self, encoder: ConvolutionalEncoder, temperature: float | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.attention = (
            None
            if temperature is None
            else TransformerAttention(encoder.out_features, temperature=temperature)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        values, mask = inputs[..., :-1], inputs[..., -1] > 0  # a fractional frame, from mixup, counts as one
        vectors = self.encoder(Padded(values, mask, torch.zeros_like(inputs[..., -1])))
        if self.attention is None:
            return weighted_mean(vectors.values, vectors.mask.to(vectors.values.dtype))
        pooled: Tensor = self.attention(vectors.values, vectors.mask)
        return pooled
