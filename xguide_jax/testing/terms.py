"""A check that users run on their own guidance terms."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from xguide_jax import ops, training
from xguide_jax.testing import networks
from xguide_jax.testing.asserting import check, check_close, check_finite, close
from xguide_jax.types import (
    ApplyFn,
    Array,
    Batch,
    GuidanceTerm,
    ModelOutput,
    PyTree,
    StepContext,
    TermOutput,
)

# A gradient below this share of the loss is rounding.
_ROUNDING = 1e-6

_ANNOTATIONS = ("region", "annotations", "boxes_valid", "rationale")
_VALID = ("region_valid", "rationale_valid")


class Evaluation(NamedTuple):
    """A term evaluated once: loss [], next states, gradient, its weights [B]."""

    loss: Array
    states: PyTree
    gradient: PyTree
    weight: Array


def check_guidance_term(
    term: GuidanceTerm,
    *,
    batch: Batch | None = None,
    network: tuple[ApplyFn, PyTree, PyTree] | None = None,
) -> None:
    """Runs a term through what the training step expects of it.

    One loss and weight an example; the carried state keeps its structure; the same
    under `jit`, traced once, also when the state is carried on; a non-zero, finite
    gradient in the network's parameters; zero weight gives zero loss and gradient;
    finite on zero and constant inputs, on a region that covers the whole image and on
    an empty one; what a row holds where 'region_valid' or 'rationale_valid' is False
    changes nothing; a row
    that the term gives weight 0 counts in no statistic of its loss; the weight of the
    batch is left to the objective; two devices, of which one holds padding and fewer
    annotations, give the loss, gradient and state of one, the states equal on both; and
    so does the batch without its padding.

    Args:
      term: any term that does not rely on dropout.
      batch: what to try it on, an even number of examples, of which more than one
        counts; `example_batch` by default.
      network: (apply_fn, params, model_state) that takes the batch's inputs, without
        dropout and batch norm, which see padding; `smooth_network` of the shape of the
        batch by default, which takes float [B, H, W, C] with even H and W.

    Raises:
      AssertionError: naming the promise that is broken.
      ValueError: if a loss or weight is not [B], if the batch lacks an entry or has an
        odd number of examples, if the network does not take its inputs, or inside of
        `jit`.
    """
    if isinstance(jnp.zeros(1), jax.core.Tracer):
        raise ValueError(
            "a term is checked outside of `jit`: there a weight that is an argument of "
            "your compiled function is a number."
        )
    if batch is None:
        batch = networks.example_batch(jax.random.key(1))
    given = jax.tree.map(jnp.asarray, dict(batch))
    size = _even_size(given)
    network = network or networks.network_for(given)
    networks.check_takes(network, given["inputs"])
    # With weights throughout, one compiled program serves every batch below.
    batch = {"weight": jnp.ones(size), **given}
    value_of, params, states, traces = _value_of(term, network, batch)
    evaluate = _evaluation_of(value_of, params)
    compiled = jax.jit(evaluate)
    result = compiled(batch, states)
    chex.assert_trees_all_equal_shapes_and_dtypes(result.states, states)
    check_finite(result, "loss, state or gradient")
    check(
        np.any(np.asarray(result.weight) > 0),
        "every example has weight 0: the term finds no annotation in the batch",
    )
    norm = optax.tree.norm(result.gradient["model"])
    check(
        norm > _ROUNDING * jnp.abs(result.loss),
        "the loss has no gradient in the network's parameters: it cannot guide",
    )
    traces.clear()
    for what, changed in _extreme_batches(batch):
        # The state is carried on, as in a second step.
        check_finite(compiled(changed, result.states), what)
    check(not traces, "the same shapes are traced again")
    _check_rows_that_do_not_count(lambda b: compiled(b, states), batch, result)
    # The last of the rows that count is padding from here on, so that two devices hold
    # unequal numbers of them.
    order = _padding_last(np.asarray(result.weight))
    batch = jax.tree.map(lambda leaf: leaf[order], batch)
    index, of_batch = jnp.arange(size), batch["weight"]
    weight = jnp.where(index == size - 1, jnp.zeros_like(of_batch), of_batch)
    padded = compiled({**batch, "weight": weight}, states)
    uneven = {**batch, "weight": weight * (1 + index % 2).astype(weight.dtype)}
    expected = compiled(uneven, states)
    check_close(
        expected.weight[:-1],
        padded.weight[:-1],
        "the term's weight follows the batch's, by which the objective multiplies it",
    )
    _check_two_devices(lambda b: evaluate(b, states, "devices"), uneven, expected)
    # Without `jit` and without the padding at once; apart only to name what is wrong.
    run = lambda batch: value_of(params, batch, states)[:2]
    unpadded = run(jax.tree.map(lambda leaf: leaf[order[:-1]], given))
    same = (unpadded[0], unpadded[1][0]), (padded.loss, padded.states)
    if not close(*same):
        eager = run(given)
        check_close((eager[0], eager[1][0]), result[:2], "jit changes the result")
    check_close(*same, "padding, a row of weight 0, is counted")


def _even_size(batch: Batch) -> int:
    leaves = jax.tree_util.tree_leaves_with_path(dict(batch))
    sizes = {
        jax.tree_util.keystr(path, simple=True, separator="/"): jnp.shape(leaf)[:1]
        for path, leaf in leaves
    }
    if "inputs" not in batch or len(set(sizes.values())) != 1 or () in sizes.values():
        raise ValueError(f"`batch` must hold 'inputs' and be [B, ...]; got {sizes}.")
    size = ops.batch_size(batch)
    if size == 0 or size % 2:
        raise ValueError(f"`batch` (of {size} examples) must hold an even number.")
    return size


def _value_of(
    term: GuidanceTerm, network: tuple[ApplyFn, PyTree, PyTree], batch: Batch
) -> tuple[Callable[..., tuple[Array, Any]], PyTree, PyTree, list[None]]:
    """A function to loss, (states, weight); first params, states; an entry a call."""
    apply_fn, params, model_state = network
    weights: list[Array] = []

    def apply(params: PyTree, state: PyTree, context: StepContext) -> TermOutput:
        out = term.apply(params, state, context)
        weights.append(ops.at_least_float32(out.weight))
        return out

    terms = {"term": GuidanceTerm(term.init, apply)}
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, optax.identity(), batch
    )
    calls: list[None] = []

    def value_of(
        params: PyTree, batch: Batch, states: PyTree, axis_name: str | None = None
    ) -> tuple[Array, tuple[PyTree, Array]]:
        calls.append(None)
        objective = training.make_objective(
            apply_fn, terms, task_loss=_no_task_loss, axis_name=axis_name
        )
        loss, aux = objective(params, state._replace(guidance_state=states), batch)
        return loss, (aux.guidance_state, weights.pop())

    return value_of, state.params, state.guidance_state, calls


def _evaluation_of(
    value_of: Callable[..., tuple[Array, Any]], params: PyTree
) -> Callable[..., Evaluation]:
    differentiate = jax.value_and_grad(value_of, has_aux=True)

    def evaluate(
        batch: Batch, states: PyTree, axis_name: str | None = None
    ) -> Evaluation:
        (loss, (next_states, weight)), gradient = differentiate(
            params, batch, states, axis_name
        )
        return Evaluation(loss, next_states, gradient, weight)

    return evaluate


def _no_task_loss(output: ModelOutput, batch: Batch) -> Array:
    del batch
    return 0.0 * output.logits[:, 0]


def _extreme_batches(batch: Batch) -> Iterator[tuple[str, Batch]]:
    for value in (0.0, 1.0):
        # Token ids and masks are left as they are: what is constant are the floats.
        constant = jax.tree.map(
            lambda leaf, value=value: (
                jnp.full_like(leaf, value)
                if jnp.issubdtype(leaf.dtype, jnp.floating)
                else leaf
            ),
            batch["inputs"],
        )
        yield f"inputs that are all {value}", {**batch, "inputs": constant}
    for what, annotations in (
        ("with a region that covers the whole image", _whole_image(batch)),
        ("with an empty region", _nowhere(batch)),
    ):
        everyone = jnp.ones(ops.batch_size(batch), bool)
        known = {name: everyone for name in _VALID if name in batch}
        yield f"{what}, loss, state or gradient", {**batch, **annotations, **known}


def _whole_image(batch: Batch) -> dict[str, Array]:
    """The annotations of the batch, each of them everywhere in the image."""
    changed = {
        name: jnp.ones_like(batch[name]) for name in _ANNOTATIONS if name in batch
    }
    if "boxes" in batch:
        _, height, width, *_ = batch["inputs"].shape
        box = jnp.asarray([0, 0, width, height], batch["boxes"].dtype)
        changed["boxes"] = jnp.broadcast_to(box, batch["boxes"].shape)
    return changed


def _nowhere(batch: Batch) -> dict[str, Array]:
    """The annotations of the batch, none of them in the image."""
    return {name: jnp.zeros_like(batch[name]) for name in _ANNOTATIONS if name in batch}


def _padding_last(weight: np.ndarray) -> np.ndarray:
    """An order in which the last row counts and another one does as well."""
    counted, others = np.flatnonzero(weight > 0), np.flatnonzero(weight <= 0)
    row = counted[-1] if len(counted) > 1 else others[-1]
    order = np.arange(len(weight))
    order[[row, -1]] = order[[-1, row]]
    return order


def _check_rows_that_do_not_count(
    run: Callable[[Batch], Evaluation], batch: Batch, result: Evaluation
) -> None:
    silent = run({**batch, "weight": jnp.zeros_like(batch["weight"])})
    check(
        silent.loss == 0 and optax.tree.norm(silent.gradient) == 0,
        "a batch of weight 0 has a loss or gradient that is not 0",
    )
    weight = jnp.where(result.weight > 0, batch["weight"], 0)
    counted = run({**batch, "weight": weight.astype(batch["weight"].dtype)})
    check_close(
        (counted.loss, counted.gradient),
        (result.loss, result.gradient),
        "rows that the term itself gives weight 0, as it does where nobody annotated, "
        "are counted in its loss",
    )
    for valid_name in sorted(set(_VALID) & set(batch)):
        valid = batch[valid_name].astype(bool)
        keep = lambda leaf, valid=valid: valid.reshape(-1, *[1] * (leaf.ndim - 1))
        of_text = valid_name == "rationale_valid"
        garbage = {
            name: jnp.where(keep(leaf), batch[name], leaf)
            for name, leaf in _whole_image(batch).items()
            if (name == "rationale") == of_text
        }
        check_close(
            run({**batch, **garbage})[:3],
            result[:3],
            f"{valid_name!r} is ignored: a region changes the result where it is False",
        )


def _check_two_devices(
    on_device: Callable[[Batch], Evaluation], batch: Batch, expected: Evaluation
) -> None:
    shards = jax.tree.map(lambda x: x.reshape(2, len(x) // 2, *x.shape[1:]), batch)
    both = jax.jit(jax.vmap(on_device, axis_name="devices"))(shards)
    loss, gradient = jax.tree.map(
        lambda x: jnp.sum(x, axis=0), (both.loss, both.gradient)
    )
    check_close(loss, expected.loss, "the loss of two devices differs from one's")
    check_close(gradient, expected.gradient, "two devices' gradient differs from one's")
    first, second = (jax.tree.map(lambda x, i=i: x[i], both.states) for i in (0, 1))
    check_close(first, second, "the carried state differs between devices")
    check_close(first, expected.states, "the carried state of two devices is not one's")
