"""Optimizers: how weights are changed once their gradients are known."""
