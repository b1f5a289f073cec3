"""What the harness does with inputs that are a dict: a problem, batches, accuracy."""

import jax
import numpy as np
import optax
from flax import linen as nn

from experiments.running import feeding, loop, predicting
from xguide_jax import data, training
from xguide_jax.types import ModelOutput


class _BagOfWords(nn.Module):
    """The mean embedding of the tokens that the mask counts, and a linear head."""

    @nn.compact
    def __call__(self, inputs):
        embedded = nn.Embed(4, 8)(inputs["tokens"])
        mask = inputs["mask"][..., None].astype(embedded.dtype)
        mean = (embedded * mask).sum(1) / mask.sum(1)
        return ModelOutput(nn.Dense(2)(mean))


def _dataset():
    """Token 3 is in a text if and only if its class is 1."""
    labels = np.arange(12, dtype=np.int32) % 2
    mask = np.arange(6) < np.array([2, 3, 5, 6] * 3)[:, None]
    tokens = np.where(mask, np.where(labels[:, None] == 1, 3, 1), 0).astype(np.int32)
    return data.Dataset({"tokens": tokens, "mask": mask}, labels, ("no", "yes"))


def test_a_network_of_tokens_is_trained_by_length_and_measured():
    dataset = _dataset()
    problem = loop.linen_problem(
        _BagOfWords(),
        dataset.inputs,
        seed=0,
        batch_at=feeding.batches_by_length(
            dataset, buckets=(3, 6), batch_size=4, seed=0
        ),
        optimizer=optax.sgd(1.0),
    )
    step = jax.jit(training.make_train_step(problem.apply_fn, {}, problem.optimizer))
    state = training.init_train_state(
        jax.random.key(0),
        problem.params,
        problem.model_state,
        {},
        problem.optimizer,
        problem.batch_at(0),
    )
    for n in range(12):
        state, _ = step(state, problem.batch_at(n))
    assert step._cache_size() == 2  # a program for each length, and no more
    accuracy = predicting.make_accuracy(
        problem.apply_fn, how="jit", devices=jax.devices()[:1], batch_size=5
    )
    assert accuracy(state, dataset) == 1.0
    predict = predicting.make_predict(problem.apply_fn)
    assert predict(state, dataset.inputs).shape == (12, 2)
