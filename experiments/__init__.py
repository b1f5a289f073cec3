"""Experiments, a folder each; `python -m experiments` lists them."""
