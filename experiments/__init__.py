"""Experiments: one file each, with a header that says what it measures."""
