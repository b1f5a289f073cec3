"""The names that code outside is written against, and how they are called.

Arrays come by position, in the order of the data flow; what a person chose, keys and
switches by name only.
"""

import importlib
import inspect

import pytest

# name: (arguments by position, arguments by name only, those of them with a default)
API = {
    "ops.bottom_k_mask": ("scores k", "where", "where"),
    "ops.top_k_mask": ("scores k", "where", "where"),
    "ops.uniform_range_fill": ("key inputs", "axes", ""),
    "ops.mean_fill": ("key inputs", "axes", ""),
    "ops.constant_fill": ("key inputs", "value", ""),
    "ops.replace": ("inputs mask values", "", ""),
    "ops.masked_pool": ("features mask", "", ""),
    "ops.rasterise_boxes": ("boxes valid shape", "", ""),
    "ops.balanced_threshold": ("maps annotations", "axis_name", "axis_name"),
    "attributions.target_logit": ("logits targets", "", ""),
    "attributions.target_log_probability": ("logits targets", "", ""),
    "attributions.target_probability": ("logits targets", "", ""),
    "attributions.regression_output": ("outputs targets", "", ""),
    "attributions.sigmoid_log_probability": ("logits targets", "", ""),
    "attributions.sigmoid_logit": ("logits targets", "", ""),
    "attributions.sigmoid_probability": ("logits targets", "", ""),
    "attributions.sigmoid_sum_log_probabilities": ("logits targets", "", ""),
    "attributions.sum_log_probabilities": ("logits targets", "", ""),
    "attributions.input_gradient": ("predict_fn inputs targets", "score_fn", ""),
    "attributions.gradient_x_input": ("predict_fn inputs targets", "score_fn", ""),
    "attributions.smooth_grad": (
        "explainer predict_fn inputs targets", "key sigma num_samples", "",
    ),
    "attributions.integrated_gradients": (
        "predict_fn inputs targets",
        "baselines num_steps score_fn chunk_size", "chunk_size",
    ),
    "attributions.grad_cam": (
        "head_fn features targets", "score_fn weights", "weights",
    ),
    "attributions.split_at": ("forward inputs name", "output", "output"),
    "attributions.centred_logit": ("logits targets", "", ""),
    "losses.bernoulli_consistency": ("logits masked_logits", "", ""),
    "losses.kl_consistency": ("logits masked_logits", "", ""),
    "losses.squared_consistency": ("outputs masked_outputs", "", ""),
    "losses.energy": ("attribution_map region", "", ""),
    "losses.leaky_energy": ("attribution_map region", "leak", "leak"),
    "losses.region_l1": ("maps region", "", ""),
    "losses.pixel_cross_entropy": ("maps region", "", ""),
    "losses.masked_cross_entropy": ("maps annotations", "", ""),
    "losses.outside_energy": ("attributions region", "", ""),
    "losses.right_for_right_reasons": ("attributions irrelevant", "", ""),
    "losses.robust_error": ("maps annotations", "threshold", ""),
    "losses.robust_explanation": ("maps annotations", "threshold slack", ""),
    "losses.imputation_l1": ("maps imputed", "", ""),
    "losses.region_contrastive": (
        "object_features background_features image_features", "temperature", "",
    ),
    "losses.region_contrastive_batch": (
        "object_features background_features image_features",
        "temperature where", "where",
    ),
    "losses.region_contrastive_triplet": (
        "object_features background_features image_features", "margin", "",
    ),
    "metrics.area_under_curve": ("values", "fractions", ""),
    "metrics.bias_amplification_attribute_to_task": (
        "predicted_tasks tasks attributes", "", "",
    ),
    "metrics.energy_pointing_game": ("maps region", "", ""),
    "metrics.explanation_precision_recall": ("maps annotations", "threshold", ""),
    "metrics.group_accuracy": ("correct groups", "num_groups", ""),
    "metrics.group_undefined": ("correct groups", "num_groups", ""),
    "metrics.insertion_curve": (
        "predict_fn inputs labels attributions", "fractions fill key correct",
        "correct",
    ),
    "metrics.iou": ("maps region", "threshold", ""),
    "metrics.pointing_game": ("maps region", "", ""),
    "metrics.removal_curve": (
        "predict_fn inputs labels attributions", "fractions fill key correct",
        "correct",
    ),
    "metrics.worst_group": ("accuracy", "count", "count"),
    "guidance.saliency_guided": (
        "", "mask_fraction fill rank_fn score_fn explain_in frozen_teacher consistency",
        "explain_in frozen_teacher consistency",
    ),
    "guidance.stateless": ("loss_fn", "", ""),
    "guidance.scale": ("term weight", "", ""),
    "guidance.every_k_steps": ("term k", "", ""),
    "training.guidance_loss": (
        "apply_fn terms params model_state guidance_state batch",
        "key step output axis_name task_loss dropout_key",
        "output axis_name task_loss dropout_key",
    ),
    "training.make_objective": (
        "apply_fn terms", "task_loss axis_name", "task_loss axis_name",
    ),
    "training.init_train_state": (
        "key params model_state terms optimizer batch", "", "",
    ),
    "training.make_train_step": (
        "apply_fn terms optimizer",
        "task_loss axis_name accumulate", "task_loss axis_name accumulate",
    ),
    "training.make_eval_step": (
        "apply_fn", "task_loss correct axis_name", "task_loss correct axis_name",
    ),
    "training.sigmoid_correct": ("logits labels", "", ""),
    "training.sigmoid_cross_entropy": ("output batch", "", ""),
    "training.softmax_correct": ("logits labels", "", ""),
    "training.softmax_cross_entropy": ("output batch", "", ""),
    "guidance.localisation": (
        "", "loss explainer layer explain_in", "layer explain_in",
    ),
    "guidance.region_contrastive": (
        "", "loss layer per_box anchor anchor_grad", "layer per_box anchor anchor_grad",
    ),
    "guidance.region_consistency": ("", "consistency fill", "consistency"),
    "guidance.replaced_background_loss": ("", "fill task_loss", "task_loss"),
    "guidance.right_for_right_reasons": (
        "", "score_fn explain_in", "score_fn explain_in",
    ),
    "guidance.gradia": (
        "", "layer score_fn frozen_weights explain_in",
        "layer score_fn frozen_weights explain_in",
    ),
    "guidance.haics": (
        "", "layer score_fn frozen_weights explain_in",
        "layer score_fn frozen_weights explain_in",
    ),
    "guidance.res_gaussian": (
        "", "slack layer score_fn frozen_weights explain_in",
        "layer score_fn frozen_weights explain_in",
    ),
    "guidance.res_learned": (
        "", "slack kernel_size stride layer score_fn frozen_weights explain_in",
        "kernel_size stride layer score_fn frozen_weights explain_in",
    ),
    "guidance.saliency_guided_published": (
        "", "images mask_fraction", "mask_fraction",
    ),
    "guidance.right_for_right_reasons_published": ("", "", ""),
    "guidance.haics_published": ("", "layer", "layer"),
    "guidance.res_gaussian_published": ("", "slack layer", "slack layer"),
    "guidance.res_learned_published": (
        "", "slack kernel_size stride layer", "slack kernel_size stride layer",
    ),
    "guidance.summed": ("term", "", ""),
    "testing.check_apply_fn": (
        "apply_fn params model_state inputs", "skips modes_differ",
        "skips modes_differ",
    ),
    "training.data_parallel": ("step", "how devices", "how devices"),
    "training.pad_batch": ("batch multiple", "", ""),
    "models.init_linen": ("module key inputs", "mode_arguments", "mode_arguments"),
    "models.linen_apply_fn": ("module", "mode_arguments", "mode_arguments"),
    "models.nnx_apply_fn": ("model", "mode_arguments", "mode_arguments"),
}  # fmt: skip

DEFAULTS = {
    "ops.bottom_k_mask": {"where": None},
    "ops.top_k_mask": {"where": None},
    "ops.balanced_threshold": {"axis_name": None},
    "attributions.integrated_gradients": {"chunk_size": None},
    "attributions.grad_cam": {"weights": None},
    "attributions.split_at": {"output": None},
    "losses.leaky_energy": {"leak": 0.5},
    "losses.region_contrastive_batch": {"where": None},
    "guidance.saliency_guided": {"explain_in": "eval", "frozen_teacher": False},
    "guidance.saliency_guided_published": {"mask_fraction": 0.5},
    "guidance.localisation": {"layer": None, "explain_in": "eval"},
    "guidance.region_contrastive": {
        "layer": "features", "per_box": False, "anchor": "image", "anchor_grad": True,
    },
    "guidance.haics_published": {"layer": "features"},
    "guidance.res_gaussian_published": {"slack": 0.1, "layer": "features"},
    "guidance.res_learned_published": {
        "slack": 0.1, "kernel_size": 64, "stride": 32, "layer": "features",
    },
    "training.guidance_loss": {
        "output": None, "axis_name": None, "dropout_key": None,
    },
    "training.make_objective": {"axis_name": None},
    "training.make_train_step": {"axis_name": None, "accumulate": 1},
    "training.make_eval_step": {"axis_name": None},
    "training.data_parallel": {"how": "pmap", "devices": None},
    "testing.check_apply_fn": {"skips": (), "modes_differ": None},
}  # fmt: skip


def signature(name):
    module, _, function = name.partition(".")
    return inspect.signature(
        getattr(importlib.import_module(f"xguide_jax.{module}"), function)
    )


@pytest.mark.parametrize("name", sorted(API))
def test_a_public_function_is_called_as_documented(name):
    by_position, by_name, optional = (part.split() for part in API[name])
    parameters = signature(name).parameters.values()
    kinds = {
        kind: [p.name for p in parameters if p.kind is kind]
        for kind in (
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            inspect.Parameter.KEYWORD_ONLY,
        )
    }
    assert sum(map(len, kinds.values())) == len(parameters)  # no *args, no **kwargs
    first, rest = kinds.values()
    assert first == by_position
    assert sorted(rest) == sorted(by_name)
    has_default = [p.name for p in parameters if p.default is not p.empty]
    assert sorted(has_default) == sorted(optional)


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_a_default_is_what_the_documentation_says(name):
    parameters = signature(name).parameters
    actual = {key: parameters[key].default for key in DEFAULTS[name]}
    assert actual == DEFAULTS[name]


@pytest.mark.parametrize(
    ("name", "first"),
    [("check_explainer", "explainer"), ("check_guidance_term", "term")],
)
def test_a_conformance_check_needs_one_thing(name, first):
    parameters = list(signature(f"testing.{name}").parameters.values())
    assert parameters[0].name == first
    assert all(p.default is not p.empty for p in parameters[1:])
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters[1:])
