"""Digits on textures: what the experiments on them share."""
