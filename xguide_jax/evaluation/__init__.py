"""From a network and its maps to numbers: explained once, measured once.

Above `metrics`, which give one value an example: here they become means that say what
they leave out, curves beside their own chance, and comparisons over seeds. Results are
records on the host. It needs NumPy, SciPy and JAX, and no plotting library.
"""

from xguide_jax.evaluation.chance import (
    AgainstChance,
    Chance,
    Curves,
    Removal,
    Views,
    compare_with_chance,
)
from xguide_jax.evaluation.chunking import map_rows
from xguide_jax.evaluation.completeness import Completeness, completeness_of
from xguide_jax.evaluation.erasure import BesideChance, Erasure, measure_erasure
from xguide_jax.evaluation.evaluated import Evaluation, MapEvaluation, MapNumbers
from xguide_jax.evaluation.evaluating import evaluate
from xguide_jax.evaluation.explaining import (
    ExplainFn,
    ExplainRows,
    make_explain,
    of_explain,
    of_inputs,
    of_layer,
)
from xguide_jax.evaluation.groups import (
    NO_CLASS,
    BiasAmplification,
    GroupAccuracy,
    accuracy_by_group,
    bias_amplification,
    macro_f1,
    top_class,
)
from xguide_jax.evaluation.localisation import (
    ThresholdedIoU,
    energy_in_region,
    iou_at_held_out_threshold,
)
from xguide_jax.evaluation.removal import (
    measure_removal,
    random_orders,
    random_orders_like,
    removal_curves,
)
from xguide_jax.evaluation.result_tables import gap_with_interval
from xguide_jax.evaluation.seeds import Estimate, paired_difference, ratio_of_means
from xguide_jax.evaluation.summary import Summary, summarise, summarise_pair
from xguide_jax.intervals import bootstrap_interval, t_interval

__all__ = (
    "NO_CLASS",
    "AgainstChance",
    "BesideChance",
    "BiasAmplification",
    "Chance",
    "Completeness",
    "Curves",
    "Erasure",
    "Estimate",
    "Evaluation",
    "ExplainFn",
    "ExplainRows",
    "GroupAccuracy",
    "MapEvaluation",
    "MapNumbers",
    "Removal",
    "Summary",
    "ThresholdedIoU",
    "Views",
    "accuracy_by_group",
    "bias_amplification",
    "bootstrap_interval",
    "compare_with_chance",
    "completeness_of",
    "energy_in_region",
    "evaluate",
    "gap_with_interval",
    "iou_at_held_out_threshold",
    "macro_f1",
    "make_explain",
    "map_rows",
    "measure_erasure",
    "measure_removal",
    "of_explain",
    "of_inputs",
    "of_layer",
    "paired_difference",
    "random_orders",
    "random_orders_like",
    "ratio_of_means",
    "removal_curves",
    "summarise",
    "summarise_pair",
    "t_interval",
    "top_class",
)
