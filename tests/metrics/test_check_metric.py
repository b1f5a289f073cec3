"""The check of metrics accepts what is right and names what is wrong."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import metrics, testing

REGION = np.array([[[1.0, 1, 0, 0]]], np.float32)
GOOD = np.array([[[3.0, 2, 1, 0.5]]], np.float32)
FRACTION = {
    "better": (GOOD, REGION),
    "worse": (GOOD[..., ::-1].copy(), REGION),
    "higher_is_better": True,
    "bounds": (0.0, 1.0),
    "scale_invariant": True,
    "undefined": [(0 * GOOD, REGION), (GOOD, 0 * REGION)],
}
check = functools.partial(testing.check_metric, **FRACTION)
energy = metrics.energy_pointing_game


def test_an_honest_metric_passes():
    check(energy)
    check(lambda a, r: 1 - energy(a, r), higher_is_better=False)
    check(lambda a, r: energy(a, r) * 5, bounds=(0.0, 5.0))


def test_a_metric_that_draws_takes_its_keys_as_examples():
    def noisy(maps, region, keys):
        draw = jax.vmap(lambda key: jax.random.uniform(key, (), maps.dtype))(keys)
        return energy(maps, region) + 0.01 * draw

    keys = jax.random.split(jax.random.key(0), 2)
    check(
        noisy,
        better=(GOOD, REGION, keys[:1]),
        worse=(GOOD[..., ::-1].copy(), REGION, keys[1:]),
        undefined=[],
        bounds=(0.0, 1.01),
    )


def is_traced(array):
    return isinstance(array, jax.core.Tracer)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda a, r: jnp.mean(energy(a, r)), r"float \[4\]; .* float32\[\]"),
        (lambda a, r: energy(a, r) > 0.5, "must return float"),
        (lambda a, r: energy(a, r) * 2, r"outside of \(0.0, 1.0\)"),
        (lambda a, r: 1 - energy(a, r), "higher must be better"),
        (lambda a, r: jnp.nan * energy(a, r), "higher must be better"),
        (
            lambda a, r: jnp.where(
                jnp.all(a == 0, axis=(1, 2)), 0.0, energy(a, r)
            ),
            r"`undefined`\[0\] has the value 0.0",
        ),
        (
            lambda a, r: energy(a, r) * (0.9 if is_traced(a) else 1.0),
            "jit changes the result",
        ),
        (
            lambda a, r: energy(a, r) / len(a),
            "a batch differs from its examples",
        ),
        (
            lambda a, r: energy(jnp.nan_to_num(a), r),
            "a NaN in its first cell",
        ),
        (
            lambda a, r: energy(a.at[..., -1].set(jnp.nan_to_num(a[..., -1])), r),
            "a NaN in its last cell",
        ),
        (
            lambda a, r: jnp.where(
                jnp.isnan(a).any(axis=(1, 2)) & (len(a) > 1000), 0.5, energy(a, r)
            ),
            r"a NaN in its first cell, of \d{4} maps, has the value 0.5",
        ),
        (
            lambda a, r: energy(a, r) + 0 * jnp.sum(a),
            "a NaN in one map changes others: NaN",
        ),
        (
            lambda a, r: energy(a, r) * jnp.minimum(1.0, jnp.max(a, axis=(1, 2))),
            "a factor of 0.001 on the map changes it",
        ),
    ],
)  # fmt: skip
def test_a_broken_metric_is_named(broken, message):
    with pytest.raises(AssertionError, match=message):
        check(broken)


def test_scaling_is_asked_for_only_where_it_is_claimed():
    scaled = lambda a, r: energy(a, r) * jnp.minimum(1.0, jnp.max(a, axis=(1, 2)))
    check(scaled, scale_invariant=False)
