"""Streams named after audio networks: their vectors of a spectrogram."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from ...cache.keys import FeatureKey
from ...cache.writer import Outcome
from ..backbones.planned import PlannedNetwork
from ..networks import audio_networks_at_hand, planned_audio_networks
from ..plan import Plan
from .base import ClipSound, Settings, SoundStream
from .logmel import LOG_MEL, log_mel_blocks
from .spectrogram import SPECTROGRAM, spectrogram_blocks

SPECTRA: Mapping[str, Callable[..., Iterator[np.ndarray]]] = {
    SPECTROGRAM: spectrogram_blocks,
    LOG_MEL: log_mel_blocks,
}


class AudioNetworkStream(SoundStream):
    """``vectors`` ``[n, D]`` of one audio network, in time order; several share a time."""

    def __init__(self, plan: Plan, network: PlannedNetwork) -> None:
        super().__init__(plan)
        self._network = network

    @classmethod
    def planned(cls, plan: Plan) -> Sequence[SoundStream]:
        return [cls(plan, network) for network in planned_audio_networks(plan)]

    def settings(self, others: Settings) -> Settings:
        return {self._network.label: {**others[self._network.reads], **self._network.settings}}

    def load(self) -> None:
        audio_networks_at_hand(self.plan)

    def make(self, sound: ClipSound, wanted: Mapping[str, FeatureKey]) -> Iterator[Outcome]:
        spectrum = np.concatenate(list(SPECTRA[self._network.reads](sound.blocks())))
        label = self._network.label
        (network,) = (network for network in audio_networks_at_hand(self.plan) if network.label == label)
        vectors, times = network(np.moveaxis(spectrum, 0, -1))
        arrays = {"vectors": np.asarray(vectors), "times": np.asarray(times)}
        yield Outcome(wanted[label], arrays=arrays)
