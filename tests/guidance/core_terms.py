"""Four terms that look nothing like saliency-guided training: tests of the core.

One reads a layer, one is a statistic of the whole batch, one trains parameters, one
carries state. None of them needs anything from the core that another term has not.
"""

import functools

import jax
import jax.numpy as jnp

from xguide_jax import attributions, guidance, losses, ops, testing
from xguide_jax.types import GuidanceTerm, TermOutput

MAP_SHAPE = (3, 3)  # of 'features' of `testing.smooth_network`
NUM_CLASSES = 3


def grad_cam_energy() -> GuidanceTerm:
    """Share of the Grad-CAM at 'features' that lies outside the region."""

    def loss_fn(context):
        maps = _grad_cam(context)
        region = ops.area_resize(context.batch["region"], shape=maps.shape[1:])
        return losses.energy(maps, region), _annotated(context.batch)

    return guidance.stateless(loss_fn)


def robust_explanation(*, slack: float) -> GuidanceTerm:
    """Threshold and slack of one robust explanation loss for the whole batch."""

    def loss_fn(context):
        maps = _squashed_grad_cam(context)
        weight = _annotated(context.batch)
        annotations = _coarse_annotations(context.batch, weight)
        threshold = ops.balanced_threshold(
            jax.lax.stop_gradient(maps), annotations, axis_name=context.axis_name
        )
        errors, counts = losses.robust_error(maps, annotations, threshold=threshold)
        error, count = ops.axis_sum(
            (jnp.sum(errors), jnp.sum(counts)), context.axis_name
        )
        loss = jax.nn.relu(ops.safe_divide(error, count) - slack)
        return jnp.broadcast_to(loss, weight.shape), weight

    return guidance.stateless(loss_fn)


def learned_imputation() -> GuidanceTerm:
    """Distance of the Grad-CAM to its region under a kernel that is trained with it."""

    def init(key, batch):
        del batch
        kernel = jnp.outer(jnp.array([0.25, 0.5, 0.25]), jnp.array([0.25, 0.5, 0.25]))
        return {"kernel": kernel + 0.01 * jax.random.normal(key, (3, 3))}, ()

    def apply(params, state, context):
        maps = _squashed_grad_cam(context)
        region = ops.area_resize(context.batch["region"], shape=maps.shape[1:])
        imputed = jax.lax.conv(
            region[:, None].astype(maps.dtype),
            params["kernel"][None, None],
            window_strides=(1, 1),
            padding="SAME",
        )[:, 0]
        loss = losses.region_l1(maps, imputed)
        return TermOutput(loss, _annotated(context.batch), state)

    return GuidanceTerm(init, apply)


def saliency_prior(*, rate: float) -> GuidanceTerm:
    """Squared distance to the running mean of the Grad-CAMs of a class."""

    def init(key, batch):
        del key, batch
        return (), jnp.full((NUM_CLASSES, *MAP_SHAPE), 0.5)

    def apply(params, state, context):
        del params
        maps = ops.min_max_normalise(_grad_cam(context))
        labels = context.batch["labels"]
        members = jax.nn.one_hot(labels, NUM_CLASSES) * _present(context.batch)[:, None]
        sums, counts = ops.axis_sum(
            (
                jnp.einsum("bc,bhw->chw", members, jax.lax.stop_gradient(maps)),
                jnp.sum(members, axis=0)[:, None, None],
            ),
            context.axis_name,
        )
        moved = (1 - rate) * state + rate * ops.safe_divide(sums, counts)
        loss = jnp.mean(jnp.square(maps - state[labels]), axis=(1, 2))
        peak = jnp.max(_grad_cam(context), axis=(1, 2))
        return TermOutput(
            loss, jnp.ones_like(loss), jnp.where(counts > 0, moved, state),
            {"peak": peak},
        )  # fmt: skip

    return GuidanceTerm(init, apply)


def saliency_guided(**changes) -> GuidanceTerm:
    """Saliency-guided training with a random fill, half of the positions masked."""
    arguments = {
        "mask_fraction": 0.5,
        "fill": functools.partial(ops.uniform_range_fill, axes=(1, 2, 3)),
        "rank_fn": ops.signed_channel_mean,
        "score_fn": attributions.target_log_probability,
        **changes,
    }
    return guidance.saliency_guided(**arguments)


def four_terms() -> dict[str, GuidanceTerm]:
    """The four, by name."""
    return {
        "energy": grad_cam_energy(),
        "imputation": learned_imputation(),
        "prior": saliency_prior(rate=0.3),
        "robust": robust_explanation(slack=0.05),
    }


def recording(term: GuidanceTerm) -> GuidanceTerm:
    """The term, carrying as state the inputs of its last pass, of the whole batch."""

    def init(key, batch):
        del key
        return (), jnp.zeros_like(batch["inputs"])

    def apply(params, state, context):
        passes = []

        def forward(inputs, **arguments):
            passes.append(inputs)
            return context.forward(inputs, **arguments)

        out = term.apply(params, (), context._replace(forward=forward))
        seen = passes[-1]
        if context.axis_name is not None:
            seen = jax.lax.all_gather(seen, context.axis_name, tiled=True)
        return out._replace(state=seen[: len(state)])  # without the padding

    return GuidanceTerm(init, apply)


def uneven_batch(batch_size: int):
    """Annotations crowded into a few rows, and weights that are all different."""
    batch = testing.example_batch(jax.random.key(5), batch_size=batch_size)
    annotated = jnp.isin(jnp.arange(batch_size), jnp.array([0, 1, 2, 6, 9]))
    spread = annotated[:, None, None]
    return {
        **batch,
        "region": jnp.where(spread, batch["region"], 0.0),
        "annotations": jnp.where(spread, batch["annotations"], 0.0),
        "region_valid": annotated & batch["region_valid"],
        "weight": jnp.linspace(0.1, 1.3, batch_size),
    }


def _grad_cam(context, explainer=attributions.grad_cam):
    head_fn, features = attributions.split_at(
        context.forward, context.batch["inputs"], "features"
    )
    return explainer(
        head_fn,
        features,
        context.batch["labels"],
        score_fn=attributions.target_logit,
    )


def _squashed_grad_cam(context):
    """In (0, 1), but not by minimum and maximum.

    Those have their extremes in common, up to a rounding that differs from program to
    program: ties move a threshold, and |1 - 1| has a slope wherever it is not 0.
    """
    return jax.nn.sigmoid(_grad_cam(context, attributions.signed_grad_cam))


def _present(batch):
    """1 for an example, 0 for padding, which no statistic of a batch may count."""
    weight = batch.get("weight", jnp.ones(len(batch["labels"])))
    return (weight > 0).astype(batch["inputs"].dtype)


def _annotated(batch):
    return _present(batch) * batch["region_valid"].astype(batch["inputs"].dtype)


def _coarse_annotations(batch, weight):
    coarse = ops.area_resize(batch["annotations"], shape=MAP_SHAPE)
    return jnp.where(weight[:, None, None] > 0, jnp.sign(coarse), 0.0)
