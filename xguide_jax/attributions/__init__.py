"""Attributions: what in an input, or in a layer, a prediction rests on.

An explainer is `(predict_fn, inputs, targets, *, ...) -> array`, differentiable in the
inputs and in the parameters that `predict_fn` closes over, and holds nothing constant.
`B` is the batch, `C` the classes, `h w K` a feature map; `x` an input, `b` a baseline,
`f` the score that is explained and `g` its gradient. To explain a layer, cut the
network with `split_at` and pass what it returns to the same functions. A gradient has
the dtype of what it is taken at; means, products and sums of gradients are float32 or
wider, also of float16 and bfloat16 inputs.
"""

from xguide_jax.attributions import baselines
from xguide_jax.attributions.attention import (
    attention_rollout,
    attention_x_gradient,
    class_token_attention,
)
from xguide_jax.attributions.baselines import (
    baseline_neutrality,
    sigmoid_baseline_neutrality,
)
from xguide_jax.attributions.cam import (
    grad_cam,
    grad_cam_weights,
    hi_res_cam,
    layer_cam,
    odam,
    signed_grad_cam,
    upsample_conserving,
)
from xguide_jax.attributions.completeness import (
    Attribution,
    attribution_error,
    attribution_of,
    attribution_target,
    completeness_error,
    completeness_gap,
)
from xguide_jax.attributions.expected import (
    expected_gradients,
    expected_gradients_at,
    expected_target,
    gradient_shap,
)
from xguide_jax.attributions.gradients import gradient_x_input, input_gradient
from xguide_jax.attributions.integrated import integrated_gradients
from xguide_jax.attributions.layers import layer_baseline, split_at, split_each
from xguide_jax.attributions.occlusion import occlusion
from xguide_jax.attributions.propagation.deep_lift import deep_lift
from xguide_jax.attributions.propagation.lrp import lrp
from xguide_jax.attributions.propagation.relevance_rules import (
    alpha_beta_rule,
    composite,
    epsilon_rule,
    flat_rule,
    gamma_rule,
    z_box_rule,
    z_plus_rule,
)
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
from xguide_jax.attributions.smoothing import smooth_grad, smooth_grad_squared, var_grad
from xguide_jax.attributions.surrogates import kernel_shap, lime
from xguide_jax.attributions.taylor import taylor
from xguide_jax.attributions.temporal import temporal_rescaling

__all__ = (
    "Attribution",
    "alpha_beta_rule",
    "attention_rollout",
    "attention_x_gradient",
    "attribution_error",
    "attribution_of",
    "attribution_target",
    "baseline_neutrality",
    "baselines",
    "centred_logit",
    "class_token_attention",
    "completeness_error",
    "completeness_gap",
    "composite",
    "deep_lift",
    "epsilon_rule",
    "expected_gradients",
    "expected_gradients_at",
    "expected_target",
    "flat_rule",
    "gamma_rule",
    "grad_cam",
    "grad_cam_weights",
    "gradient_shap",
    "gradient_x_input",
    "grid_segments",
    "hi_res_cam",
    "input_gradient",
    "integrated_gradients",
    "kernel_shap",
    "layer_baseline",
    "layer_cam",
    "lime",
    "lrp",
    "occlusion",
    "odam",
    "regression_output",
    "rise",
    "segment_sums",
    "shapley_sampling",
    "shapley_values",
    "sigmoid_baseline_neutrality",
    "sigmoid_log_probability",
    "sigmoid_logit",
    "sigmoid_probability",
    "sigmoid_sum_log_probabilities",
    "signed_grad_cam",
    "smooth_grad",
    "smooth_grad_squared",
    "split_at",
    "split_each",
    "sum_log_probabilities",
    "target_log_probability",
    "target_logit",
    "target_probability",
    "taylor",
    "temporal_rescaling",
    "upsample_conserving",
    "var_grad",
    "z_box_rule",
    "z_plus_rule",
)
