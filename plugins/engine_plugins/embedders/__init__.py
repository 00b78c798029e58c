"""Embedders: texts to vectors for clustering."""
