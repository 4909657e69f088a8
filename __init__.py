"""avemo: audio-video emotion recognition, from clips to a challenge submission.

There are two stages, connected only by a feature store:

* :mod:`avemo.extract` decodes clips, aligns the main face, runs face networks over transformed
  views of it and turns the sound into spectrograms;
* :mod:`avemo.cache` stores the features and their origin in immutable HDF5 shards;
* :mod:`avemo.fusion` reads named features from the store and trains attention and
  factorized-bilinear-pooling heads on them;
* :mod:`avemo.pipelines` holds the command lines, data sets and recipes.

The three functions below are for scripts and notebooks. ``import avemo`` loads no heavy packages.
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
    """Recognise the expressions in a film, as ``avemo predict`` does. No training is needed.

    Expressions are named as raters of photographs would name them. They do not show what a person feels.

    Args:
        film: any video that FFmpeg can read.
        tta: views of each face to average: ``none`` (1), ``flip`` (2), ``default`` or ``wide`` (18).
        detect_every: run the face detector on every Nth frame.
        smooth: standard deviation in seconds of a Gaussian filter over time; 0 for none.
        detector: ``NAME`` or ``NAME@FILE``; ``auto`` is YuNet if its weights are installed, else dlib.
        backbone: a face network trained by ``avemo pretrain face``, ``NAME`` or ``NAME@FILE``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        avemo.extract.errors.ClipError: the film cannot be read.
        avemo.extract.errors.ExtractError: the network, detector or device is not available.
        ValueError: a number or ``tta`` is invalid.
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
    """Extract features from a folder of clips, as ``avemo-extract`` does. Stored features are kept.

    Args:
        clips: the folder, or one media file.
        store: the feature store to create or add to.
        dataset, pattern, manifest, labels: how to find and label the clips, as for ``avemo-extract``.
        tta: views of each face, one or several of ``none``, ``meanstd`` and ``meanstd2``.
        backbones: one or several face networks, ``NAME`` or ``NAME@FILE``; empty for the default one.
        detector: ``NAME`` or ``NAME@FILE``; ``auto`` is the store's detector, or in a new store YuNet if its
            weights are installed, else dlib.
        detect_every: run the face detector on every Nth frame and interpolate the face in between.
        max_frames: maximum number of frames per clip, evenly spaced; None for all.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        workers: parallel processes; 0 for one per core.

    Raises:
        avemo.pipelines.errors.DatasetError: there are no clips, or a setting about them is invalid.
        avemo.extract.errors.ExtractError: the network, detector, device or view set is not available.
        avemo.cache.store.StoreError: the store cannot be read or created.
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
    """Open a feature store made by ``avemo-extract`` or ``avemo.extract``. Usable in a ``with`` block.

    Raises:
        avemo.cache.store.StoreError: there is no store at ``path``.
    """
    from .cache.store import FeatureStore

    return FeatureStore(path)


def _several(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


class _StageOne(ModuleType):
    """Makes the package ``avemo.extract`` callable: calling it runs the function above."""

    __call__ = staticmethod(extract)


import_module(".extract", __name__).__class__ = _StageOne
