"""Presets: terms as the published code computes them, slips included.

The builders of the other modules leave out what looks like a slip; these keep it, as
far as a term can. `differences.md`, beside this file, is the one table of paper, code,
our default and preset, also of what lies outside a term: data, optimiser, selection.
"""

from xguide_jax.guidance.published.attention_guided import attention_guided_published
from xguide_jax.guidance.published.right_reasons import (
    right_for_right_reasons_published,
)
from xguide_jax.guidance.published.robust import (
    haics_published,
    res_gaussian_published,
    res_learned_published,
)
from xguide_jax.guidance.published.saliency_guided import saliency_guided_published

__all__ = (
    "attention_guided_published",
    "haics_published",
    "res_gaussian_published",
    "res_learned_published",
    "right_for_right_reasons_published",
    "saliency_guided_published",
)
