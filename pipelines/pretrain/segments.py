"""``avemo pretrain segments``: an image network on the MFCC images of labelled speech."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..cli.framework import InputError, altered, command, group, json_result, keep_result, together
from ..cli.options import backbone_option, store_option
from ..cli.progress import progress_bar
from ..cli.settings_file import config_options
from ..stores import open_store
from .options import (
    chosen_subjects,
    device_options,
    evaluation_options,
    output_options,
    recipe_options,
    speaker_options,
    with_defaults,
    without_option,
)
from .work import (
    Job,
    as_card,
    clear_way,
    fit,
    make_fabric,
    of_whom,
    only_the_first_speaks,
    probabilities,
    recipe_of,
    require_fabric,
    tell_figures,
    training_card,
)

if TYPE_CHECKING:
    import numpy as np

    from ...extract.backbones import BackboneSpec
    from ...pretrain.classifier import Classifier
    from ...pretrain.evaluation import Figures
    from ...pretrain.segment_samples import PackedSegments, SegmentSamples

SHOWN = 10  # of the clips that are left out

EXAMPLES = """
\b
Examples:
  avemo-extract RML/ --segments --store features
  avemo pretrain segments --store features --backbone vgg19@vgg19-dcbb9e9d.pth --held-out-subjects s1,s2
  avemo pretrain segments --backbone ferresnet --batch 64 --time-mask 0 --out mfcc.safetensors
  avemo pretrain segments --evaluate --weights mfcc.safetensors --held-out-subjects s1,s2
  avemo-extract RML/ --segment-backbone ferresnet@mfcc.safetensors --store features

\b
Clips of a split val are held out, those of a split test are neither fitted nor held out. Images take
12 KB of memory a segment, 150 MB an hour of speech, and twice that while they are read.

\b
Exit code: 0 done; 1 done, but some labelled clips have no segments, each named with its reason; 2 wrong
arguments or input; 130 interrupted: the same command goes on.
"""

data_options = together(
    group(
        "Features",
        altered(store_option, help="Feature store made by avemo-extract --segments."),
        without_option(),
    ),
    group("Network", altered(backbone_option, default="ferresnet", show_default=True)),
    speaker_options,
)

change_options = group(
    "Augmentation",
    click.option("--shift", type=click.IntRange(0, 32), default=4, show_default=True, metavar="FRAMES",
                 help="Largest shift in time, in frames of 10 ms."),
    click.option("--time-mask", type=click.FloatRange(min=0), default=0.1, show_default=True,
                 metavar="SECONDS", help="Longest of two masked stretches; at most a fifth of a segment."),
    click.option("--coefficient-mask", type=click.FloatRange(0, 1), default=0.1, show_default=True,
                 metavar="SHARE", help="Widest of two masked bands, as a share of the 64 coefficients."),
)  # fmt: skip


@command("segments", epilog=EXAMPLES)
@data_options
@with_defaults(
    recipe_options, epochs=20, batch=32, optimiser="adamw", weight_decay=0.01, dropout=0.3, ema=0.99
)
@change_options
@evaluation_options("--store", "what training writes")
@device_options
@output_options
@json_result
@config_options
def segments(evaluate: bool, **options: Any) -> int:
    """Train an image network on MFCC images of labelled speech, or say how right one is.

    The images are those of a store's segments, each with its clip's class. Writes the weights, which
    --segment-backbone NAME@FILE of avemo-extract takes, and a card that says what they are. Nobody speaks on
    both sides of the held-out part. A training that was stopped goes on with the same command, and ends as if
    it had not been.
    """
    with only_the_first_speaks():
        return _evaluate(options) if evaluate else _train(options)


def _train(options: Mapping[str, Any]) -> int:
    require_fabric()
    import torch

    from ...extract.backbones import get
    from ...pretrain.card import empty_classifier, load_trunk, write_weights
    from ...pretrain.segment_samples import SegmentChanges, SegmentSamples
    from ...pretrain.speakers import divided

    name, _, start = options["backbone"].partition("@")
    spec = get(name)
    recipe = recipe_of(options, random=not start)
    changes = SegmentChanges(options["shift"], options["time_mask"], options["coefficient_mask"])
    packed, settings = _pack(options)
    chosen = chosen_subjects(options)
    clips = divided(packed, options["held_out"], recipe.seed, chosen, options["no_subjects"])
    fitted_rows, watched = map(packed.segments_of, clips)
    torch.manual_seed(recipe.seed)
    classifier = empty_classifier(spec, len(packed.classes), recipe.dropout)
    classifier.to(memory_format=torch.channels_last)
    identity: dict[str, Any] = {
        "architecture": spec.name,
        "recipe": {**recipe.settings(), "augmentation": asdict(changes)},
        "data": packed.digest,
        "held_out": chosen or options["held_out"],
    }
    if start:
        identity["start"] = load_trunk(classifier, spec, start)
    out = options["out"] or _default_out(spec.name)
    samples = SegmentSamples(packed, spec, changes)
    job = Job(samples, fitted_rows, watched, recipe, identity, out)
    clear_way(job, options["overwrite"])
    begins = f"starting from {start}" if start else "starting at random"
    to_fit, held_out = (_count(packed, rows) for rows in (fitted_rows, watched))
    click.echo(f"{spec.name}, {begins}: to fit {to_fit}; held out {held_out}")
    if job.done and not options["overwrite"]:
        click.echo(f"{out}: trained already")
        return _say_skipped(packed)
    fabric = make_fabric(options)
    fitted, seconds = fit(fabric, classifier, job)
    if not fabric.is_global_zero:
        return 0
    card = _card(spec, packed, settings, clips, options) | training_card(job, fitted, seconds)
    if len(watched):
        figures = _figures(fitted.classifier, samples, packed, watched, options)
        card["held_out"] = {unit: as_card(found) for unit, found in figures.items()}
        _tell(figures, f"held out, epoch {fitted.best}")
    write_weights(out, fitted.classifier, card, options["half"])
    job.checkpoint.unlink(missing_ok=True)
    keep_result(weights=str(out))
    click.echo(f"wrote {out} and {out.with_suffix('.json')}")
    return _say_skipped(packed)


def _evaluate(options: Mapping[str, Any]) -> int:
    from ...extract.backbones.weights_folder import read_card
    from ...pretrain.card import read_classifier
    from ...pretrain.segment_samples import SegmentChanges, SegmentSamples
    from ...pretrain.speakers import to_evaluate

    weights = options["weights"] or options["out"] or _default_out(options["backbone"].partition("@")[0])
    if not weights.exists():
        raise InputError(f"there are no weights {weights}: name them by --weights FILE.safetensors")
    classifier, spec, classes = read_classifier(weights)
    packed, _ = _pack(options, classes, weights.name)
    clips, of = to_evaluate(packed, chosen_subjects(options))
    rows = packed.segments_of(clips)
    click.echo(f"{weights.name} on {of or options['store']}: {_count(packed, rows)}")
    fitted = read_card(weights).get("data", {}).get("fitted_subjects", ())
    known = sorted({*fitted} & {*packed.subjects[clips].tolist()})
    if known:
        click.echo(
            f"note: it was trained on voices called {', '.join(known)}; if these are they, it is flattered"
        )
    samples = SegmentSamples(packed, spec, SegmentChanges())
    figures = _figures(classifier, samples, packed, rows, options)
    code = _say_skipped(packed)
    _tell(figures, of or str(options["store"]))
    return code


def _default_out(name: str) -> Path:
    return Path(f"{name.replace(':', '-')}-segments.safetensors")


def _pack(
    options: Mapping[str, Any], classes: tuple[str, ...] = (), weights: str = ""
) -> tuple[PackedSegments, Mapping[str, Any]]:
    """The labelled clips' segments, and the settings with which they were cut.

    Raises:
        InputError: a class that is left out is not there, fewer than two are, or there are others than the
            ``classes`` of ``weights``.
    """
    from ...extract.plan import SEGMENTS
    from ...pretrain.segment_samples import pack_segments

    with open_store(options["store"]) as store:
        labels = {row.clip.label for row in store.rows if row.clip.label is not None}
        for name in options["without"]:
            if name not in labels:
                raise InputError(f"--without {name!r}: classes: {', '.join(sorted(labels)) or 'none'}")
        wanted = sorted(labels - {*options["without"]})
        rows = [row for row in store.rows if row.clip.label in wanted]
        unknown = sorted({*wanted} - {*classes})
        if classes and unknown:
            raise InputError(
                f"{weights} tells {', '.join(classes)} apart, but there are clips of {', '.join(unknown)}: "
                f"leave them out (--without {unknown[0]})"
            )
        if not classes and len(wanted) < 2:
            raise InputError(
                f"{store.path}: clips of {', '.join(wanted) or 'no class'}, expected two classes or more: "
                "give labels to avemo-extract, by folders, a manifest or --pattern"
            )
        with progress_bar(total=len(rows), unit="clip", desc="reading", leave=False) as bar:
            packed = pack_segments(store, rows, classes or wanted, bar.update, not options["no_subjects"])
        settings = store.key(SEGMENTS, [row for row in rows if row.has(SEGMENTS)]).settings
    click.echo(f"{options['store']}: {_count(packed)}: {', '.join(wanted)}")
    return packed, settings


def _count(packed: PackedSegments, rows: np.ndarray | slice = slice(None)) -> str:
    clips = sorted({*packed.clips[rows].tolist()})
    return f"{len(packed.clips[rows])} segments in {len(clips)} clips{of_whom(packed.subjects[clips])}"


def _figures(
    classifier: Classifier,
    samples: SegmentSamples,
    packed: PackedSegments,
    rows: np.ndarray,
    options: Mapping[str, Any],
) -> dict[str, Figures]:
    """Of segments, and of clips by the mean posterior of their segments."""
    from ...pretrain.evaluation import figures
    from ...pretrain.segment_samples import mean_of_clips

    said = probabilities(classifier, samples, rows, "segment", options)
    clips, of_clips = mean_of_clips(said, packed.clips[rows])
    return {
        "segments": figures(packed.classes, packed.targets[packed.clips[rows]], said),
        "clips": figures(packed.classes, packed.targets[clips], of_clips),
    }


def _tell(figures: Mapping[str, Figures], of: str) -> None:
    for unit, found in figures.items():
        tell_figures(found, f"{unit}, {of}")


def _card(
    spec: BackboneSpec,
    packed: PackedSegments,
    settings: Mapping[str, Any],
    clips: tuple[np.ndarray, np.ndarray],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    fitted, held_out = (sorted({*packed.subjects[part].tolist()} - {""}) for part in clips)
    return {
        "architecture": spec.name,
        "features": spec.features,
        "preprocessing": {
            "input": "MFCC images of segments",
            "input_size": spec.input_size,
            "colour": spec.colour,
            "mean": list(spec.mean),
            "std": list(spec.std),
            "segments": settings,
        },
        "data": {
            "clips": len(packed.labels),
            "segments": len(packed.images),
            "left_out": len(packed.skipped),
            "fitted_subjects": fitted,
            "held_out_subjects": held_out,
            "licence": options["licence"],
        },
    }


def _say_skipped(packed: PackedSegments) -> int:
    """Name the clips that were left out; the exit code."""
    for item in packed.skipped[:SHOWN]:
        click.echo(f"left out: {item.name}: {item.reason}", err=True)
    if len(packed.skipped) > SHOWN:
        click.echo(f"left out: {len(packed.skipped) - SHOWN} more", err=True)
    return 1 if packed.skipped else 0
