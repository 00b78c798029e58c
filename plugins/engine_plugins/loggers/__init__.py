"""Loggers: where the numbers of training go."""
