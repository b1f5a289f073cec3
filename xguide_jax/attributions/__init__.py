"""Attributions: what in an input, or in a layer, a prediction rests on.

An explainer is `(predict_fn, inputs, targets, *, ...) -> array`, differentiable in the
inputs and in the parameters that `predict_fn` closes over, and holds nothing constant.
`B` is the batch, `C` the classes, `h w K` a feature map; `x` an input, `b` a baseline,
`f` the score that is explained and `g` its gradient. To explain a layer, cut the
network with `split_at` and pass what it returns to the same functions. A gradient has
the dtype of what it is taken at; means, products and sums of gradients are float32 or
wider, also of float16 and bfloat16 inputs.
"""

from xguide_jax.attributions.cam import (
    grad_cam,
    grad_cam_weights,
    layer_cam,
    signed_grad_cam,
)
from xguide_jax.attributions.completeness import completeness_error, completeness_gap
from xguide_jax.attributions.gradients import gradient_x_input, input_gradient
from xguide_jax.attributions.integrated import integrated_gradients
from xguide_jax.attributions.layers import split_at
from xguide_jax.attributions.occlusion import occlusion
from xguide_jax.attributions.rise import rise
from xguide_jax.attributions.scores import (
    centred_logit,
    regression_output,
    sigmoid_log_probability,
    sigmoid_logit,
    sigmoid_probability,
    sigmoid_sum_log_probabilities,
    sum_log_probabilities,
    target_log_probability,
    target_logit,
    target_probability,
)
from xguide_jax.attributions.segments import grid_segments, segment_sums
from xguide_jax.attributions.shapley import shapley_sampling, shapley_values
from xguide_jax.attributions.smoothing import smooth_grad
from xguide_jax.attributions.surrogates import kernel_shap, lime

__all__ = (
    "centred_logit",
    "completeness_error",
    "completeness_gap",
    "grad_cam",
    "grad_cam_weights",
    "gradient_x_input",
    "grid_segments",
    "input_gradient",
    "integrated_gradients",
    "kernel_shap",
    "layer_cam",
    "lime",
    "occlusion",
    "regression_output",
    "rise",
    "segment_sums",
    "shapley_sampling",
    "shapley_values",
    "sigmoid_log_probability",
    "sigmoid_logit",
    "sigmoid_probability",
    "sigmoid_sum_log_probabilities",
    "signed_grad_cam",
    "smooth_grad",
    "split_at",
    "sum_log_probabilities",
    "target_log_probability",
    "target_logit",
    "target_probability",
)
