"""YAML to validated settings."""

from __future__ import annotations
