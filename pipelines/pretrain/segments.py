"""``avemo pretrain segments``: train an image network on the MFCC images of labelled speech."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...pretrain.recipe import SegmentChanges, changes_of
from ..cli.framework import InputError, altered, command, group, json_result, together
from ..cli.options import backbone_option, store_option
from ..cli.settings_file import config_options
from ..stores import open_store
from .options import (
    augment_option,
    augmentation_help,
    chosen_subjects,
    device_options,
    evaluation_options,
    output_options,
    recipe_of,
    recipe_options,
    speaker_options,
    with_defaults,
    without_option,
)
from .work import (
    Terminal,
    default_out,
    evaluate,
    only_the_first_speaks,
    require_fabric,
    train,
    weights_there,
)

if TYPE_CHECKING:
    from ...extract.backbones import BackboneSpec
    from ...pretrain.tasks import SegmentTask

EXAMPLES = """
\b
Examples:
  avemo-extract RML/ --segments --store features
  avemo pretrain segments --store features --backbone vgg19@vgg19-dcbb9e9d.pth --held-out-subjects s1,s2
  avemo pretrain segments --backbone ferresnet --batch 64 --augment time_mask=0 --out mfcc.safetensors
  avemo pretrain segments --evaluate --weights mfcc.safetensors --held-out-subjects s1,s2
  avemo-extract RML/ --segment-backbone ferresnet@mfcc.safetensors --store features

\b
Clips of the split val are held out; those of the split test are neither trained on nor held out. Images
take 12 KB of memory per segment, 150 MB per hour of speech, and twice that while they are read.

\b
Exit code: 0 done; 1 done, but some labelled clips have no segments, each named with its reason; 2 wrong
arguments or input; 130 interrupted: the same command continues.
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


@command("segments", epilog=EXAMPLES + augmentation_help(SegmentChanges))
@data_options
@with_defaults(
    recipe_options, epochs=20, batch=32, optimiser="adamw", weight_decay=0.01, dropout=0.3, ema=0.99
)
@augment_option
@evaluation_options("--store", "the file that training writes")
@device_options
@output_options
@json_result
@config_options
def segments(evaluating: bool, **options: Any) -> int:
    """Train an image network on MFCC images of labelled speech, or evaluate one.

    The images are those of a store's segments, each with its clip's class. Writes the weights, for
    --segment-backbone NAME@FILE of avemo-extract, and a card that describes them. No speaker is in both the
    training and the held-out part. If training is stopped, the same command continues it, with the same
    result as an uninterrupted one.
    """
    name, _, start = options["backbone"].partition("@")
    with only_the_first_speaks():
        if evaluating:
            from ...pretrain.card import read_classifier

            weights = weights_there(options, default_out(name, "segments"))
            classifier, spec, classes = read_classifier(weights)
            return evaluate(_task(options, spec, classes, weights), classifier, weights, options)
        require_fabric()
        from ...extract.backbones import get

        recipe = recipe_of(
            options, random=not start, augmentation=changes_of(SegmentChanges, options["augment"])
        )
        return train(_task(options, get(name)), recipe, start, options)


def _task(
    options: Mapping[str, Any], spec: BackboneSpec, classes: tuple[str, ...] = (), weights: Path = Path()
) -> SegmentTask:
    """Read the segments of the labelled clips; for evaluation, in the ``classes`` of ``weights``.

    Raises:
        InputError: a class to leave out does not exist, or fewer than two classes are left.
    """
    from ...extract.streams.segments import SEGMENTS
    from ...pretrain.pictures import require_known
    from ...pretrain.segment_samples import pack_segments
    from ...pretrain.tasks import SegmentTask

    with open_store(options["store"]) as store:
        labels = {row.clip.label for row in store.rows if row.clip.label is not None}
        for name in options["without"]:
            if name not in labels:
                raise InputError(f"--without {name!r}: classes: {', '.join(sorted(labels)) or 'none'}")
        wanted = sorted(labels - {*options["without"]})
        rows = [row for row in store.rows if row.clip.label in wanted]
        if classes:
            require_known(wanted, classes, "clips", weights)
        elif len(wanted) < 2:
            raise InputError(
                f"{store.path}: clips of {', '.join(wanted) or 'no class'}, expected two classes or more: "
                "give labels to avemo-extract, by folders, a manifest or --pattern"
            )
        with Terminal().counting("reading", "clip", len(rows)) as advance:
            packed = pack_segments(store, rows, classes or wanted, advance, not options["no_subjects"])
        settings = store.key(SEGMENTS, [row for row in rows if row.has(SEGMENTS)]).settings
    subjects, held_out = chosen_subjects(options), options["held_out"]
    where, allow_unnamed = str(options["store"]), options["no_subjects"]
    task = SegmentTask(spec, packed, where, settings, held_out, subjects, allow_unnamed)
    click.echo(f"{where}: {task.describe(packed.segments_of(packed.clips))}: {', '.join(wanted)}")
    return task
