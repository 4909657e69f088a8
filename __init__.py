"""avemo: audio-video emotion recognition, from clips to a challenge submission.

Two stages that share nothing but a feature store:

* :mod:`avemo.extract` decodes clips, aligns the main face, runs face networks over transformed
  views of it and turns the sound into spectrograms;
* :mod:`avemo.cache` keeps all of that, with where it came from, in immutable HDF5 shards;
* :mod:`avemo.fusion` reads named features from the store and trains attention and
  factorized-bilinear-pooling heads on them;
* :mod:`avemo.pipelines` holds the command lines, data sets and recipes.

The three functions here are for scripts and notebooks; ``import avemo`` itself loads nothing heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cache.store import FeatureStore
    from .pipelines.predict.expressions import FilmExpressions
    from .pipelines.stage_one import Extracted

__version__ = "0.1.0"
__all__ = ["__version__", "extract", "open_store", "predict"]


def predict(
    film: str | Path,
    *,
    tta: str = "none",
    detect_every: int = 5,
    smooth: float = 0.2,
    detector: str = "auto",
    backbone: str = "ferplusnet",
    device: str = "auto",
) -> FilmExpressions:
    """Name the expressions in a film, as ``avemo predict`` does; nothing is trained.

    Expressions are named as raters of photographs would name them. They are not what a person feels.

    Args:
        film: any video that FFmpeg reads.
        tta: views of each face that are averaged: ``none`` (1), ``flip`` (2), ``default`` or ``wide`` (18).
        detect_every: look for faces in every Nth frame.
        smooth: standard deviation in seconds of the Gaussian that smooths over time; 0 for none.
        detector: ``NAME`` or ``NAME@FILE``; ``auto``: YuNet if its weights are here, else dlib.
        backbone: a face network that ``avemo pretrain face`` trained, ``NAME`` or ``NAME@FILE``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        avemo.extract.errors.ClipError: the film cannot be read.
        avemo.extract.errors.ExtractError: there is no such network, detector or device.
        ValueError: a number or a name of views that makes no sense.
    """
    from .pipelines.predict.expressions import PredictSettings, expressions_of

    settings = PredictSettings(
        tta=tta,
        detect_every=detect_every,
        smooth=smooth,
        detector=detector,
        backbone=backbone,
        device=device,
    )
    return expressions_of(film, settings)


def extract(
    clips: str | Path,
    store: str | Path = "features",
    *,
    dataset: str = "auto",
    pattern: str = "",
    manifest: str | Path | None = None,
    labels: str = "",
    tta: str | Sequence[str] = "meanstd",
    backbones: str | Sequence[str] = (),
    detector: str = "auto",
    detect_every: int = 1,
    max_frames: int | None = None,
    device: str = "auto",
    workers: int = 0,
) -> Extracted:
    """Turn a folder of clips into features, as ``avemo-extract`` does; what is stored is not made again.

    Args:
        clips: the folder, or one media file.
        store: the feature store to create or add to.
        dataset, pattern, manifest, labels: what the clips are, as with ``avemo-extract``.
        tta: views of each face, one or several of ``none``, ``meanstd`` and ``meanstd2``.
        backbones: one or several face networks, ``NAME`` or ``NAME@FILE``; empty for the default one.
        detector: ``NAME`` or ``NAME@FILE``; ``auto``: that of the store, in a new one YuNet if its weights
            are here, else dlib.
        detect_every: look for faces in every Nth frame; the face moves evenly between.
        max_frames: at most so many frames of a clip, evenly spaced; None for all.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        workers: parallel processes; 0 for one per core.

    Raises:
        avemo.pipelines.errors.DatasetError: there are no clips, or a setting of theirs is wrong.
        avemo.extract.errors.ExtractError: there is no such network, detector, device or set of views.
        avemo.cache.store.StoreError: the store cannot be read or made.
    """
    from .extract import DEFAULT_BACKBONE
    from .extract.plan import Plan
    from .pipelines.stage_one import VIEW_SETS, ClipFolder, ExtractSettings
    from .pipelines.stage_one import extract as extract_clips

    plan = Plan(
        detector=detector,
        backbones=_several(backbones) or (DEFAULT_BACKBONE,),
        view_sets=tuple(VIEW_SETS.get(name, name) for name in _several(tta)),
        max_frames=max_frames,
        device=device,
        detect_every=detect_every,
    )
    table = None if manifest is None else Path(manifest)
    folder = ClipFolder(Path(clips), dataset, pattern, table, labels)
    return extract_clips(ExtractSettings(folder, plan, Path(store), workers))


def open_store(path: str | Path = "features") -> FeatureStore:
    """The feature store that ``avemo-extract`` or ``avemo.extract`` made; usable in a ``with`` block.

    Raises:
        avemo.cache.store.StoreError: there is none.
    """
    from .cache.store import FeatureStore

    return FeatureStore(path)


def _several(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


class _StageOne(ModuleType):
    """``avemo.extract`` is the package of stage 1 and, called, the function above."""

    __call__ = staticmethod(extract)


import_module(".extract", __name__).__class__ = _StageOne
