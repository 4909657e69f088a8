"""``avemo pretrain face``: a face network on labelled pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ...extract import DEFAULT_BACKBONE
from ..cli.completion import names
from ..cli.framework import InputError, altered, command, group, json_result, keep_result
from ..cli.options import backbone_option, detector_option
from ..cli.progress import progress_bar
from ..cli.settings_file import config_options
from ..corpora.clips.found import counts_of
from .options import (
    device_options,
    evaluation_options,
    learning_rate,
    output_options,
    recipe_options,
    rename_option,
    renaming,
    without_option,
)
from .work import (
    Job,
    as_card,
    clear_way,
    fit,
    make_fabric,
    only_the_first_speaks,
    require_fabric,
    rounded,
    tell_calibration,
    tell_figures,
    torch_device,
    training_card,
)

if TYPE_CHECKING:
    import lightning_fabric as lightning
    import numpy as np

    from ...extract.backbones import BackboneSpec
    from ...extract.views import ViewSet
    from ...pretrain.calibration import Calibration
    from ...pretrain.classifier import Classifier
    from ...pretrain.evaluation import Figures
    from ...pretrain.packed import Packed
    from ...pretrain.pictures import PictureSet
    from ...pretrain.recipe import Recipe
    from ...pretrain.samples import FaceSamples
    from ...pretrain.training import Fitted

LOOKS = ("none", "flip", "default", "wide")
SHOWN = 10  # of the pictures that are left out

EXAMPLES = """
\b
Examples:
  avemo pretrain face --data fer2013.csv --out mine.safetensors
  avemo pretrain face --data rafdb/ --backbone ir50@backbone_ir50_ms1m_epoch120.pth --lr 0.01
  avemo pretrain face --data affectnet/ --backbone resnet18@Resnet18_MS1M_pytorch.pth.tar \\
                      --balance sampling --epochs 10 --devices 4
  avemo pretrain face --data ferplus/ --votes soft --teacher one.safetensors --teacher two.safetensors
  avemo pretrain face --data ferplus/ --votes soft --head-only --backbone mobilefacenet@mobilefacenet.pt
  avemo pretrain face --evaluate --data test/
  avemo pretrain face --evaluate --weights mine.safetensors --data fer2013.csv --tta wide
  avemo-extract clips/ --backbone ferresnet@mine.safetensors

\b
Exit code: 0 done; 1 done, but some pictures could not be read, each named with its reason;
2 wrong arguments or input; 130 interrupted: the same command goes on.
"""

data_options = group(
    "Clips",
    click.option("--data", required=True, type=click.Path(path_type=Path), metavar="PATH",
                 help="Labelled pictures: class folders, or FER2013, FER+, RAF-DB, AffectNet as published."),
    click.option("--layout", default="auto", show_default=True, metavar="NAME",
                 shell_complete=names(("auto", "folders", "fer2013", "ferplus", "rafdb", "affectnet")),
                 help="folders, fer2013, ferplus, rafdb or affectnet."),
    rename_option,
    without_option("; without Contempt, AffectNet and FER+ have seven"),
    click.option("--votes", type=click.Choice(["majority", "soft"]), default="majority", show_default=True,
                 help="Labels of FER+: the class with most votes, or the share of each."),
    click.option("--faces", type=click.Choice(["auto", "whole", "box", "detect"]), default="auto",
                 show_default=True, help="Where the face is: the whole picture, the data set's own box, or "
                 "detected and aligned as in clips."),
    altered(detector_option, help="Face detector for --faces detect."),
    click.option("--margin", type=float, metavar="SHARE",
                 help="Margin around a box, relative to its longer side.  [default: 0.15]"),
    click.option("--cache", type=click.Path(path_type=Path), metavar="DIR",
                 help="Folder for decoded pictures.  [default: in memory; pictures/ for detect]"),
    click.option("--memory", type=click.FloatRange(min=0), default=2.0, show_default=True, metavar="GB",
                 help="Memory for pictures; more need --cache."),
)  # fmt: skip

network_options = group(
    "Network",
    altered(backbone_option, default=DEFAULT_BACKBONE, show_default=True),
    click.option("--head-only", is_flag=True, help="Train only the classifier, on frozen features."),
    click.option("--teacher", multiple=True,
                 type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE.safetensors",
                 help="Trained network to distil from. Repeatable: then the mean of all."),
    click.option("--teacher-share", type=click.FloatRange(0, 1), default=0.5, show_default=True,
                 metavar="SHARE", help="Share of the teachers in each label."),
)  # fmt: skip

change_options = group(
    "Augmentation",
    click.option("--no-flip", is_flag=True, help="Never mirror a face."),
    click.option("--rotate", type=click.FloatRange(0, 180), default=15.0, show_default=True,
                 metavar="DEGREES", help="Largest rotation, either way."),
    click.option("--scale", type=click.FloatRange(min=1), default=1.2, show_default=True, metavar="TIMES",
                 help="Largest factor of enlarging or shrinking."),
    click.option("--shift", type=click.FloatRange(0, 1), default=0.08, show_default=True, metavar="SHARE",
                 help="Largest shift, relative to the picture's side."),
    click.option("--light", type=click.FloatRange(min=0), default=0.3, show_default=True, metavar="STRENGTH",
                 help="Strength of changes in contrast, brightness and side light."),
    click.option("--blur", type=click.FloatRange(min=0), default=0.8, show_default=True, metavar="PIXELS"),
    click.option("--noise", type=click.FloatRange(min=0), default=6.0, show_default=True, metavar="LEVELS"),
    click.option("--erase", type=click.FloatRange(0, 1), default=0.5, show_default=True, metavar="SHARE",
                 help="Share of pictures in which a rectangle is erased."),
    click.option("--small-size", type=click.IntRange(min=0), default=0, metavar="PIXELS",
                 help="Train the first 60 % of the epochs on smaller pictures, which is faster."),
)  # fmt: skip


@command("face", epilog=EXAMPLES)
@data_options
@network_options
@recipe_options
@change_options
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
def face(evaluate: bool, **options: Any) -> int:
    """Train a face network on labelled pictures, or say how right one is.

    Writes the weights, which --backbone NAME@FILE of avemo-extract takes, and a card that says what they
    are. Pictures of the same pixels stay on one side of the held-out part. A training that was stopped goes
    on with the same command, and ends as if it had not been.
    """
    with only_the_first_speaks():
        return _evaluate(options) if evaluate else _train(options)


def _train(options: Mapping[str, Any]) -> int:
    require_fabric()
    import torch

    from ...extract.backbones import get
    from ...pretrain.card import empty_classifier, load_trunk, write_weights
    from ...pretrain.samples import FaceSamples
    from ...pretrain.specs import Normalisation
    from ...pretrain.split import fitted_and_held_out
    from ...pretrain.teachers import Teachers

    if options["head_only"] and options["teacher"]:
        raise InputError("--teacher teaches a whole network: leave it out, or --head-only")
    name, _, start = options["backbone"].partition("@")
    spec = get(name)
    recipe = _recipe(options, random=not start)
    pictures = _find(options)
    packed = _pack(pictures, spec, options)
    fitted_rows, watched = fitted_and_held_out(packed, options["held_out"], recipe.seed)
    torch.manual_seed(recipe.seed)
    classifier = empty_classifier(spec, len(packed.classes), recipe.dropout)
    classifier.to(memory_format=torch.channels_last)
    identity: dict[str, Any] = {"architecture": spec.name, "recipe": recipe.settings(), "data": packed.digest}
    if start:
        identity["start"] = load_trunk(classifier, spec, start)
    if options["head_only"]:
        identity["head_only"] = True
    teachers = None
    if options["teacher"]:
        teachers = Teachers(options["teacher"], spec, packed.classes, options["teacher_share"])
        identity["teachers"] = teachers.identity()
    out = options["out"] or Path(f"{spec.name.replace(':', '-')}-{pictures.name}.safetensors")
    samples = FaceSamples(packed, Normalisation.of(spec), recipe)
    job = Job(samples, fitted_rows, watched, recipe, identity, out, teachers)
    clear_way(job, options["overwrite"])
    begins = f"starting from {start}" if start else "starting at random"
    click.echo(f"{spec.name}, {begins}: {len(job.fit)} pictures to fit, {len(job.watch)} held out")
    if job.done and not options["overwrite"]:
        click.echo(f"{out}: trained already")
        return _say_skipped(packed)
    fabric = make_fabric(options)
    train = _fit_head if options["head_only"] else fit
    fitted, seconds = train(fabric, classifier, job)
    if not fabric.is_global_zero:
        return 0
    card = _card(spec, pictures, packed, options) | training_card(job, fitted, seconds)
    if len(job.watch):
        seen = _seen(fitted.classifier, samples, packed, job.watch, options["tta"], options)
        of_looks = as_card(seen.figures) | {"calibration": rounded(seen.calibration)}
        card["held_out"] = {options["tta"]: of_looks}
        tell_calibration(seen.calibration)
        tell_figures(seen.figures, f"held out, epoch {fitted.best}")
    write_weights(out, fitted.classifier, card, options["half"])
    job.checkpoint.unlink(missing_ok=True)
    keep_result(weights=str(out))
    click.echo(f"wrote {out} and {out.with_suffix('.json')}")
    return _say_skipped(packed)


def _evaluate(options: Mapping[str, Any]) -> int:
    import numpy as np

    from ...pretrain.card import read_classifier
    from ...pretrain.recipe import Recipe
    from ...pretrain.samples import FaceSamples
    from ...pretrain.specs import Normalisation

    weights = options["weights"] or _embedded()
    classifier, spec, classes = read_classifier(weights)
    pictures = _in_classes_of(classes, _find(options), weights)
    packed = _pack(pictures, spec, options)
    part = next(part for part in ("test", "val", "", "train") if (packed.parts == part).any())
    rows = np.flatnonzero(packed.parts == part)
    samples = FaceSamples(packed, Normalisation.of(spec), Recipe())
    seen = _seen(classifier, samples, packed, rows, options["tta"], options)
    of = f"{pictures.name} {part}".strip()
    click.echo(f"{weights.name} on {of}: {len(rows)} pictures, {len(_looks(options['tta']))} looks at each")
    tell_calibration(seen.calibration)
    tell_figures(seen.figures, of)
    return _say_skipped(packed)


def _recipe(options: Mapping[str, Any], random: bool) -> Recipe:
    from ...pretrain.recipe import Augmentation, Recipe

    changes = {
        name: options[name] for name in ("rotate", "scale", "shift", "light", "blur", "noise", "erase")
    }
    plain = ("epochs", "batch", "optimiser", "warm_up", "weight_decay", "label_smoothing", "dropout")
    return Recipe(
        **{
            name: options[name]
            for name in (*plain, "mixup", "balance", "ema", "patience", "small_size", "seed")
        },
        learning_rate=learning_rate(options, random),
        augmentation=Augmentation(flip=not options["no_flip"], **changes),
    )


def _find(options: Mapping[str, Any]) -> PictureSet:
    import numpy as np

    from ..corpora.pictures.find import find_pictures

    pictures = find_pictures(
        options["data"],
        options["layout"],
        votes=options["votes"],
        faces=options["faces"],
        rename=renaming(options["rename"]),
        without=options["without"],
    )
    counts = Counter(pictures.classes[int(np.argmax(picture.label))] for picture in pictures.pictures)
    click.echo(f"{options['data']}: {pictures.name}, {len(pictures.pictures)} pictures: {counts_of(counts)}")
    for note in pictures.notes:
        click.echo(note)
    return pictures


def _pack(pictures: PictureSet, spec: BackboneSpec, options: Mapping[str, Any]) -> Packed:

    from ...pretrain.chips import MARGIN, faces_named
    from ...pretrain.packed import pack

    margin = MARGIN if options["margin"] is None else options["margin"]
    faces = faces_named(pictures.faces, options["detector"], margin)
    with progress_bar(total=len(pictures.pictures), unit="picture", desc="reading", leave=False) as bar:
        return pack(
            pictures,
            spec.input_size,
            spec.colour == "grey",
            bar.update,
            faces,
            options["cache"] or (Path("pictures") if faces.costly else None),
            int(options["memory"] * 2**30),
        )


def _fit_head(fabric: lightning.Fabric, classifier: Classifier, job: Job) -> tuple[Fitted, float]:
    """Fit the layer of classes on the features of the network as it is."""
    import numpy as np
    from torch import nn

    from ...pretrain.classifier import Classifier
    from ...pretrain.evaluation import outputs
    from ...pretrain.samples import FaceSamples, FeatureSamples
    from ...pretrain.training import Fitted

    assert isinstance(job.samples, FaceSamples)
    rows = np.arange(len(job.samples.labels))
    device = str(fabric.device)
    with progress_bar(total=len(rows), unit="picture", desc="features", leave=False) as bar:
        features = outputs(classifier.trunk, job.samples, rows, _looks("flip"), device, "fp32", bar.update)
    samples = FeatureSamples(job.samples.classes, job.samples.labels, features)
    head = Classifier(nn.Identity(), features.shape[-1], len(samples.classes), job.recipe.dropout)
    fitted, seconds = fit(fabric, head, replace(job, samples=samples))
    classifier.classes = fitted.classifier.classes
    return Fitted(classifier.to("cpu").eval(), fitted.best, fitted.history), seconds


def _looks(name: str) -> ViewSet:
    from ...extract.views import VIEW_SETS, ViewSet

    return VIEW_SETS[name] if name in VIEW_SETS else ViewSet(name, flip=True)


class _Seen(NamedTuple):
    """What a network's word on some pictures is worth."""

    figures: Figures
    calibration: Calibration


def _seen(
    classifier: Classifier,
    samples: FaceSamples,
    packed: Packed,
    rows: np.ndarray,
    looks: str,
    options: Mapping[str, Any],
) -> _Seen:
    from ...extract.precision import resolve_precision
    from ...pretrain.calibration import calibration
    from ...pretrain.evaluation import figures, mean_probabilities, outputs

    device = torch_device(options["accelerator"])
    precision = resolve_precision(options["precision"], device)
    with progress_bar(total=len(rows), unit="picture", desc=f"{looks} looks", leave=False) as bar:
        logits = outputs(classifier, samples, rows, _looks(looks), device, precision, bar.update)
    probabilities = mean_probabilities(logits)
    return _Seen(
        figures(packed.classes, packed.targets[rows], probabilities),
        calibration(packed.labels[rows], probabilities),
    )


def _card(
    spec: BackboneSpec, pictures: PictureSet, packed: Packed, options: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "architecture": spec.name,
        "features": spec.features,
        "preprocessing": {
            "input_size": spec.input_size,
            "colour": spec.colour,
            "mean": list(spec.mean),
            "std": list(spec.std),
            "faces": pictures.faces,
        },
        "data": {
            "name": pictures.name,
            "pictures": len(packed.labels),
            "left_out": len(packed.skipped),
            "licence": options["licence"] or pictures.licence,
        },
    }


def _embedded() -> Path:
    from ...extract.backbones import get

    default = get(DEFAULT_BACKBONE).default_weights
    assert default is not None
    return default()


def _in_classes_of(classes: Sequence[str], pictures: PictureSet, weights: Path) -> PictureSet:
    """The pictures with their labels in the order of ``classes``.

    Raises:
        InputError: pictures of a class that the network does not know.
    """
    unknown = sorted({*pictures.classes} - {*classes})
    if unknown:
        raise InputError(
            f"{weights.name} tells {', '.join(classes)} apart, but there are pictures of "
            f"{', '.join(unknown)}: leave them out (--without {unknown[0]}) or --rename them"
        )
    places = [pictures.classes.index(name) if name in pictures.classes else None for name in classes]
    relabelled = tuple(
        replace(picture, label=tuple(0.0 if place is None else picture.label[place] for place in places))
        for picture in pictures.pictures
    )
    return replace(pictures, classes=tuple(classes), pictures=relabelled)


def _say_skipped(packed: Packed) -> int:
    """Name the pictures that were left out; the exit code."""
    for item in packed.skipped[:SHOWN]:
        click.echo(f"left out: {item.name}: {item.reason}", err=True)
    if len(packed.skipped) > SHOWN:
        click.echo(f"left out: {len(packed.skipped) - SHOWN} more", err=True)
    return 1 if packed.skipped else 0
