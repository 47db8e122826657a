"""Mirage: video world models that remember."""
