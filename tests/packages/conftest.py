"""Packages of third parties, as real source trees. ``tests/scaffold/test_packages.py`` builds them.

They are for the clean environment that it makes: here nothing of them is installed.
"""

from __future__ import annotations

collect_ignore_glob = ["*"]
