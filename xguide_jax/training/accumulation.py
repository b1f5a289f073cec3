"""The gradient of a whole batch, taken part by part in the memory of one part.

The objective is a sum of quotients Σ_t S_t / W_t, of Σ w l by Σ w over the whole batch.
Its gradient is Σ_parts Σ_t (1 / W_t) ∇S_t,part − (S_t / W_t²) ∇W_t,part: so the sums of
all parts come first, and then each part's gradient is weighed by them. A mean of the
parts' own means is something else wherever parts have unequal weights.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.training import clean_pass, summing
from xguide_jax.training import context as contexts
from xguide_jax.training import objective as objectives
from xguide_jax.types import (
    ApplyFn,
    Array,
    Batch,
    Metrics,
    PyTree,
    TaskLoss,
    Terms,
    TrainState,
)

Differentiate = Callable[
    [dict[str, PyTree], TrainState, Batch], tuple[objectives.Aux, PyTree]
]

_TASK = "task"  # no term has this name


class _Carried(NamedTuple):
    """What one part hands to the next."""

    model_state: PyTree
    guidance_state: dict[str, PyTree]


def make_accumulated(
    apply_fn: ApplyFn,
    terms: Terms,
    *,
    task_loss: TaskLoss,
    axis_name: str | None,
    num_parts: int,
) -> Differentiate:
    """Loss and gradient of a batch, computed in equal parts one after another.

    Both are those of the whole batch, whatever the weights of its parts. The sums of
    weights are known before the first gradient: where they do not depend on the
    network, as in every term of this library, the compiler keeps nothing else of that
    first pass; a weight that does depend on it costs one forward pass more.

    Args:
      apply_fn: the network.
      terms: {name: GuidanceTerm}.
      task_loss: (output, batch) -> [B].
      axis_name: the mapped axis, or None.
      num_parts: n >= 2, which divides the examples of a device.

    Returns:
      `(params, state, batch) -> (Aux, gradient)`, this device's shares of metrics and
      gradient.
    """
    objectives.check_names(terms)

    def differentiate(
        params: dict[str, PyTree], state: TrainState, batch: Batch
    ) -> tuple[objectives.Aux, PyTree]:
        total = ops.axis_sum(jnp.sum(contexts.batch_weight(batch)), axis_name)
        parts, places = _split(batch, num_parts, axis_name)
        key = jax.random.fold_in(state.key, state.step)
        dropout_key = contexts.dropout_key(key, axis_name)

        def sums_of(
            params: dict[str, PyTree], carried: _Carried, number: int, part: Batch
        ) -> tuple[dict[str, summing.TermSums], _Carried]:
            draw = jax.random.fold_in(dropout_key, number)
            output, model_state, pullback = clean_pass.run(
                apply_fn, params["model"], carried.model_state, part["inputs"],
                key=draw, with_pullback=bool(terms),
            )  # fmt: skip
            sums, guidance_state = summing.guidance_sums(
                apply_fn, terms, params, state.model_state, carried.guidance_state,
                part, key=key, step=state.step, output=output, axis_name=axis_name,
                task_loss=task_loss, dropout_key=draw, input_pullback=pullback,
                total=total,
                places=places[number],
            )  # fmt: skip
            weight = contexts.batch_weight(part)
            losses = contexts.per_example("task_loss", task_loss(output, part), weight)
            sums[_TASK] = summing.TermSums(
                loss=contexts.weighted_sum(losses, weight),
                weight=jnp.sum(weight),
                annotated=jnp.zeros(()),
                metrics={},
            )
            return sums, _Carried(model_state, guidance_state)

        start = _Carried(state.model_state, state.guidance_state)
        slopes, totals = _slopes(sums_of, params, start, parts, axis_name)
        gradient, sums, carried = _pull_back(sums_of, params, start, parts, slopes)
        return _aux(sums, totals, carried), gradient

    return differentiate


SumsOf = Callable[..., tuple[dict[str, summing.TermSums], _Carried]]


def _split(
    batch: Batch, num_parts: int, axis_name: str | None
) -> tuple[list[Batch], list[Array]]:
    """Parts of neighbours, and the places of their examples in the whole batch."""
    size = ops.batch_size(batch)
    if size % num_parts:
        raise ValueError(
            f"`accumulate` (={num_parts}) must divide the {size} examples of a device; "
            "`data_parallel` and `pad_batch` add rows of weight 0."
        )
    split = lambda leaf: leaf.reshape(num_parts, size // num_parts, *leaf.shape[1:])
    parts = jax.tree.map(split, dict(batch))
    places = split(ops.example_indices(size, axis_name=axis_name))
    part = lambda n: jax.tree.map(lambda leaf: leaf[n], parts)
    return [part(n) for n in range(num_parts)], list(places)


def _slopes(
    sums_of: SumsOf,
    params: dict[str, PyTree],
    carried: _Carried,
    parts: list[Batch],
    axis_name: str | None,
) -> tuple[dict[str, tuple[Array, Array]], dict[str, Array]]:
    """The objective's derivatives in the sums of losses and of weights; Σ w."""
    losses: dict[str, Array] = {}
    weights: dict[str, Array] = {}
    for number, part in enumerate(parts):
        if number:
            # One part after another, where the weights do depend on the network.
            weights, part = jax.lax.optimization_barrier((weights, part))
        sums, carried = sums_of(params, carried, number, part)
        losses = {n: losses.get(n, 0.0) + s.loss for n, s in sums.items()}
        weights = {n: weights.get(n, 0.0) + s.weight for n, s in sums.items()}
    totals = ops.axis_sum(weights, axis_name)
    losses = ops.axis_sum(losses, axis_name)

    def slope(name: str) -> tuple[Array, Array]:
        loss, weight = losses[name], totals[name]
        mean = contexts.share(loss, weight)
        one = jnp.ones_like(loss)
        return contexts.share(one, weight), contexts.share(
            -mean.astype(weight.dtype), weight
        )

    return {name: slope(name) for name in sorted(totals)}, totals


def _pull_back(
    sums_of: SumsOf,
    params: dict[str, PyTree],
    carried: _Carried,
    parts: list[Batch],
    slopes: dict[str, tuple[Array, Array]],
) -> tuple[PyTree, dict[str, summing.TermSums], _Carried]:
    """Gradient and sums over all parts, in the memory of one."""
    sums: dict[str, summing.TermSums] = {}
    total: PyTree = None
    for number, part in enumerate(parts):
        if number:
            # Without it the compiler runs all parts at once, in the memory of all.
            (total, sums, carried), part = jax.lax.optimization_barrier(
                ((total, sums, carried), part)
            )

        def differentiable(
            params: dict[str, PyTree],
            carried: _Carried = carried,
            number: int = number,
            part: Batch = part,
        ) -> tuple[dict[str, tuple[Array, Array]], tuple[PyTree, _Carried]]:
            sums, after = sums_of(params, carried, number, part)
            pairs = {name: (s.loss, s.weight) for name, s in sums.items()}
            return pairs, (sums, after)

        _, pull, (of_part, carried) = jax.vjp(differentiable, params, has_aux=True)
        (gradient,) = pull(slopes)
        # Sums of bfloat16 and float16 gradients, too, are taken in float32.
        gradient = jax.tree.map(ops.at_least_float32, gradient)
        if number:
            gradient, of_part = jax.tree.map(
                jnp.add, (total, sums), (gradient, of_part)
            )
        total, sums = gradient, of_part
    narrow = lambda leaf, like: leaf.astype(like.dtype)
    return jax.tree.map(narrow, total, params), sums, carried


def _aux(
    sums: dict[str, summing.TermSums], totals: dict[str, Array], carried: _Carried
) -> objectives.Aux:
    task = contexts.share(sums[_TASK].loss, totals[_TASK])
    loss, metrics = task, {}
    for name in sorted(sums.keys() - {_TASK}):
        of_term: Metrics = summing.shares(name, sums[name], totals[name])
        loss = loss + of_term[name].astype(loss.dtype)
        metrics.update(of_term)
    metrics = {"loss": loss, "task": task, **metrics}
    return objectives.Aux(carried.model_state, carried.guidance_state, metrics)
