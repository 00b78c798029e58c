"""Tar shards and their parquet tables, from outside: read strictly and within limits.

A table says where in its tar each image lies (``engine data download --format webdataset`` writes
both). Everything is checked before memory is taken for it, and what is not as it should be ends in
one line of a :class:`~engine.errors.DataError`.
"""

from __future__ import annotations

from engine.data.shards.table import MAX_ROWS, TableRows, read_table
from engine.data.shards.tar import Member, read_members

__all__ = ["MAX_ROWS", "Member", "Rows", "read_members", "read_table"]
