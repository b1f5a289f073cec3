"""Inputs that are a dict, {'tokens', 'mask'}: nothing counts their keys as examples."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from xguide_jax import attributions, guidance, models, ops, testing, training


def squared_saliency():
    """A term on the token embeddings, with a statistic of the batch that pads see."""

    def loss_fn(context):
        forward = functools.partial(context.forward, train=True)
        head_fn, embeddings = attributions.split_at(
            forward, context.batch["inputs"], "embeddings"
        )
        gradient = attributions.input_gradient(
            head_fn, embeddings, context.batch["labels"],
            score_fn=attributions.target_logit,
        )  # fmt: skip
        noise = jax.vmap(jax.random.uniform)(context.key)
        loss = jnp.sum(jnp.square(gradient), axis=(1, 2)) * (1 + noise)
        return loss, jnp.ones_like(loss)

    return guidance.stateless(loss_fn)


TERMS = {"small": squared_saliency()}
BATCH = testing.token_batch(jax.random.key(1), batch_size=7)


def test_the_number_of_examples_is_not_the_number_of_keys():
    assert ops.batch_size(BATCH) == 7 != len(BATCH["inputs"])
    assert ops.batch_size({"inputs": np.zeros((3, 2))}) == 3
    with pytest.raises(
        ValueError, match=r"every leaf of the inputs must be \[B, ...\]"
    ):
        ops.batch_size({"inputs": {"a": np.zeros((3, 2)), "b": np.zeros(2)}})
    with pytest.raises(ValueError, match=r"\[B, ...\]; got {}"):
        ops.batch_size({"inputs": {}})


def test_a_term_keeps_its_promises_on_tokens():
    batch = testing.token_batch(jax.random.key(1), batch_size=8)
    network = testing.token_network(jax.random.key(0))
    testing.check_guidance_term(squared_saliency(), batch=batch, network=network)
    testing.check_apply_fn(*network, batch["inputs"], skips=("embeddings",))  # the mask
    with pytest.raises(ValueError, match="`network` must be given with `batch`"):
        testing.check_guidance_term(squared_saliency(), batch=batch)


def test_the_loss_of_terms_counts_examples():
    apply_fn, params, _ = testing.token_network(jax.random.key(0))
    loss, (_, metrics) = training.guidance_loss(
        apply_fn, TERMS, {"model": params}, (), {}, BATCH, key=jax.random.key(2), step=0
    )
    assert metrics["small/annotated"] == 7
    assert loss > 0


def test_padding_repeats_rows_of_every_leaf():
    padded = training.pad_batch(BATCH, 4)
    assert ops.batch_size(padded) == 8
    np.testing.assert_array_equal(padded["weight"], [1] * 7 + [0])
    for leaf, whole in zip(
        jax.tree.leaves(padded["inputs"]), jax.tree.leaves(BATCH["inputs"]), strict=True
    ):
        np.testing.assert_array_equal(leaf[-1], whole[-1])
    with pytest.raises(ValueError, match="inputs/mask"):
        training.pad_batch({**BATCH, "labels": jnp.zeros(3, jnp.int32)}, 4)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("how", ["pmap", "shard_map"])
def test_two_devices_take_the_step_of_one(how, accumulate):
    apply_fn, params, model_state = testing.token_network(jax.random.key(0))
    optimizer = optax.sgd(0.1)
    state = training.init_train_state(
        jax.random.key(2), params, model_state, TERMS, optimizer, BATCH
    )
    single, metrics = jax.jit(training.make_train_step(apply_fn, TERMS, optimizer))(
        state, BATCH
    )
    step = training.make_train_step(
        apply_fn, TERMS, optimizer, axis_name="batch", accumulate=accumulate
    )
    lift = functools.partial(
        training.data_parallel, how=how, devices=jax.local_devices()[:2]
    )
    both, shared = lift(step)(state, BATCH)
    chex.assert_trees_all_close(both.params, single.params, atol=1e-6)
    chex.assert_trees_all_close(shared["loss"], metrics["loss"], atol=1e-6)
    evaluate = training.make_eval_step(apply_fn, axis_name="batch")
    alone = training.make_eval_step(apply_fn)(state, BATCH)
    chex.assert_trees_all_close(lift(evaluate)(state, BATCH), alone, atol=1e-6)
    assert alone["weight"] == 7


class Tokens(nn.Module):
    @nn.compact
    def __call__(self, inputs):
        embedded = nn.Embed(7, 4)(inputs["tokens"])
        return nn.Dense(3)(
            jnp.mean(jnp.where(inputs["mask"][..., None], embedded, 0), axis=1)
        )


def test_a_linen_module_takes_them():
    params, model_state = models.init_linen(
        Tokens(), jax.random.key(0), BATCH["inputs"]
    )
    apply_fn = models.linen_apply_fn(Tokens())
    output, _ = apply_fn(params, model_state, BATCH["inputs"], train=False)
    chex.assert_shape(output.logits, (7, 3))
