"""Clusterers: vectors to clusters."""
