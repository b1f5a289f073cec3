"""Explanation-guided learning in JAX."""
