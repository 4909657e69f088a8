"""Stage 1 as a step of other commands: clips into a store, with settings given or those of a trained run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli import InputError

if TYPE_CHECKING:
    from ..cache.keys import FeatureKey
    from ..extract.plan import Plan
    from .datasets import Found


def into_store(found: Found, plan: Plan, path: Path, workers: int) -> int:
    """Extract ``found`` into the store at ``path``, under a progress bar.

    Returns:
        How many clips failed or are damaged.

    Raises:
        ExtractError: the plan asks for something that there is not.
        StoreError: ``path`` is no store and cannot become one.
    """
    from ..cache.store import FeatureStore
    from ..extract.run import Run
    from .extract import say_plan, work

    plan.keys()  # what cannot be used is told before there is a store
    with FeatureStore(path, create=True) as store:
        run = Run(found.clips, plan, store, workers)
        say_plan(plan, run, store, len(found.clips))
        return work(run, len(found.clips))


def plan_again(
    keys: Mapping[str, FeatureKey],
    detector: str | None = None,
    backbones: Sequence[str] = (),
    audio: Sequence[str] = (),
    device: str = "auto",
) -> Plan:
    """The plan that gives streams of just these keys once more.

    Args:
        keys: of the streams wanted, visual ones (``BACKBONE/VIEWSET``) and others.
        detector, backbones, audio: ``NAME@FILE`` of what needs a file of weights; what comes with a package
            is found without.
        device: where the networks run.

    Raises:
        InputError: a file is not named, or it or something else is not what the keys tell of.
    """
    from ..extract.plan import LOG_MEL, SPECTROGRAM, Plan

    visual = {stream: key.settings for stream, key in keys.items() if "/" in stream}
    heard = {stream: key.settings for stream, key in keys.items() if stream not in visual}
    seen = {stream.rpartition("/")[0]: settings for stream, settings in visual.items()}
    precisions = {str(settings["precision"]) for settings in seen.values()}
    common: Mapping[str, Any] = next(iter(visual.values()), {})
    plan = Plan(
        detector=detector or str(common.get("detector", "dlib")),
        backbones=_files("--backbone", seen, backbones),
        view_sets=tuple(dict.fromkeys(stream.rpartition("/")[2] for stream in visual)),
        audio=_files("--audio", {k: v for k, v in heard.items() if k not in (SPECTROGRAM, LOG_MEL)}, audio),
        max_frames=common.get("max_frames"),
        device=device,
        precision=precisions.pop() if len(precisions) == 1 else "auto",
    )
    _check(keys, plan.keys())
    return plan


def _files(option: str, wanted: Mapping[str, Mapping[str, Any]], given: Iterable[str]) -> tuple[str, ...]:
    """``NAME`` or ``NAME@FILE`` for each label that is wanted."""
    known = {_label(text): text for text in given}
    for label, settings in wanted.items():
        if "@" in label and label not in known:
            name, _, stem = label.partition("@")
            raise InputError(
                f"the run reads features of {label}: name its weights by {option} {name}@FILE, a file called "
                f"{stem} with whatever suffix, of SHA-256 {settings['weights_sha256']}"
                + (f"; given: {', '.join(known.values())}" if known else "")
            )
    return tuple(known.get(label, label) for label in wanted)


def _label(text: str) -> str:
    name, _, file = text.partition("@")
    return f"{name}@{Path(file).stem}" if file else name


def _check(wanted: Mapping[str, FeatureKey], planned: Mapping[str, FeatureKey]) -> None:
    for stream, key in wanted.items():
        if planned[stream] != key:
            changes = "; ".join(key.differences(planned[stream]))
            raise InputError(
                f"the run reads {stream!r} made with other settings than it would be made with here "
                f"({changes}: trained / here); name the files of the training, or train again"
            )
