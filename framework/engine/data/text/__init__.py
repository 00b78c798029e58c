"""Queries cleaned and understood: steps, statistics, reports. Nothing here imports torch."""
