"""From a network and its maps to numbers: explained once, measured once.

Above `metrics`, which give one value an example: here they become means that say what
they leave out, curves beside their own chance, and comparisons over seeds. Results are
records on the host. It needs NumPy, SciPy and JAX, and no plotting library.
"""

from xguide_jax.evaluation.intervals import bootstrap_interval, t_interval
from xguide_jax.evaluation.seeds import Estimate, paired_difference, ratio_of_means
from xguide_jax.evaluation.summary import Summary, summarise

__all__ = (
    "Estimate",
    "Summary",
    "bootstrap_interval",
    "paired_difference",
    "ratio_of_means",
    "summarise",
    "t_interval",
)
