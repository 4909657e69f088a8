"""The streams ``BACKBONE/VIEWSET``: statistics of a face network over views of the face in each frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...cache.keys import FeatureKey
from ...cache.writer import Outcome
from ..align import CHIP_SIZE, compose, window_transform
from ..errors import ExtractError
from ..networks import face_networks, planned_face_networks, views_at_once
from ..spool import Spool
from ..views import VIEW_SETS
from .base import ClipPictures, PictureStream, Settings

if TYPE_CHECKING:
    import torch

    from ..backbones import Backbone


class ViewStream(PictureStream):
    """``basic``, ``mean`` and ``std`` ``[T, D]`` of each network over each view set; of one view, ``basic``.

    One pass over the frames serves them all, and view sets share the views that they have in common.
    """

    def settings(self, others: Settings) -> Settings:
        unknown = [name for name in self.plan.view_sets if name not in VIEW_SETS]
        if unknown:
            raise ExtractError(f"there is no view set {unknown[0]!r}; there are {', '.join(VIEW_SETS)}")
        return {
            _name(network.label, views): {**VIEW_SETS[views].settings(), **network.settings}
            for network in planned_face_networks(self.plan)
            for views in self.plan.view_sets
        }

    def load(self) -> None:
        face_networks(self.plan)

    def make(self, pictures: ClipPictures, wanted: Mapping[str, FeatureKey]) -> Iterator[Outcome]:
        networks = []
        for network in face_networks(self.plan):
            sets = [views for views in self.plan.view_sets if _name(network.label, views) in wanted]
            if sets:
                networks.append(_ViewStatistics(network, sets, views_at_once(self.plan), pictures))
        for frame, transform in pictures.frames():
            for statistics in networks:
                statistics.add(frame.image, transform)
            pictures.on_frame("features", frame.time)
        for statistics in networks:
            for name, arrays in statistics.finish().items():
                yield Outcome(wanted[name], arrays={**arrays, "times": pictures.faces["times"]})


def _name(label: str, views: str) -> str:
    return f"{label}/{views}"


class _ViewStatistics:
    """Warps views, runs them through one network in batches, and reduces them to statistics."""

    def __init__(self, network: Backbone, sets: Sequence[str], batch: int, pictures: ClipPictures) -> None:
        self._network = network
        self._device = network.device
        self._size = network.spec.input_size
        self._batch = batch
        self._sets = [VIEW_SETS[name] for name in sets]
        every = np.concatenate([views.matrices(CHIP_SIZE) for views in self._sets])
        unique, index = np.unique(every, axis=0, return_inverse=True)
        self._index = np.split(index.reshape(-1), np.cumsum([len(views) for views in self._sets])[:-1])
        framed = window_transform(network.spec.window, CHIP_SIZE, self._size)
        self._matrices = compose(framed, unique)
        self._views: list[torch.Tensor] = []
        self._spools = {
            views.name: {name: Spool(pictures.spool) for name in statistics_of(len(views))}
            for views in self._sets
        }

    def add(self, image: np.ndarray, transform: np.ndarray) -> None:
        from ..warp import warp

        self._views.append(warp(image, compose(self._matrices, transform), self._size, self._device))
        if len(self._views) * len(self._matrices) >= self._batch:
            self._run()

    def finish(self) -> dict[str, dict[str, np.ndarray]]:
        """By the names of streams, their arrays."""
        if self._views:
            self._run()
        return {
            _name(self._network.label, views): {key: spool.finish() for key, spool in spools.items()}
            for views, spools in self._spools.items()
        }

    def _run(self) -> None:
        import torch

        features = self._network(torch.cat(self._views))
        features = features.reshape(len(self._views), len(self._matrices), -1)
        self._views = []
        for views, index in zip(self._sets, self._index, strict=True):
            of_set = features[:, index]
            values = {"basic": of_set[:, views.identity]}
            if len(views) > 1:
                values["mean"] = of_set.mean(1)
                values["std"] = of_set.std(1, unbiased=False)
            for name, value in values.items():
                self._spools[views.name][name].append(value.numpy())


def statistics_of(views: int) -> tuple[str, ...]:
    """Which statistics a view set of so many views has: a single view has no spread."""
    return ("basic", "mean", "std") if views > 1 else ("basic",)
