"""Weights: where they come from, read without ever running code.

Only safetensors, or torch files read with ``weights_only=True``, whose restricted unpickler builds
tensors and plain containers and refuses everything else.
"""

from __future__ import annotations

import pickle
import socket
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from engine.contracts.source import HUB_TIMEOUT, UnreachableError, find_source
from engine.errors import WeightsError

_FILES = (
    "model.safetensors",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file by name.

    A training checkpoint's ``state_dict`` or ``model`` entry is taken, and the ``module.`` that
    data-parallel training puts before every name is removed.

    Raises:
        WeightsError: missing, cut short, damaged, holding code, or holding no tensors.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    raw = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for wrapper in ("state_dict", "model"):
        if isinstance(raw.get(wrapper), Mapping):
            raw = raw[wrapper]  # type: ignore[assignment]
    if raw and all(str(name).startswith("module.") for name in raw):
        raw = {str(name)[len("module.") :]: value for name, value in raw.items()}
    odd = [str(name) for name, value in raw.items() if not isinstance(value, Tensor)]
    if odd or not raw:
        what = f"`{odd[0]}` is no tensor" if odd else "it is empty"
        raise WeightsError(
            f"{path}: not a checkpoint of weights: {what}",
            hint="expected a state dict: names and tensors",
        )
    return {str(name): value for name, value in raw.items() if isinstance(value, Tensor)}


def _read_safetensors(path: Path) -> dict[str, object]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path}: not a whole safetensors file ({error})",
            hint="the file is cut short or damaged: fetch it again",
        ) from error


def _read_torch(path: Path) -> dict[str, object]:
    try:
        with warnings.catch_warnings():  # what torch remarks on the way is told below, as an error
            warnings.simplefilter("ignore")
            raw = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "TorchScript" in str(error):
            raise WeightsError(
                f"{path}: a TorchScript archive, which is a program, not only weights",
                hint="save its state_dict() as safetensors in the program that it came from",
            ) from error
        if "weights_only" in str(error).lower() or "Unsupported" in str(error):
            raise WeightsError(
                f"{path}: its pickle holds more than tensors, so it could run code; refused",
                hint="convert it to safetensors where you trust it",
            ) from error
        raise WeightsError(
            f"{path}: cannot be read as a torch file ({reason})",
            hint="the file is cut short, damaged, or of another kind",
        ) from error
    if not isinstance(raw, Mapping):
        raise WeightsError(f"{path}: holds a {type(raw).__name__}, not a state dict")
    return {str(name): value for name, value in raw.items()}


def fetch(source: str, part: str) -> dict[str, Tensor]:
    """The tensors that ``from:`` names.

    Args:
        source: ``hf:``, ``open_clip:``, ``file:`` or ``artifact:`` with its rest.
        part: ``"vision"`` or ``"text"``: of an artifact, this tower alone is given.

    Raises:
        UnreachableError: it cannot be reached; ``otherwise: scratch`` may step in.
        WeightsError: it is there and cannot be read.
    """
    scheme, _, rest = source.partition(":")
    if scheme == "open_clip":
        return read_checkpoint(_open_clip_file(rest))
    if scheme == "artifact":
        tensors = read_checkpoint(find_source(f"file:{rest}", ["model.safetensors"]).popitem()[1])
        prefix = f"{part}."
        return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
    if scheme == "file" and Path(rest).expanduser().is_file():
        return read_checkpoint(Path(rest).expanduser())
    return read_checkpoint(next(iter(find_source(source, _FILES, first_only=True).values())))


_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def _open_clip_file(name: str) -> Path:
    """The local file of open_clip's ``<arch>/<tag>``, downloaded into a cache where needed."""
    arch, _, tag = name.partition("/")
    import open_clip

    known = open_clip.get_pretrained_cfg(arch, tag)
    if not known:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(arch)) or "none"
        raise WeightsError(f"open_clip has no weights `{tag}` for `{arch}` (its tags: {tags})")
    if known.get("hf_hub"):
        # By our own way to the hub: open_clip's would ask it for minutes on a machine without
        # network. Its entries read `<owner>/<name>/<file>`, the file empty where it is the usual.
        repository, _, file = str(known["hf_hub"]).rpartition("/")
        safe = Path(file).with_suffix(".safetensors").name if file else ""
        files = tuple(dict.fromkeys((safe, file))) if file else _HUB_FILES
        try:
            found = find_source(f"hf:{repository}", files, first_only=True)
        except UnreachableError as error:
            raise UnreachableError(f"open_clip:{name}: {error.message}", hint=error.hint) from error
        return next(iter(found.values()))
    return _from_url(name, str(known["url"]))


def _from_url(name: str, url: str) -> Path:
    """A file that open_clip knows by its address alone, through open_clip's own cache."""
    import open_clip

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(HUB_TIMEOUT)  # urllib, which open_clip uses, else waits for ever
    try:
        return Path(open_clip.download_pretrained_from_url(url))
    except (OSError, RuntimeError) as error:
        raise UnreachableError(
            f"open_clip:{name}: {url} cannot be reached ({type(error).__name__}: {error})",
            hint="fetch the file on a machine with network and write `file:PATH`, or let the config"
            " say `otherwise: scratch`",
        ) from error
    finally:
        socket.setdefaulttimeout(before)
