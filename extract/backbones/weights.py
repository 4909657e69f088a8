"""Weights files: read without running any code in them, and matched key by key with a network."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ..errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

State: TypeAlias = "dict[str, Tensor]"

CLASS_LAYER = "emotion."
"""Key prefix of the class layer that pre-training adds on top of a network."""

FileKind = Literal["torch", "safetensors", "onnx", "dlib"]

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
# the number that torch.save writes first in its old format, which is no zip archive
_TORCH_MAGIC = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_ONNX, _DLIB = b"\x08", b"loss_metric_2"
_ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "rar",
}
_SHOWN_KEYS = 5
_HOW_TO_SAVE = (
    "If you trust the file, open it in the program that wrote it and save only its tensors: "
    "torch.save(model.state_dict(), FILE)"
)


def load_state(path: str | Path) -> State:
    """Return the tensors of a checkpoint by name, on the CPU, floating ones as float32.

    Reads safetensors and ``torch.save`` files, the latter with ``weights_only=True``, so that no code
    in the file runs. A ``state_dict`` or ``model`` entry is unwrapped, and the ``module.`` prefix of
    data-parallel training is removed.

    Raises :class:`WeightsError` if the file is absent, not a checkpoint, damaged, or holds pickled
    objects besides tensors.
    """
    path = Path(path)
    kind = file_kind(path)
    if kind in ("onnx", "dlib"):
        raise WeightsError(f"{path}: not a checkpoint but a file of {kind}: give it as {kind}@{path.name}")
    content = _read_torch(path) if kind == "torch" else _read_safetensors(path)
    return {_plain_name(key): _plain_tensor(value) for key, value in _tensors(path, content).items()}


def file_kind(path: str | Path) -> FileKind:
    """Return the format of a weights file by its first bytes, without checking the rest.

    Raises :class:`WeightsError` if the file cannot be read or is not a weights file; the message says what
    it is instead, if that can be determined.
    """
    path = Path(path)
    start = _first_bytes(path)
    if start.startswith(_ZIP) or (start.startswith(_PICKLE) and _TORCH_MAGIC in start):
        return "torch"
    if start[8:9] == b"{":
        return "safetensors"
    if _DLIB in start:
        return "dlib"
    if start.startswith(_ONNX):
        return "onnx"
    raise WeightsError(f"{path}: {_why_not_weights(start)}")


def _why_not_weights(start: bytes) -> str:
    archive = next((name for magic, name in _ARCHIVES.items() if start.startswith(magic)), None)
    if archive:
        return f"not a checkpoint but an archive ({archive}); unpack it and give the file inside"
    if start.startswith(_PICKLE):
        return (
            "holds pickled Python objects, which torch.save did not write; loading these would run code "
            f"from the file, so it is refused. {_HOW_TO_SAVE}"
        )
    if start.startswith(b"version https://git-lfs"):
        return (
            "not a checkpoint but the pointer that Git LFS leaves in its place; fetch it with `git lfs pull`"
        )
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "not a checkpoint but a web page, such as a login or download page; fetch the file itself"
    if not start:
        return "not a checkpoint: the file is empty; fetch it again"
    return (
        f"not a checkpoint (it begins with {start[:16]!r}); expected a file of torch.save, safetensors, "
        "ONNX or dlib"
    )


def load_into(
    module: nn.Module,
    state: Mapping[str, Tensor],
    network: str,
    path: str | Path,
    ignored: tuple[str, ...] = (),
) -> None:
    """Load ``state`` into ``module``, which may be on the meta device; its tensors are assigned, not copied.

    Keys that begin with one of ``ignored`` are dropped, and a batch norm's ``num_batches_tracked``,
    which inference does not use, may be missing. Any other difference raises :class:`WeightsError`,
    which counts and names the missing, extra and misshapen keys of ``network`` in the file ``path``.
    """
    import torch

    wanted = module.state_dict()
    given = {key: value for key, value in state.items() if not key.startswith(ignored)}
    for key in wanted:
        if key.endswith("num_batches_tracked"):
            given.setdefault(key, torch.tensor(0))
    differences = [
        _summary("missing", [key for key in wanted if key not in given]),
        _summary("extra", [key for key in given if key not in wanted]),
        _summary("misshapen", _misshapen(wanted, given)),
    ]
    if any(differences):
        raise WeightsError(
            f"{path}: not weights of {network!r}: {'; '.join(filter(None, differences))}. "
            "Give the checkpoint that fits, or name the network that it was made for"
        )
    try:
        module.load_state_dict(given, assign=True)
    except RuntimeError as error:
        raise WeightsError(
            f"{path}: not weights of {network!r} ({' '.join(str(error).split())[:300]})"
        ) from error


def _first_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise WeightsError(f"{path}: a folder, expected a weights file")
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise WeightsError(f"{path}: the weights file cannot be read ({error.strerror})") from error


def _read_torch(path: Path) -> Any:
    import torch

    try:
        if not _is_torchscript(path):
            return torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # a malformed archive or pickle may fail in any way
        if "GLOBAL" in str(error):
            raise WeightsError(
                f"{path}: holds pickled Python objects, perhaps a whole model; loading these would run "
                f"code from the file, so it is refused. {_HOW_TO_SAVE}"
            ) from error
        raise WeightsError(f"{path}: a damaged or truncated checkpoint; fetch it again") from error
    raise WeightsError(f"{path}: a TorchScript program, which carries code. {_HOW_TO_SAVE}")


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise WeightsError(
            f"{path}: it is compressed, which torch.save never does, and could fill the memory, so it is "
            "refused; if you trust it, save its tensors again with torch.save"
        )
    return any(member.filename.endswith("/constants.pkl") for member in members)


def _read_safetensors(path: Path) -> State:
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError) as error:
        why = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"{path}: a damaged or truncated safetensors file ({why}); fetch it again"
        ) from error


def _tensors(path: Path, content: Any) -> Mapping[str, Tensor]:

    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path}: holds a {type(content).__name__}, expected tensors by name (a state_dict)"
        )
    others = [str(key)[:80] for key, value in content.items() if not _is_plain(value)]
    if others:
        raise WeightsError(
            f"{path}: {_summary('entries that are not tensors', others)}; expected plain tensors by name, "
            f"alone or under one of {', '.join(_WRAPPERS)}"
        )
    return content


def _is_plain(value: object) -> bool:
    """Whether it is a tensor with all its values in the file: not sparse, not quantised, and not one value
    expanded to a billion places."""
    import torch

    return (
        isinstance(value, torch.Tensor)
        and value.device.type == "cpu"
        and value.layout == torch.strided
        and not value.is_quantized
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _plain_name(key: object) -> str:
    return str(key).removeprefix("module.")


def _plain_tensor(value: Tensor) -> Tensor:
    return value.detach().float() if value.is_floating_point() else value.detach()


def _misshapen(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{key} {list(given[key].shape)} instead of {list(value.shape)}"
        for key, value in wanted.items()
        if key in given and given[key].shape != value.shape
    ]


def _summary(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    shown = ", ".join(key if key.isprintable() else repr(key) for key in keys[:_SHOWN_KEYS])
    return f"{len(keys)} {what} ({shown}{', …' if len(keys) > _SHOWN_KEYS else ''})"
