"""Engine's reader of pictures as a file of its own, for programs without Engine."""

from __future__ import annotations

import io
import zipfile
from importlib import resources

PACKAGE = "pictures.zip"
"""Its name in an export. Python imports from it as from a folder."""

_MODULES = ("problem", "modes", "jpeg", "png", "reader")
_ABOUT = '''"""How Engine reads pictures: `reader.decode` a file's bytes, then `cut.square`.

Needs Pillow and numpy. Part of Engine, under its licence (MIT).
"""
'''


def reader_package() -> bytes:
    """What ``engine.data.pictures`` needs to run without Engine, in a reproducible zip."""
    found = {"__init__.py": _ABOUT.encode()}
    home = resources.files("engine.data.pictures")
    for name in _MODULES:
        found[f"{name}.py"] = home.joinpath(f"{name}.py").read_bytes()
    found["cut.py"] = resources.files("engine.contracts").joinpath("cut.py").read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in found.items():
            archive.writestr(zipfile.ZipInfo(f"pictures/{name}", (1980, 1, 1, 0, 0, 0)), data)
    return buffer.getvalue()
