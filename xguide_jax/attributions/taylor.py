"""First-order Taylor attributions: a gradient at one end of the path, times its length.

Integrated gradients average the gradient along the line from the baseline b to the
input x; here it is taken at one end only. The sum is therefore exact only where the
score is affine in between; what is missing is its curvature.
"""

from typing import Literal

from xguide_jax import ops
from xguide_jax.attributions import gradients, integrated
from xguide_jax.types import Array, PredictFn, ScoreFn


def taylor(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    baselines: Array | float,
    at: Literal["input", "baseline"],
    score_fn: ScoreFn,
) -> Array:
    """The first-order Taylor estimate of the score's change, feature by feature.

    A_i = (x_i − b_i) g_i(x) for `at='input'`, (x_i − b_i) g_i(b) for `at='baseline'`;
    each is integrated gradients with a single point, at that end. With the baseline 0
    the former is `gradient_x_input`, bit for bit. Differentiable again, in the inputs,
    the baselines and the parameters.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float [B, ...].
      targets: integer [B], the classes explained.
      baselines: float, broadcastable to the shape of `inputs`, in the same units.
      at: where the gradient is taken.
      score_fn: (logits, targets) -> [B]; see `scores`.

    Returns:
      Shaped like `inputs`, float32 or wider, signed, in units of the score; 0 wherever
      input and baseline agree.

    Raises:
      AssertionError: as `input_gradient`.
      ValueError: for another `at`, or if the baselines do not broadcast to the inputs.
    """
    if at not in ("input", "baseline"):
        raise ValueError(f"`at` (={at!r}) must be 'input' or 'baseline'.")
    baselines = integrated.broadcast_baselines(baselines, inputs)
    point = inputs if at == "input" else baselines
    gradient = gradients.input_gradient(predict_fn, point, targets, score_fn=score_fn)
    difference = ops.at_least_float32(inputs) - ops.at_least_float32(baselines)
    return difference * ops.at_least_float32(gradient)
