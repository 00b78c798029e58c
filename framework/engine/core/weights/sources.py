"""Sources of weights: what ``from:`` in a config names, found and read."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from engine.core.manifest import parse_manifest
from engine.core.model_path import model_folder
from engine.core.registry import default_registry
from engine.core.sources import HUB_TIMEOUT, UnreachableError, find_source, local_path
from engine.core.weights.checkpoint import read_checkpoint
from engine.core.weights.stored import read_weights
from engine.errors import WeightsError

_FILES = (
    "model.safetensors",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
)


def fetch(source: str, part: str, preferred: Sequence[str] = ()) -> dict[str, Tensor]:
    """The tensors that ``from:`` names.

    Args:
        source: ``hf:``, ``open_clip:``, ``file:``, ``package:`` or ``artifact:`` with its rest.
        part: ``"vision"`` or ``"text"``: of an artifact, this tower alone is given.
        preferred: files that come before the usual ones, where the source has both.

    Raises:
        UnreachableError: it cannot be reached; ``otherwise: scratch`` may step in.
        WeightsError: it is there and cannot be read.
    """
    scheme, _, rest = source.partition(":")
    if scheme == "artifact":
        tensors = _of_artifact(rest)
        prefix = f"{part}."
        return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
    return read_checkpoint(find_checkpoint(source, preferred))


def find_checkpoint(source: str, preferred: Sequence[str] = ()) -> Path:
    """The file of weights that a source names, on this machine.

    Args:
        source: ``hf:``, ``open_clip:``, ``file:`` or ``package:`` with its rest.
        preferred: see :func:`fetch`.

    Raises:
        UnreachableError, WeightsError: see :func:`fetch`.
    """
    scheme, _, rest = source.partition(":")
    if scheme == "open_clip":
        return _open_clip_file(rest)
    path = local_path(source)
    if path is not None and path.expanduser().is_file():
        return path.expanduser()
    names = tuple(dict.fromkeys((*preferred, *_FILES)))
    return next(iter(find_source(source, names, first_only=True).values()))


def _of_artifact(path: str) -> dict[str, Tensor]:
    """The tensors of an artifact (or of a finished training run), decoded as its manifest says."""
    folder = model_folder(Path(path).expanduser())
    names = ["model.safetensors", "engine.json"]
    files = find_source(f"file:{folder}", names, needs=[names[:1]])
    manifest = parse_manifest(files[names[1]]) if names[1] in files else {}
    return read_weights(files[names[0]], manifest, default_registry())


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
    socket.setdefaulttimeout(
        HUB_TIMEOUT
    )  # urllib, which open_clip uses, otherwise waits without end
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
