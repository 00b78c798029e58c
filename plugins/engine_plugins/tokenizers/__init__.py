"""Tokenizers, read from a model's files or trained."""
