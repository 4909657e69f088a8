"""Check what this machine has for avemo; each check runs the real thing."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

OK, NOTE, BAD = "ok", "note", "bad"

OLDEST, NEWEST = (3, 10), (3, 13)  # supported Python versions
LITTLE = 2 << 30  # bytes; less free space is worth a note
CODECS = (
    *("h264", "hevc", "mpeg4", "mpeg2video", "flv", "vp8", "vp9", "av1"),
    *("aac", "mp3", "opus", "vorbis", "flac", "pcm_s16le"),
)
EXTRAS = {
    "demo": ("skimage", "the clips of avemo demo"),
    "pretrain": ("lightning_fabric", "avemo pretrain"),
    "onnx": ("onnxruntime", "networks as ONNX files"),
    "timm": ("timm", "timm's networks"),
    "vad": ("silero_vad", "--vad silero"),
}


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes:
        name: name of the check.
        state: ``ok``; ``note`` for something that the user may want to change; ``bad`` for something that
            does not work.
        found: what the check found.
        remedy: what to do; empty if nothing.
    """

    name: str
    state: str
    found: str
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Run all checks in turn; one that raises is reported as ``bad`` with the reason."""
    for name, check in CHECKS.items():
        try:
            yield from check(name)
        except Exception as error:  # any error is a finding
            found = f"{type(error).__name__}: {_first_line(error)}"
            yield Finding(name, BAD, found, "reinstall avemo: pip install --force-reinstall avemo")


def python(name: str) -> Iterator[Finding]:
    running = sys.version_info[:2]
    fits = OLDEST <= running <= NEWEST
    supported = " to ".join(".".join(map(str, each)) for each in (OLDEST, NEWEST))
    remedy = "" if fits else f"avemo is tested with Python {supported}"
    yield Finding(name, OK if fits else NOTE, f"{sys.version.split()[0]}, {sys.executable}", remedy)


def networks(name: str) -> Iterator[Finding]:
    """Check that torch and torchvision work together."""
    found = f"torch {version('torch')}, torchvision {version('torchvision')}"
    try:
        import torch
        from torchvision.ops import nms

        nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, RuntimeError, AttributeError) as error:
        remedy = "pip install --force-reinstall torch torchvision, both from one index"
        yield Finding(name, BAD, f"{found}: {_first_line(error)}", remedy)
        return
    yield Finding(name, OK, found)


def device(name: str) -> Iterator[Finding]:
    import torch

    from ..extract.devices import best_device
    from ..extract.precision import resolve_precision

    best = best_device()
    properties = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    gpus = [f"{each.name} ({_size(each.total_memory)})" for each in properties]
    precision = resolve_precision("auto", best)
    yield Finding(name, OK, "; ".join([f"{best}, computing in {precision}", *gpus]))


def cores(name: str) -> Iterator[Finding]:
    import torch

    from ..extract.run import usable_cores

    usable = usable_cores()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    found = f"{usable} usable, {torch.get_num_threads()} threads for torch"
    if limit:
        found += f", OMP_NUM_THREADS={limit}"
    crowded = limit.isdigit() and int(limit) > usable
    remedy = "more threads than cores are slower: unset OMP_NUM_THREADS" if crowded else ""
    yield Finding(name, NOTE if crowded else OK, found, remedy)


def disk(name: str) -> Iterator[Finding]:
    for what, folder in (("here", Path.cwd()), ("for temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        remedy = f"make room in {folder}, or set TMPDIR" if free < LITTLE else ""
        yield Finding(name, NOTE if remedy else OK, f"{_size(free)} free {what}, {folder}", remedy)


def decoders(name: str) -> Iterator[Finding]:
    import av

    missing = [codec for codec in CODECS if not _has_decoder(codec)]
    library = ".".join(map(str, av.library_versions["libavcodec"]))
    found = f"PyAV {av.__version__}, FFmpeg's libavcodec {library}"
    if missing:
        remedy = "clips in these cannot be read: pip install --force-reinstall av"
        yield Finding(name, NOTE, f"{found}, without {', '.join(missing)}", remedy)
        return
    yield Finding(name, OK, f"{found}: {', '.join(CODECS)}")


def _has_decoder(codec: str) -> bool:
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    try:
        Codec(codec, "r")
    except UnknownCodecError:
        return False
    return True


def detectors(name: str) -> Iterator[Finding]:
    import numpy as np

    from ..extract.detectors import DETECTORS, load_detector
    from .detector_choice import AUTO, choose_detector

    choice = choose_detector(AUTO)
    for text in dict.fromkeys(("dlib", choice.text)):
        load_detector(text)(np.zeros((96, 96, 3), np.uint8))
    others = ", ".join(f"{each}@FILE" for each in DETECTORS if each != "dlib")
    yield Finding(name, OK, f"auto is {choice.text} ({choice.why}); with your own file: {others}")


def backbone(name: str) -> Iterator[Finding]:
    """Run the default network on blank images, and time it."""
    import numpy as np

    from ..extract import DEFAULT_BACKBONE
    from ..extract.backbones import load_backbone
    from ..extract.devices import best_device

    network = load_backbone(DEFAULT_BACKBONE, best_device(), "auto")
    size = network.spec.input_size
    views = np.zeros((36, size, size, 3), np.uint8)
    network(views)
    start = time.perf_counter()
    vectors = network(views)
    each = (time.perf_counter() - start) / len(views)
    yield Finding(name, OK, f"{network.label}, {vectors.shape[1]} features, {1000 * each:.1f} ms a view")


def weights(name: str) -> Iterator[Finding]:
    from ..extract.backbones.weights_folder import folder, stored

    here = stored()
    bundled = ", ".join(each.name for each in here if each.place != "cached")
    fetched = ", ".join(each.name for each in here if each.place == "cached")
    yield Finding(name, OK, f"with avemo and its packages: {bundled}")
    if fetched:
        yield Finding(name, OK, f"in {folder()}: {fetched}")
    else:
        yield Finding(name, NOTE, f"none in {folder()}", "`avemo weights list` lists others")


def extras(name: str) -> Iterator[Finding]:
    installed = [extra for extra, (module, _) in EXTRAS.items() if find_spec(module)]
    if installed:
        yield Finding(name, OK, ", ".join(installed))
    for extra, (_, what) in EXTRAS.items():
        if extra not in installed:
            yield Finding(name, NOTE, f"without {extra}: {what}", f"pip install 'avemo[{extra}]'")


CHECKS: dict[str, Callable[[str], Iterator[Finding]]] = {
    "python": python,
    "networks": networks,
    "device": device,
    "cores": cores,
    "disk": disk,
    "decoders": decoders,
    "detector": detectors,
    "backbone": backbone,
    "weights": weights,
    "extras": extras,
}


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _size(count: float) -> str:
    return f"{count / (1 << 30):.1f} GB"
