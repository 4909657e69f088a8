"""The streams ``BACKBONE/VIEWSET``: a face network's statistics over views of the face in each frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...cache.keys import FeatureKey
from ...cache.writer import Outcome
from ..align import compose
from ..apart import RemoteBackbone
from ..errors import ExtractError
from ..networks import face_networks_at_hand, planned_face_networks, views_at_once
from ..patch import patch, side_by_side
from ..spool import Spool
from ..stopwatch import NETWORK, WARP, stage
from ..views import VIEW_SETS, SharedViews
from .base import ClipPictures, PictureStream, Settings

if TYPE_CHECKING:
    import torch

    from ..backbones import Backbone

BLOCK_BYTES = 4 << 20  # of patches to send at once, even if that is less than a batch


class ViewStream(PictureStream):
    """``basic``, ``mean`` and ``std`` ``[T, D]`` of each network and view set; ``basic`` for a single view.

    All are computed in one pass over the frames, and view sets share common views.
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
        face_networks_at_hand(self.plan)

    def make(self, pictures: ClipPictures, wanted: Mapping[str, FeatureKey]) -> Iterator[Outcome]:
        networks: list[_ViewStatistics] = []
        batch = views_at_once(self.plan)
        for network in face_networks_at_hand(self.plan):
            sets = [views for views in self.plan.view_sets if _name(network.label, views) in wanted]
            if not sets:
                continue
            if isinstance(network, RemoteBackbone):
                networks.append(_RemoteViews(network, sets, batch, pictures.spool))
            else:
                networks.append(_LocalViews(network, sets, batch, pictures.spool))
        for frame, transform in pictures.frames():
            for statistics in networks:
                statistics.add(frame.image, transform)
            pictures.on_frame("features", frame.time)
        for statistics in networks:
            for name, arrays in statistics.finish().items():
                yield Outcome(wanted[name], arrays={**arrays, "times": pictures.faces["times"]})


def _name(label: str, views: str) -> str:
    return f"{label}/{views}"


class _ViewStatistics(ABC):
    """Collects the statistics of one network's views, frame by frame."""

    def __init__(self, network: Backbone | RemoteBackbone, sets: Sequence[str], spool: Path) -> None:
        self._label, self._size = network.label, network.spec.input_size
        views = self._views = SharedViews(sets, self._size, network.spec.window)
        self._spools = [Spool(spool) for _ in views.statistics]

    @abstractmethod
    def add(self, image: np.ndarray, transform: np.ndarray) -> None:
        """Add the next frame, with the transform from it to the chip."""

    @abstractmethod
    def _flush(self) -> None:
        """Process the frames that are still waiting."""

    def finish(self) -> dict[str, dict[str, np.ndarray]]:
        """Return the arrays of each stream, by stream name."""
        self._flush()
        arrays: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
        for (views, statistic), spool in zip(self._views.statistics, self._spools, strict=True):
            arrays[_name(self._label, views)][statistic] = spool.finish()
        return arrays

    def _keep(self, rows: np.ndarray) -> None:
        """Keep the statistics ``[T, S, D]`` of the next T frames."""
        for number, spool in enumerate(self._spools):
            spool.append(rows[:, number])


class _LocalViews(_ViewStatistics):
    """Warps views and runs them in batches through a network in this process."""

    def __init__(self, network: Backbone, sets: Sequence[str], batch: int, spool: Path) -> None:
        super().__init__(network, sets, spool)
        self._network, self._batch = network, batch
        self._warped: list[torch.Tensor] = []

    def add(self, image: np.ndarray, transform: np.ndarray) -> None:
        from ..warp import warp

        matrices = compose(self._views.matrices, transform)
        self._warped.append(warp(image, matrices, self._size, self._network.device))
        if len(self._warped) * len(matrices) >= self._batch:
            self._flush()

    def _flush(self) -> None:
        import torch

        if self._warped:
            rows = self._views.reduced(self._network.on_device(torch.cat(self._warped)))
            self._warped = []
            with stage(NETWORK):  # the wait for the network
                on_host = rows.cpu()
            self._keep(on_host.numpy())


class _RemoteViews(_ViewStatistics):
    """Sends patches of the frames to the process with the network, and continues meanwhile."""

    def __init__(self, network: RemoteBackbone, sets: Sequence[str], batch: int, spool: Path) -> None:
        super().__init__(network, sets, spool)
        self._network, self._sets = network, tuple(sets)
        self._frames = -(-batch // len(self._views.matrices))
        self._patches: list[np.ndarray] = []
        self._matrices: list[np.ndarray] = []
        self._bytes = 0
        self._pending: deque[Future[np.ndarray]] = deque()

    def add(self, image: np.ndarray, transform: np.ndarray) -> None:
        with stage(WARP):
            matrices = compose(self._views.matrices, transform)
            part, matrices = patch(image, matrices, self._size)
            self._patches.append(np.array(part))  # a copy, as a slice would keep the whole frame alive
            self._matrices.append(matrices)
            self._bytes += part.nbytes
        if len(self._patches) >= self._frames or self._bytes >= BLOCK_BYTES:
            self._send()

    def _flush(self) -> None:
        if self._patches:
            self._send()
        while self._pending:
            self._keep(self._network.result(self._pending.popleft()))

    def _send(self) -> None:
        block, matrices = side_by_side(self._patches), np.stack(self._matrices)
        self._patches, self._matrices, self._bytes = [], [], 0
        self._pending.append(self._network.statistics(self._sets, block, matrices))
        while self._pending and self._pending[0].done():
            self._keep(self._network.result(self._pending.popleft()))
