"""The explainers of the experiments on textured digits, all in one program."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import attributions, data, evaluation
from xguide_jax.types import ApplyFn, Array, PredictFn, ScoreFn, TrainState

# No arm is trained on integrated gradients: they judge.
EXPLAINERS = ("grad_cam", "gradient", "integrated_gradients")


def explain_fns(
    *, num_points: int, score_fn: ScoreFn = attributions.centred_logit
) -> dict[str, evaluation.ExplainFn]:
    """Every explainer, of signed maps of the label.

    Args:
      num_points: of integrated gradients, whose baseline is 0, the mean image.
      score_fn: what is explained.

    Returns:
      {explainer: function for `evaluation.make_explain`}, of maps [B, h, w].
    """
    gradient = functools.partial(attributions.input_gradient, score_fn=score_fn)

    def integrate(predict_fn: PredictFn, inputs: Array, labels: Array) -> Array:
        return attributions.integrated_gradients(
            predict_fn, inputs, labels,
            baselines=jnp.zeros_like(inputs), num_points=num_points, score_fn=score_fn,
        )  # fmt: skip

    cam = functools.partial(attributions.signed_grad_cam, score_fn=score_fn)
    over_channels = lambda explainer: evaluation.of_inputs(
        lambda *arguments: jnp.sum(explainer(*arguments), -1)
    )
    return {
        "grad_cam": evaluation.of_layer(cam, "features"),
        "gradient": over_channels(gradient),
        "integrated_gradients": over_channels(integrate),
    }


def make_explain(
    apply_fn: ApplyFn,
    *,
    num_evaluated: int,
    num_points: int,
    score_fn: ScoreFn = attributions.centred_logit,
) -> evaluation.ExplainRows:
    """One program for test images and half as many of the validation part.

    Args:
      apply_fn: the network.
      num_evaluated: test images that are explained.
      num_points: of integrated gradients.
      score_fn: what is explained.

    Returns:
      For `explain_both`.
    """
    return evaluation.make_explain(
        apply_fn,
        explain_fns(num_points=num_points, score_fn=score_fn),
        batch_size=num_evaluated + num_evaluated // 2,
    )


def explain_both(
    explain: evaluation.ExplainRows,
    state: TrainState,
    first: data.Dataset,
    second: data.Dataset,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Maps of two sets, together.

    Args:
      explain: of `evaluation.make_explain`.
      state: the trained network.
      first: images and labels.
      second: images and labels.

    Returns:
      ({explainer: maps of the first}, {explainer: maps of the second}).
    """
    join = lambda *arrays: jnp.asarray(np.concatenate(arrays))
    inputs, labels = map(join, first[:2], second[:2])
    maps = explain(
        state.params["model"],
        state.model_state,
        inputs,
        labels,
        key=jax.random.key(0),  # nothing is drawn
    )
    count = len(first.labels)
    return (
        {name: jnp.asarray(m[:count]) for name, m in maps.items()},
        {name: jnp.asarray(m[count:]) for name, m in maps.items()},
    )
