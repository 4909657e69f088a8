"""Recordings as training samples."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .audio_changes import disturbed, draw_masks, stretch
from .audio_network import AudioNetwork, joined
from .recipe import AudioChanges
from .recordings import PackedRecordings


class AudioSamples:
    """Recordings as :class:`.samples.Samples`: excerpts for training, whole recordings for evaluation.

    Inputs are ``[B, T, D + 1]``, padded to the longest; see :func:`.audio_network.joined`.

    Args:
        packed: recordings.
        network: network that reads them.
        changes: augmentation for training.
    """

    at_once = 16  # whole recordings, padded to the longest

    def __init__(self, packed: PackedRecordings, network: AudioNetwork, changes: AudioChanges) -> None:
        self.classes, self.labels = packed.classes, packed.labels
        self.full_size = changes.frames
        self._sounds, self._network, self._changes = packed.sounds, network, changes

    def size(self, epoch: int) -> int:
        return self.full_size

    def changed(
        self, rows: np.ndarray, epoch: int, generator: torch.Generator, device: torch.device
    ) -> Tensor:
        reads, changes = self._network.reads, self._changes
        most = reads.samples(changes.frames)
        stretches = [stretch(self._sounds[row], most, changes, generator) for row in rows]
        lengths = torch.tensor([len(sound) for sound in stretches], device=device)
        sounds = pad_sequence([torch.from_numpy(sound) for sound in stretches], batch_first=True).to(device)
        frames = reads.frames(lengths)
        values = reads.of_batch(disturbed(sounds, lengths, changes, generator), frames)
        mask = torch.arange(values.shape[1], device=device) < frames.unsqueeze(1)
        unmasked = draw_masks(mask, reads.bins, reads.rate, changes, generator)
        return joined(self._network.prepared(values, mask) * unmasked, mask)

    def plain(self, rows: np.ndarray, size: int, device: torch.device) -> Tensor:
        """Return whole recordings, whatever the ``size``."""
        inputs = [self._network.plain(self._sounds[row]) for row in rows]
        return pad_sequence(inputs, batch_first=True).to(device)
