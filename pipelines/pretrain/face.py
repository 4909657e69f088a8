"""``avemo pretrain face``: train a face network on labelled pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...extract import DEFAULT_BACKBONE
from ...pretrain.recipe import Augmentation, changes_of
from ..cli.clip_options import labels_option
from ..cli.completion import names
from ..cli.framework import InputError, altered, command, group, json_result
from ..cli.options import backbone_option, detector_option
from ..cli.settings_file import config_options
from ..corpora.clips.found import counts_of
from ..detector_choice import choose_detector
from .options import (
    augment_option,
    augmentation_help,
    device_options,
    evaluation_options,
    output_options,
    recipe_of,
    recipe_options,
    without_option,
)
from .work import Terminal, evaluate, only_the_first_speaks, require_fabric, train

if TYPE_CHECKING:
    from ...extract.backbones import BackboneSpec
    from ...pretrain.tasks import FaceTask

LOOKS = ("none", "flip", "default", "wide")
SETS = ("folders", "fer2013", "ferplus", "rafdb", "affectnet")

EXAMPLES = """
\b
Examples:
  avemo pretrain face --data fer2013.csv --out mine.safetensors
  avemo pretrain face --data rafdb/ --backbone ir50@backbone_ir50_ms1m_epoch120.pth --lr 0.01
  avemo pretrain face --data affectnet/ --backbone resnet18@Resnet18_MS1M_pytorch.pth.tar \\
                      --balance sampling --epochs 10 --processes 4
  avemo pretrain face --data ferplus/ --votes soft --teacher one.safetensors --teacher two.safetensors
  avemo pretrain face --data ferplus/ --votes soft --head-only --backbone mobilefacenet@mobilefacenet.pt
  avemo pretrain face --evaluate --data test/
  avemo pretrain face --evaluate --weights mine.safetensors --data fer2013.csv --tta wide
  avemo-extract clips/ --backbone ferplusnet@mine.safetensors

\b
Exit code: 0 done; 1 done, but some pictures could not be read, each named with its reason;
2 wrong arguments or input; 130 interrupted: the same command continues.
"""

data_options = group(
    "Clips",
    click.option("--data", required=True, type=click.Path(path_type=Path), metavar="PATH",
                 help="Labelled pictures: class folders, or FER2013, FER+, RAF-DB, AffectNet as published."),
    click.option("--dataset", default="auto", show_default=True, metavar="NAME",
                 shell_complete=names(("auto", *SETS)),
                 help=f"Data set in the folder: auto, {', '.join(SETS[:-1])} or {SETS[-1]}."),
    labels_option,
    without_option("; without Contempt, AffectNet and FER+ have seven"),
    click.option("--votes", type=click.Choice(["majority", "soft"]), default="majority", show_default=True,
                 help="Labels of FER+: the class with most votes, or the share of each."),
    click.option("--faces", type=click.Choice(["auto", "whole", "box", "detect"]), default="auto",
                 show_default=True, help="Where the face is: the whole picture, the data set's own box, or "
                 "detected and aligned as in clips."),
    altered(detector_option, default="dlib", help="Face detector for --faces detect."),
    click.option("--margin", type=float, metavar="SHARE",
                 help="Margin around a box, relative to its longer side.  [default: 0.15]"),
    click.option("--cache", type=click.Path(path_type=Path), metavar="DIR",
                 help="Folder for decoded pictures.  [default: in memory; pictures/ for detect]"),
    click.option("--memory", type=click.FloatRange(min=0), default=2.0, show_default=True, metavar="GB",
                 help="Memory for pictures; larger sets need --cache."),
)  # fmt: skip

network_options = group(
    "Network",
    altered(backbone_option, default=DEFAULT_BACKBONE, show_default=True),
    click.option("--head-only", is_flag=True, help="Train only the classifier, on frozen features."),
    click.option("--teacher", multiple=True,
                 type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE.safetensors",
                 help="Trained network to distil from. Repeatable: the mean is used."),
    click.option("--teacher-share", type=click.FloatRange(0, 1), default=0.5, show_default=True,
                 metavar="SHARE", help="Share of the teachers in each label."),
)  # fmt: skip

small_size_option = group(
    "Training",
    click.option("--small-size", type=click.IntRange(min=0), default=0, metavar="PIXELS",
                 help="Train the first 60 % of the epochs on smaller pictures, which is faster."),
)  # fmt: skip


@command("face", epilog=EXAMPLES + augmentation_help(Augmentation))
@data_options
@network_options
@recipe_options
@small_size_option
@augment_option
@evaluation_options("--data", "the embedded network")
@group(
    "Evaluation",
    click.option("--tta", type=click.Choice(LOOKS), default="none", show_default=True,
                 help="Test-time augmentation: 1, 2 or 18 views of each picture are averaged."),
)  # fmt: skip
@device_options
@output_options
@json_result
@config_options
def face(evaluating: bool, **options: Any) -> int:
    """Train a face network on labelled pictures, or evaluate one.

    Writes the weights, for --backbone NAME@FILE of avemo-extract, and a card that describes them. Pictures
    with the same pixels are all in either the training or the held-out part. If training is stopped, the same
    command continues it, with the same result as an uninterrupted one.
    """
    with only_the_first_speaks():
        if evaluating:
            from ...pretrain.card import read_classifier

            weights = options["weights"] or _embedded()
            classifier, spec, classes = read_classifier(weights)
            return evaluate(_task(options, spec, classes, weights), classifier, weights, options)
        require_fabric()
        from ...extract.backbones import get

        if options["head_only"] and options["teacher"]:
            raise InputError("--teacher trains the whole network: leave out --teacher or --head-only")
        name, _, start = options["backbone"].partition("@")
        changes = changes_of(Augmentation, options["augment"])
        recipe = recipe_of(options, random=not start, augmentation=changes)
        return train(_task(options, get(name)), recipe, start, options)


def _task(
    options: Mapping[str, Any], spec: BackboneSpec, classes: Sequence[str] = (), weights: Path = Path()
) -> FaceTask:
    """Read the pictures that the options name; for evaluation, in the ``classes`` of ``weights``."""
    import numpy as np

    from ...pretrain.chips import MARGIN, faces_named
    from ...pretrain.packed import pack
    from ...pretrain.tasks import FaceTask
    from ..corpora.clips.labels import read_labels
    from ..corpora.images.find import find_pictures

    pictures = find_pictures(
        options["data"],
        options["dataset"],
        votes=options["votes"],
        faces=options["faces"],
        labels=read_labels(options["labels"]) if options["labels"] else None,
        without=options["without"],
    )
    counts = Counter(pictures.classes[int(np.argmax(picture.label))] for picture in pictures.pictures)
    click.echo(f"{options['data']}: {pictures.name}, {len(pictures.pictures)} pictures: {counts_of(counts)}")
    for note in pictures.notes:
        click.echo(note)
    if classes:
        pictures = pictures.in_classes_of(classes, weights)
    margin = MARGIN if options["margin"] is None else options["margin"]
    faces = faces_named(pictures.faces, choose_detector(options["detector"]).text, margin)
    cache = options["cache"] or (Path("pictures") if faces.costly else None)
    with Terminal().counting("reading", "picture", len(pictures.pictures)) as advance:
        packed = pack(
            pictures,
            spec.input_size,
            spec.colour == "grey",
            advance,
            faces,
            cache,
            int(options["memory"] * 2**30),
        )
    teachers = None
    if options["teacher"] and not classes:
        from ...pretrain.teachers import Teachers

        teachers = Teachers(options["teacher"], spec, packed.classes, options["teacher_share"])
    held_out, views = options["held_out"], options["tta"]
    return FaceTask(spec, packed, pictures, held_out, views, teachers, options["head_only"])


def _embedded() -> Path:
    from ...extract.backbones import get

    default = get(DEFAULT_BACKBONE).default_weights
    assert default is not None
    return default()
