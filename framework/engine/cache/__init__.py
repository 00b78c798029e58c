"""The activation cache: what frozen parts of towers gave, kept on disk by what it follows from.

Training (``engine.train.prefix``) and evaluation (``engine.evaluate.features``) share its folders.
Start reading in ``store.py``; ``key.py`` says what a name stands for, ``docs/decisions`` why the
index is SQLite.
"""
