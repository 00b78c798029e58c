"""Data: the contest's layout, and data sets written in it."""
