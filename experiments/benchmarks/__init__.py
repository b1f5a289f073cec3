"""Timings that the design rests on; each prints its own table."""
