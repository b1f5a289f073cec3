"""Texts, alone or in pairs, with what a person marked in them."""
