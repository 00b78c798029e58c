"""Files of a source that a config names, as paths on this machine. Nothing here imports torch.

A tokenizer's vocabulary and a tower's weights are found by the same function::

    files = find_source("hf:owner/name@v1", ["vocab.json", "merges.txt"])
    files["vocab.json"].read_text(encoding="utf-8")

:class:`UnreachableError` means "not there, or not from here", and is what `otherwise: scratch`
answers. A source that is there and broken raises a plain :class:`WeightsError`, which nothing
answers but the user.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath

from engine.core.packaged import NotInstalledError, package_path
from engine.errors import WeightsError

HUB_TIMEOUT = 5.0
"""Seconds that the hub may take to answer before it counts as out of reach."""

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_REPOSITORY = re.compile(
    rf"(?P<repository>{_PART}/{_PART})(?:@(?P<revision>[A-Za-z0-9._/-]{{1,200}}))?"
)
_OUR_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class UnreachableError(WeightsError):
    """The source does not exist, or cannot be reached from here: `otherwise: scratch` applies."""


def find_source(
    source: str,
    names: Sequence[str],
    *,
    first_only: bool = False,
    needs: Sequence[Collection[str]] = (),
) -> dict[str, Path]:
    """Find the wanted files of a source.

    Args:
        source: ``file:<path>`` (a folder, or one file), ``artifact:<folder>``,
            ``package:<distribution>/<path>``, or ``hf:<owner>/<name>``, with ``@<revision>`` at its
            end where one is meant. Files of the hub are kept in its own cache, which also serves
            without a network and under ``HF_HUB_OFFLINE``.
        names: the wanted files, relative to the folder or repository, the best first. They may be
            alternatives: a name that the source does not have is absent from the result. One file
            (``file:rugpt.pt``) stands for the wanted name that it equals, or else for the first
            with its suffix.
        first_only: give (and download) the best one alone, for names that are alternatives.
        needs: sets of names, one of which must be there as a whole for the source to be of use; by
            default any one file is. What is in no set is optional.

    Returns:
        The files found by wanted name, in the order of ``names``; at least one.

    Raises:
        UnreachableError: there is no such file, folder, package, repository or revision, or the
            hub cannot be reached and its cache has none of the files, or not enough of them.
        WeightsError: the source is there but has none of the files, or not enough of them; its name
            is malformed; or this machine cannot store the files.
    """
    for name in names:
        path = PurePosixPath(name)
        if not name or path.is_absolute() or ".." in path.parts or "\\" in name:
            raise WeightsError(f"`{name}` is not a file name inside of {source}")
    scheme, _, rest = source.partition(":")
    local = local_path(source)
    if local is not None:
        found = _from_disk(source, local, names)
        _check_enough(source, found, needs)
        return _best(found) if first_only else found
    if scheme == "hf":
        return _from_hub(source, *_repository(rest), names, first_only, needs)
    raise WeightsError(
        f"`{source}` has no files to look for",
        hint="expected `file:<path>`, `artifact:<folder>`, `package:<distribution>/<path>` or"
        " `hf:<owner>/<name>`",
    )


def local_path(source: str) -> Path | None:
    """The file or folder of a source on this machine, whether it is there or not.

    Args:
        source: any source; for one that is not a path (``hf:``) the answer is ``None``.

    Raises:
        UnreachableError: ``package:`` names a package that is not installed.
        WeightsError: ``package:`` names no file of an installed package.
    """
    scheme, _, rest = source.partition(":")
    if scheme == "package":
        try:
            return package_path(rest)
        except NotInstalledError as error:
            raise UnreachableError(error.message, hint=error.hint) from error
    if scheme == "artifact" and rest:
        from engine.core.model_path import model_folder  # `engine size` of a config does without

        return model_folder(Path(rest).expanduser())
    return Path(rest) if scheme == "file" and rest else None


def _repository(text: str) -> tuple[str, str | None]:
    match = _REPOSITORY.fullmatch(text)
    if match is None or "--" in text or ".." in text:
        raise WeightsError(
            f"`hf:{text}` is not a repository of the hub",
            hint="expected `hf:<owner>/<name>` or `hf:<owner>/<name>@<revision>`",
        )
    return match["repository"], match["revision"]


def _enough(found: Collection[str], needs: Sequence[Collection[str]]) -> bool:
    """Whether the files are of use: any file where nothing is said of that."""
    return bool(found) and (not needs or any(set(some) <= set(found) for some in needs))


def _check_enough(source: str, found: Collection[str], needs: Sequence[Collection[str]]) -> None:
    if not _enough(found, needs):
        raise WeightsError(f"{source} has {', '.join(found)} alone", hint=_wanted(needs))


def _wanted(needs: Sequence[Collection[str]]) -> str:
    return "expected " + ", or ".join(" and ".join(f"`{n}`" for n in some) for some in needs)


def _from_disk(source: str, path: Path, names: Sequence[str]) -> dict[str, Path]:
    try:
        path = path.expanduser()
        if path.is_file():
            return {_name_for(source, path, names): path}
        if not path.is_dir():
            raise UnreachableError(
                f"{source}: there is no such file or folder", hint=f"looked at {path.absolute()}"
            )
        found = {name: path / name for name in names if (path / name).is_file()}
    except (OSError, ValueError, RuntimeError) as error:
        # no permission, a name too long, a null byte, `~somebody` who is nobody
        raise WeightsError(f"{source} cannot be read: {error}") from error
    if not found:
        raise _none_found(source, names)
    return found


def _best(found: dict[str, Path]) -> dict[str, Path]:
    return dict(list(found.items())[:1])


def _name_for(source: str, path: Path, names: Sequence[str]) -> str:
    exact = [name for name in names if PurePosixPath(name).name == path.name]
    alike = [name for name in names if PurePosixPath(name).suffix == path.suffix]
    if not exact + alike:
        raise _none_found(source, names)
    return (exact + alike)[0]


def _none_found(source: str, names: Iterable[str]) -> WeightsError:
    return WeightsError(
        f"{source} is there, but has none of the files wanted: {', '.join(names)}",
        hint="check that the config names the right source for this plugin",
    )


def _from_hub(
    source: str,
    repository: str,
    revision: str | None,
    names: Sequence[str],
    first_only: bool,
    needs: Sequence[Collection[str]],
) -> dict[str, Path]:
    import huggingface_hub

    looked_up = {
        name: huggingface_hub.try_to_load_from_cache(repository, name, revision=revision)
        for name in names
    }
    cached = {name: Path(path) for name, path in looked_up.items() if isinstance(path, str)}
    if len(cached) == len(names) or (first_only and names[0] in cached):
        return _best(cached) if first_only else cached
    try:
        # One question, answered or refused at once. `hf_hub_download` alone would repeat itself
        # for over 20 seconds a file on a machine without network.
        listing = huggingface_hub.HfApi().model_info(
            repository, revision=revision, timeout=HUB_TIMEOUT
        )
        there = {file.rfilename for file in listing.siblings or ()}
        wanted = [name for name in names if name in there]
        wanted = wanted[:1] if first_only else wanted
        found = {
            name: Path(
                huggingface_hub.hf_hub_download(
                    repository, name, revision=revision, etag_timeout=HUB_TIMEOUT
                )
            )
            for name in wanted
        }
    except Exception as error:  # whatever the hub's client and the HTTP library under it raise
        if isinstance(error, OSError) and error.errno in _OUR_DISK:
            raise WeightsError(f"{source} cannot be stored on this machine: {error}") from error
        if _enough(cached, needs):
            return _best(cached) if first_only else cached
        raise _unreachable(source, repository, names, cached, error) from error
    if not found:
        raise _none_found(source, names)
    _check_enough(source, found, needs)
    return found


def _unreachable(
    source: str,
    repository: str,
    names: Sequence[str],
    cached: Collection[str],
    error: Exception,
) -> UnreachableError:
    from huggingface_hub import errors

    held = f"{', '.join(cached)} alone" if cached else "none of the files"
    if isinstance(error, errors.GatedRepoError):
        reason = (
            "the repository is gated: its owner lets only those have it who accepted its conditions"
            f" on https://huggingface.co/{repository} and are logged in (`hf auth login`)"
        )
    elif isinstance(error, errors.RepositoryNotFoundError):
        reason = "the hub has no such repository, or it is private"
    elif isinstance(error, errors.RevisionNotFoundError):
        reason = "the repository has no such revision"
    elif isinstance(error, errors.OfflineModeIsEnabled):
        reason = f"HF_HUB_OFFLINE is set, and the hub's cache has {held}"
    else:
        reason = f"the hub cannot be reached ({type(error).__name__}: {error})"
        reason += f", and its cache has {held}" if cached else ""
    return UnreachableError(
        f"{source}: {reason}",
        hint=f"on a machine with network, `hf download {repository} --local-dir FOLDER` gets it"
        f" (wanted: {', '.join(names)}); then write `file:FOLDER`, or let the config say"
        " `otherwise: scratch`",
    )
