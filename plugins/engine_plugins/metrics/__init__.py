"""Metrics: what is computed from a model's answers. numpy only."""
