"""Data sets: folders, tables, shards, and small ones that are generated."""
