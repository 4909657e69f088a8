"""Known weights: the network of each, its publisher, where to get it, and how to recognise it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from ..digest import feed

Kind = Literal["face network", "face detector", "face points"]

# in the order of each network's outputs
FER_PLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
AFFECTNET_8 = ("Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise")
AFFECTNET_7 = tuple(name for name in AFFECTNET_8 if name != "Contempt")


@dataclass(frozen=True)
class WeightSet:
    """One set of weights, as it is published.

    Attributes:
        architecture: a face network of the registry, ``onnx``, or a detector.
        tag: distinguishes weights of one architecture; empty if there is only one.
        files: file names in circulation, the publisher's own first; empty if only this package has it.
        trained_on: training data.
        licence: licence as stated by the publisher; None if unknown.
        page: page where it is published.
        paper: paper that describes its training.
        url: direct link; None if there is none, or none that is known to work.
        checksum: ``sha256:`` and the digest or its beginning, or ``git:`` and the file's blob id in the
            publisher's repository; None if unknown.
        classes: emotion classes of its last layer, in order, if it has any.
        note: further remarks for users.
    """

    architecture: str
    tag: str
    files: tuple[str, ...]
    trained_on: str
    licence: str | None
    page: str
    paper: str
    url: str | None = None
    checksum: str | None = None
    classes: tuple[str, ...] = ()
    note: str = ""
    kind: Kind = "face network"

    @property
    def name(self) -> str:
        """``ir50@ms1m``, or ``dlib``."""
        return f"{self.architecture}@{self.tag}" if self.tag else self.architecture


def of_name(name: str) -> WeightSet | None:
    """Return the weights called ``name``, if known."""
    return next((entry for entry in TABLE if entry.name == name), None)


def matches(name: str, pattern: str) -> bool:
    """Whether ``pattern`` matches the whole name or, if it has no wildcards (``*``, ``?``), a part of it."""
    if not re.search(r"[*?\[]", pattern):
        return pattern.lower() in name.lower()
    return fnmatchcase(name.lower(), pattern.lower())


def of_architecture(architecture: str) -> list[WeightSet]:
    """Return all known weights of one network."""
    return [entry for entry in TABLE if entry.architecture == architecture]


def detectors() -> list[str]:
    """Return the face detectors with known weights."""
    return [entry.architecture for entry in TABLE if entry.kind == "face detector"]


def of_file(name: str) -> WeightSet | None:
    """Return the weights with the file name ``name``, if known."""
    return next((entry for entry in TABLE if name in entry.files), None)


def published(digests: Mapping[str, str]) -> WeightSet | None:
    """Return the weights that match a file's :func:`digests`, if any."""
    return next((entry for entry in TABLE if agrees(entry, digests)), None)


def agrees(entry: WeightSet, digests: Mapping[str, str]) -> bool:
    """Whether a file's :func:`digests` match the ``entry``."""
    kind, _, beginning = (entry.checksum or "").partition(":")
    return bool(beginning) and digests[kind].startswith(beginning)


def digests(path: Path) -> dict[str, str]:
    """Return a file's ``sha256`` and its ``git`` blob id as hexadecimal digits."""
    sha256 = hashlib.sha256()
    git = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    feed(path, sha256, git)
    return {"sha256": sha256.hexdigest(), "git": git.hexdigest()}


def _torchvision(architecture: str, file: str, paper: str) -> WeightSet:
    # Each file name contains the beginning of the file's SHA-256.
    return WeightSet(
        architecture=architecture,
        tag="imagenet",
        files=(file,),
        trained_on="ImageNet, 1000 classes of things",
        licence="BSD-3-Clause (torchvision's)",
        page="https://github.com/pytorch/vision",
        paper=paper,
        url=f"https://download.pytorch.org/models/{file}",
        checksum=f"sha256:{Path(file).stem.rpartition('-')[2]}",
    )


_EMOTIEFFLIB = "https://github.com/sb-ai-lab/EmotiEffLib"
_EMOTIEFFLIB_FILES = (
    f"{_EMOTIEFFLIB}/raw/f1df0e8548c666d268826e50b7de107fd5553e9d/models/affectnet_emotions/onnx"
)


def _hsemotion(tag: str, blob: str, classes: tuple[str, ...] = AFFECTNET_8, paper: str = "") -> WeightSet:
    return WeightSet(
        architecture="onnx",
        tag=tag,
        files=(f"{tag}.onnx",),
        trained_on="VGGFace2, then AffectNet",
        licence="Apache-2.0 (the library's)",
        page=_EMOTIEFFLIB,
        paper=paper or "Savchenko 2021, arXiv:2103.17107",
        url=f"{_EMOTIEFFLIB_FILES}/{tag}.onnx",
        checksum=f"git:{blob}",
        classes=classes,
        note="HSEmotion; the features are the input of its last layer",
    )


def _vgg_group(architecture: str, tag: str, trained_on: str, file: str, link: bool = False) -> WeightSet:
    fer_plus = tag == "ferplus"
    return WeightSet(
        architecture=architecture,
        tag=tag,
        files=(file,),
        trained_on=trained_on,
        licence=None,
        page=_VGG_MODELS if fer_plus else "https://github.com/ox-vgg/vgg_face2",
        paper="Albanie et al. 2018, arXiv:1808.05561" if fer_plus else "Cao et al. 2018, arXiv:1710.08092",
        url=f"{_VGG_FILES}/{file}" if link else None,
        classes=FER_PLUS if fer_plus else (),
        note="" if fer_plus else "published inside an archive: unpack it first",
    )


_VGG_MODELS = "https://www.robots.ox.ac.uk/~albanie/pytorch-models.html"
_VGG_FILES = "https://www.robots.ox.ac.uk/~albanie/models/pytorch-mcn"
_FACENET_FILES = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9"
_DLIB = "https://github.com/davisking/dlib-models"
_MS1M = "MS-Celeb-1M"

TABLE: tuple[WeightSet, ...] = (
    WeightSet(
        architecture="ferplusnet",
        tag="",
        files=(),
        trained_on="FER+",
        licence=None,
        page="made by `avemo pretrain face`",
        paper="He et al. 2016, arXiv:1512.03385 (its blocks)",
    ),
    WeightSet(
        architecture="ferresnet",
        tag="",
        files=(),
        trained_on="FER2013",
        licence=None,
        page="made by `avemo pretrain face`",
        paper="He et al. 2016, arXiv:1512.03385 (its blocks)",
    ),
    WeightSet(
        architecture="dlib",
        tag="",
        files=("dlib_face_recognition_resnet_model_v1.dat",),
        trained_on="3 million faces of 7485 people",
        licence="CC0-1.0",
        page=_DLIB,
        paper="King 2009, JMLR 10",
        checksum="sha256:55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    ),
    WeightSet(
        architecture="dlib-points",
        tag="",
        files=("shape_predictor_5_face_landmarks.dat",),
        trained_on="7198 faces",
        licence="CC0-1.0",
        page=_DLIB,
        paper="Kazemi and Sullivan 2014, CVPR",
        checksum="sha256:c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
        note="aligns the faces that dlib's detector finds",
        kind="face points",
    ),
    WeightSet(
        architecture="yunet",
        tag="2026may",
        files=("face_detection_yunet_2026may.onnx",),
        trained_on="WIDER Face",
        licence="MIT",
        page="https://github.com/opencv/opencv_zoo",
        paper="Wu et al. 2023, Machine Intelligence Research 20",
        url="https://github.com/opencv/opencv_zoo/raw/main/models/"
        "face_detection_yunet/face_detection_yunet_2026may.onnx",
        checksum="sha256:ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
        note="229,738 bytes; `--detector auto` uses it once it is installed",
        kind="face detector",
    ),
    WeightSet(
        architecture="mobilefacenet",
        tag="ms1m",
        files=("mobilefacenet.pt",),
        trained_on=_MS1M,
        licence="Apache-2.0 (the repository's)",
        page="https://github.com/foamliu/MobileFaceNet",
        paper="Chen et al. 2018, arXiv:1804.07573",
        url="https://github.com/foamliu/MobileFaceNet/raw/a6cc9032a659b615f477833e1a70b5e7931bcccc/"
        "weights/mobilefacenet.pt",
        checksum="sha256:90a00ba1d8b0b688af3deb731ed53dca582e6106805d1bc3cfdef55f570493f4",
    ),
    WeightSet(
        architecture="ir50",
        tag="ms1m",
        files=("backbone_ir50_ms1m_epoch120.pth",),
        trained_on=_MS1M,
        licence="MIT (the repository's)",
        page="https://github.com/ZhaoJ9014/face.evoLVe",
        paper="Deng et al. 2019, arXiv:1801.07698",
        note="the page links to drives",
    ),
    WeightSet(
        architecture="irse50",
        tag="ms1m",
        files=("model_ir_se50.pth", "recognition_arcface_ir_se50.pth"),
        trained_on=_MS1M,
        licence="MIT (the repository's)",
        page="https://github.com/TreB1eN/InsightFace_Pytorch",
        paper="Deng et al. 2019, arXiv:1801.07698",
        url="https://github.com/xinntao/facexlib/releases/download/v0.1.0/recognition_arcface_ir_se50.pth",
        checksum="sha256:a035c768259b98ab1ce0e646312f48b9e1e218197a0f80ac6765e88f8b6ddf28",
    ),
    WeightSet(
        architecture="resnet18",
        tag="ms1m",
        files=("Resnet18_MS1M_pytorch.pth.tar", "ijba_res18_naive.pth.tar"),
        trained_on=_MS1M,
        licence="MIT (the repository's)",
        page="https://github.com/Open-Debin/Emotion-FAN",
        paper="Meng et al. 2019, arXiv:1907.00193",
        note="the page links to drives",
    ),
    WeightSet(
        architecture="resnet18",
        tag="ferplus",
        files=("Resnet18_FER+_pytorch.pth.tar",),
        trained_on="MS-Celeb-1M, then FER+",
        licence="MIT (the repository's)",
        page="https://github.com/Open-Debin/Emotion-FAN",
        paper="Meng et al. 2019, arXiv:1907.00193",
        note="the page links to drives; the order of its eight classes is not published",
    ),
    WeightSet(
        architecture="vggface",
        tag="vggface",
        files=("vgg_face_dag.pth",),
        trained_on="VGGFace, 2622 people",
        licence="CC BY-NC 4.0",
        page=_VGG_MODELS,
        paper="Parkhi et al. 2015, BMVC",
        url=f"{_VGG_FILES}/vgg_face_dag.pth",
    ),
    _vgg_group("resnet50", "vggface2", "MS-Celeb-1M, then VGGFace2, 8631 people", "resnet50_ft_dag.pth"),
    _vgg_group("senet50", "vggface2", "MS-Celeb-1M, then VGGFace2, 8631 people", "senet50_ft_dag.pth"),
    _vgg_group("resnet50", "ferplus", "VGGFace2, then FER+", "resnet50_ferplus_dag.pth", link=True),
    _vgg_group("senet50", "ferplus", "VGGFace2, then FER+", "senet50_ferplus_dag.pth"),
    WeightSet(
        architecture="facenet",
        tag="vggface2",
        files=("20180402-114759-vggface2.pt",),
        trained_on="VGGFace2, 8631 people",
        licence="MIT (the repository's)",
        page="https://github.com/timesler/facenet-pytorch",
        paper="Schroff et al. 2015, arXiv:1503.03832",
        url=f"{_FACENET_FILES}/20180402-114759-vggface2.pt",
        checksum="sha256:281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b",
    ),
    WeightSet(
        architecture="facenet",
        tag="casia",
        files=("20180408-102900-casia-webface.pt",),
        trained_on="CASIA-WebFace, 10575 people",
        licence="MIT (the repository's)",
        page="https://github.com/timesler/facenet-pytorch",
        paper="Schroff et al. 2015, arXiv:1503.03832",
        url=f"{_FACENET_FILES}/20180408-102900-casia-webface.pt",
    ),
    _hsemotion("enet_b0_8_best_afew", "d87faf71e8756d68c701ffd88b4cde4be460f57d"),
    _hsemotion("enet_b0_8_best_vgaf", "49772db4e87ee6df57087fba131832a959e5c64d"),
    _hsemotion("enet_b0_8_va_mtl", "7ce9d6dd5b82b260bc19bfe7822a6ffa1abb6011"),
    _hsemotion("enet_b2_7", "cdd6a6070b72ed2e59e15e810ae0ecdbcb0f7626", AFFECTNET_7),
    _hsemotion("enet_b2_8", "a7cb612cbab1ce3d50dd52e57285fb2c7ea6d0d9"),
    _hsemotion("mbf_va_mtl", "194db927ec135679e5cd0a267c5605e2e9d68e7e"),
    _hsemotion("mobilevit_va_mtl", "bed5781a1af9924536638ac3786603e124ee900e"),
    _torchvision("resnet18-imagenet", "resnet18-f37072fd.pth", "He et al. 2016, arXiv:1512.03385"),
    _torchvision("alexnet", "alexnet-owt-7be5be79.pth", "Krizhevsky 2014, arXiv:1404.5997"),
    _torchvision("vgg19", "vgg19-dcbb9e9d.pth", "Simonyan and Zisserman 2015, arXiv:1409.1556"),
)
