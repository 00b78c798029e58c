"""Prepared data: token ids, digests, cluster labels and the start of a run, computed once.

``engine data prepare`` writes them, training reads them through memory that all processes share.
Start reading in ``folder.py``; ``chunks.py`` computes a piece, ``tables.py`` joins the pieces, and
``store.py`` writes and opens the files.
"""
