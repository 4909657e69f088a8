"""Choose the face detector for ``--detector auto``; one rule for all commands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ..cache.keys import FeatureKey
    from ..cache.store import FeatureStore

AUTO = "auto"
YUNET = "yunet"


class DetectorChoice(NamedTuple):
    """``NAME`` or ``NAME@FILE``, and why it was chosen; ``why`` is empty if the user named it."""

    text: str
    why: str = ""


def choose_detector(text: str, store: FeatureStore | None = None) -> DetectorChoice:
    """Resolve ``auto`` to a detector; return any other text unchanged.

    ``auto`` is the detector of the store's faces, so that weights fetched later do not change the store. If
    the store has no faces, it is YuNet if its weights are in the folder of weights, else dlib.

    Raises:
        ExtractError: the store's faces were found by several detectors, or by one whose weights are not
            available.
    """
    if text != AUTO:
        return DetectorChoice(text)
    detectors = _detectors_of(store) if store is not None else []
    if store is None or not detectors:
        return _choose_by_weights()
    if len(detectors) > 1:
        from ..extract.errors import ExtractError

        names = " and by ".join(str(settings["detector"]) for settings in detectors)
        raise ExtractError(f"faces in {store.path} were found by {names}; choose one with --detector")
    return DetectorChoice(_detector_text(store, detectors[0]), f"as in {store.path}")


def _choose_by_weights() -> DetectorChoice:
    from ..extract.backbones import zoo
    from ..extract.backbones.weights_folder import stored

    names = [weights.name for weights in stored() if weights.architecture == YUNET]
    published = [name for name in names if zoo.of_name(name)]
    for name in (*published, *names):
        return DetectorChoice(name, "its weights are here; --detector dlib does without")
    return DetectorChoice("dlib", f"`avemo weights fetch {YUNET}` gets a faster one")


def _detectors_of(store: FeatureStore) -> list[dict[str, Any]]:
    """Return the detectors that found the store's faces, each as its settings in the keys."""
    from ..extract.streams.faces import FACES

    detectors = _distinct_detectors(key for key in store.keys.values() if key.stream == FACES)
    if len(detectors) > 1:  # one may be from before the clips were extracted again
        detectors = _distinct_detectors(row.entries[FACES].key for row in store.rows if row.has(FACES))
    return detectors


def _distinct_detectors(keys: Iterable[FeatureKey]) -> list[dict[str, Any]]:
    detectors: list[dict[str, Any]] = []
    for key in keys:
        settings = {name: key.settings.get(name) for name in ("detector", "detector.weights")}
        if settings["detector"] and settings not in detectors:
            detectors.append(settings)
    return detectors


def _detector_text(store: FeatureStore, settings: dict[str, Any]) -> str:
    """Return the detector with these settings, as :func:`.load_detector` takes it."""
    from ..extract.backbones.weights_folder import stored
    from ..extract.digest import sha256_of
    from ..extract.errors import ExtractError

    name, checksum = str(settings["detector"]), settings["detector.weights"]
    if checksum is None:
        return name
    for weights in stored():
        if weights.architecture == name and sha256_of(weights.path) == checksum:
            return weights.name
    raise ExtractError(
        f"faces in {store.path} were found by {name} with a file of SHA-256 {checksum}, which is not in the "
        f"folder of weights; name it with --detector {name}@FILE, or choose another --store"
    )
