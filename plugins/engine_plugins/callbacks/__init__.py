"""Callbacks: what accompanies a run of training."""
