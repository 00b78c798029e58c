"""numpy, imported at its first use.

A storage's plan needs no arrays, so ``engine size`` works in an installation without numpy. A
module whose ``plan`` is asked there imports this one under numpy's usual name::

    if TYPE_CHECKING:
        import numpy as np
    else:
        from engine_plugins import lazy_numpy as np
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """An attribute of numpy; Python calls this once for each name."""
    if name.startswith("__"):  # asked by the import system and by inspection: never numpy's
        raise AttributeError(name)
    import numpy

    found = getattr(numpy, name)
    globals()[name] = found
    return found
