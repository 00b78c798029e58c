"""Storages: how tensors are written into the file of weights. Nothing here imports torch."""
