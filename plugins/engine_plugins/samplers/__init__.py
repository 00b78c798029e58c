"""Samplers: which rows make a batch."""
