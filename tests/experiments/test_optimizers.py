"""The optimiser of the small networks: who gets which update, and when it ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.running import optimizers

pytestmark = pytest.mark.usefixtures("standard_promotion")


def test_kernels_have_muon_and_the_rest_adam_with_rates_that_fall_at_last():
    params = {
        "conv": {"kernel": jnp.ones((3, 3, 2, 4)), "bias": jnp.ones(4)},
        "dense": {"kernel": jnp.ones((4, 2))},
    }
    optimizer = optimizers.muon(0.05, num_steps=100)
    update, state = jax.jit(optimizer.update), optimizer.init(params)
    rng = np.random.default_rng(0)
    gradient = jax.tree.map(lambda p: rng.normal(size=p.shape), params)
    sizes = []
    for _ in range(101):
        updates, state = update(gradient, state, params)
        sizes.append(jax.tree.map(lambda u: float(np.abs(u).max()), updates))
    # Of a constant gradient Adam's step is its rate, once Nesterov's part is settled.
    for name, leaf in (("conv", "bias"), ("dense", "kernel")):
        rates = np.array([size[name][leaf] for size in sizes])
        np.testing.assert_allclose(rates[40:51], 0.003, rtol=1e-3)
        np.testing.assert_allclose(rates[75], 0.0015, rtol=1e-3)
        assert rates[100] == 0
    kernel = np.array([size["conv"]["kernel"] for size in sizes])
    np.testing.assert_allclose(kernel[75], kernel[50] / 2, rtol=1e-2)
    assert kernel[100] == 0
    # Muon's is a matrix [18, 4] with singular values near its rate.
    updates, _ = update(gradient, optimizer.init(params), params)
    values = np.linalg.svd(updates["conv"]["kernel"].reshape(18, 4), compute_uv=False)
    assert 0.6 < values.min() / 0.05 < values.max() / 0.05 < 1.25
