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
    "ops.rasterise_boxes": ("boxes valid", "shape", ""),
    "ops.balanced_threshold": ("maps annotations", "axis_name", "axis_name"),
    "attributions.target_logit": ("logits targets", "", ""),
    "attributions.target_log_probability": ("logits targets", "", ""),
    "attributions.target_probability": ("logits targets", "", ""),
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
    "losses.kl_consistency": ("logits masked_logits", "", ""),
    "guidance.saliency_guided": (
        "", "mask_fraction fill rank_fn score_fn explain_in frozen_teacher",
        "explain_in frozen_teacher",
    ),
    "guidance.stateless": ("loss_fn", "", ""),
    "guidance.scale": ("term weight", "", ""),
    "guidance.every_k_steps": ("term k", "", ""),
    "training.guidance_loss": (
        "apply_fn terms params model_state guidance_state batch",
        "key output axis_name step task_loss dropout_key",
        "output axis_name step task_loss dropout_key",
    ),
    "training.make_objective": (
        "apply_fn terms", "task_loss axis_name", "task_loss axis_name",
    ),
    "training.init_train_state": (
        "key params model_state terms optimizer batch", "", "",
    ),
    "training.make_train_step": (
        "apply_fn terms optimizer", "task_loss axis_name", "task_loss axis_name",
    ),
    "training.make_eval_step": (
        "apply_fn", "task_loss axis_name", "task_loss axis_name",
    ),
    "guidance.localisation": (
        "", "loss explainer layer explain_in", "layer explain_in",
    ),
    "guidance.region_contrastive": (
        "", "loss layer per_box anchor anchor_grad", "layer per_box anchor anchor_grad",
    ),
    "guidance.region_consistency": ("", "fill", ""),
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
    "training.data_parallel": ("step", "how devices", "how devices"),
    "training.pad_batch": ("batch multiple", "", ""),
    "models.linen_apply_fn": ("module", "", ""),
    "models.nnx_apply_fn": ("model", "", ""),
}  # fmt: skip

DEFAULTS = {
    "guidance.saliency_guided": {"explain_in": "eval", "frozen_teacher": False},
    "training.data_parallel": {"how": "pmap", "devices": None},
}


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
