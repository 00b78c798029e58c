"""A Ray cluster for the work of a ``with``: joined where there is one, else started and ended here.

Ray is optional: ``pip install ray``. ``RAY_ADDRESS`` names a cluster; without it, one of this
machine's cores is started.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine.errors import PluginError


@contextmanager
def joined_cluster(otherwise: str, **options: Any) -> Iterator[Any]:
    """Give the module ``ray``, connected to a cluster.

    Args:
        otherwise: what does the same work without Ray, for the error's hint.
        options: further arguments of ``ray.init``.

    Raises:
        PluginError: Ray is not installed, or the cluster cannot be reached.
    """
    try:
        ray: Any = importlib.import_module("ray")  # optional, so its types are not always there
    except ImportError as error:
        raise PluginError(
            f"`--on ray` needs the package ray ({error})",
            hint=f"`pip install ray`; without it: {otherwise}",
        ) from error
    own = not ray.is_initialized()
    if own:
        try:
            ray.init(include_dashboard=False, **options)
        except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
            raise PluginError(f"no Ray cluster: {error}", hint="see RAY_ADDRESS") from error
    try:
        yield ray
    finally:
        if own:
            ray.shutdown()
