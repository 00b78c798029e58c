"""Compressors: steps that make a model smaller. Nothing here imports torch at import."""
