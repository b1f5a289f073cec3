"""Texts with rationales: what the experiments on them share."""
