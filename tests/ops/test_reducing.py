import functools

import chex
import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import test_util

from xguide_jax import ops
from xguide_jax.ops import reducing

NUM_DEVICES = 4
BATCH = hnp.arrays(np.float32, 8, elements=st.floats(-100, 100, width=32))
WEIGHTS = hnp.arrays(np.float32, 8, elements=st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0]))


def batch():
    values = jnp.arange(8.0) ** 2
    weights = jnp.array([1.0, 0.0, 2.0, 0.5, 0.0, 0.0, 1.0, 3.0])
    return values, weights


def shards(array):
    return array.reshape(NUM_DEVICES, -1)


def pmap(function):
    devices = jax.local_devices()[:NUM_DEVICES]
    return jax.pmap(function, axis_name="batch", devices=devices)


class VariantsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_division_by_hand(self):
        quotient = self.variant(ops.safe_divide)(
            jnp.array([6.0, 1.0, 0.0, -3.0]), jnp.array([-2.0, 0.0, 0.0, 4.0])
        )
        np.testing.assert_array_equal(quotient, [-3.0, 0.0, 0.0, -0.75])

    @chex.variants(with_jit=True, without_jit=True)
    def test_norm_by_hand(self):
        # 3² + 4² = 5², 1 + 4 + 4 = 3²
        vectors = jnp.array([[3.0, 0.0, -4.0], [0.0, 0.0, 0.0], [1.0, -2.0, 2.0]])
        norm_fn = self.variant(functools.partial(ops.safe_norm, axis=-1))
        np.testing.assert_allclose(norm_fn(vectors), [5.0, 0.0, 3.0], rtol=1e-6)
        norm_fn = self.variant(functools.partial(ops.safe_norm, axis=(0, 1)))
        np.testing.assert_allclose(norm_fn(vectors), 34**0.5, rtol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_weighted_mean_by_hand(self):
        # (1·0 + 2·4 + 0.5·9 + 1·36 + 3·49) / (1 + 2 + 0.5 + 1 + 3) = 195.5 / 7.5
        mean = self.variant(ops.weighted_mean)(*batch())
        np.testing.assert_allclose(mean, 195.5 / 7.5, rtol=1e-6)


def test_division_broadcasts_and_keeps_the_dtype():
    quotient = ops.safe_divide(jnp.ones((2, 3), jnp.bfloat16), jnp.bfloat16(4.0))
    chex.assert_shape(quotient, (2, 3))
    assert quotient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(quotient.astype(jnp.float32), np.full((2, 3), 0.25))


def test_division_has_the_gradients_of_a_quotient(x64):
    numerator = jnp.array([[1.0, -2.0, 3.0], [0.0, 0.5, 4.0]])
    denominator = jnp.array([[2.0], [-0.7]])
    args = (numerator, denominator)
    test_util.check_grads(jax.jit(ops.safe_divide), args, order=2, modes=["rev"])
    test_util.check_grads(jax.jit(ops.safe_divide), args, order=2, modes=["fwd"])


def test_division_by_zero_has_zero_gradients_of_every_order():
    def quotients(numerator, denominator):
        return jnp.sum(ops.safe_divide(numerator, denominator**2))

    args = (jnp.array([0.0, 1.0, 2.0]), jnp.array([0.0, 0.0, 1.0]))
    for gradient in jax.grad(quotients, (0, 1))(*args):
        np.testing.assert_array_equal(gradient[:2], np.zeros(2))
    for row in jax.jit(jax.hessian(quotients, (0, 1)))(*args):
        for block in row:
            np.testing.assert_array_equal(block[:2], np.zeros((2, 3)))


def test_division_by_tiny_numbers_has_finite_gradients():
    # d(n/d)/dd = -n / d², where d² = 1e-50 is no float32 but n / d is fine.
    tiny = jnp.float32(1e-25)
    for numerator, expected in ((0.0, 0.0), (1e-25, -1e25), (1e-30, -1e20)):
        gradient = jax.grad(ops.safe_divide, 1)(jnp.float32(numerator), tiny)
        np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_norm_has_the_gradient_of_a_unit_vector_and_zero_at_zero():
    gradient = jax.grad(lambda x: ops.safe_norm(x, axis=0))(jnp.array([3.0, -4.0]))
    np.testing.assert_allclose(gradient, [0.6, -0.8], rtol=1e-6)
    norm = functools.partial(ops.safe_norm, axis=-1)
    at_zero = jax.grad(lambda x: norm(x).sum())(jnp.zeros((2, 3)))
    np.testing.assert_array_equal(at_zero, np.zeros((2, 3)))
    again = jax.jit(jax.hessian(lambda x: norm(x).sum()))(jnp.zeros(3))
    np.testing.assert_array_equal(again, np.zeros((3, 3)))


def test_norm_numerical_gradients(x64):
    vectors = jax.random.normal(jax.random.key(0), (2, 3))
    norm = functools.partial(ops.safe_norm, axis=1)
    test_util.check_grads(jax.jit(norm), (vectors,), order=2, modes=["rev"])


def test_bfloat16_is_summed_in_float32():
    # 400 ones: bfloat16 holds no integer between 256 and 258, its sum would stick.
    ones = jnp.ones(400, jnp.bfloat16)
    norm = ops.safe_norm(ones, axis=0)
    mean = ops.weighted_mean(jnp.arange(400.0).astype(jnp.bfloat16), ones)
    assert norm.dtype == mean.dtype == jnp.float32
    assert norm == 20.0
    np.testing.assert_allclose(mean, 199.5, rtol=1e-2)


@hypothesis.given(values=BATCH, weights=WEIGHTS)
def test_weighted_mean_is_that_of_the_examples_that_count(values, weights):
    mean = ops.weighted_mean(jnp.asarray(values), jnp.asarray(weights))
    counted = weights > 0
    expected = (
        np.average(values[counted], weights=weights[counted]) if any(counted) else 0
    )
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-4)


def test_weighted_mean_is_the_same_on_one_and_on_many_devices():
    values, weights = batch()
    mean_fn = functools.partial(ops.weighted_mean, axis_name="batch")
    # Devices hold weights 1, 2.5, 0 and 4: a mean of means would differ, and be 0 / 0.
    means = pmap(mean_fn)(shards(values), shards(weights))
    np.testing.assert_allclose(means, [195.5 / 7.5] * NUM_DEVICES, rtol=1e-6)


def test_gradient_of_weighted_mean_is_the_share_of_each_weight():
    values, weights = batch()
    gradient = jax.grad(ops.weighted_mean)(values, weights)
    np.testing.assert_allclose(gradient, weights / 7.5, rtol=1e-6)
    to_weights = jax.grad(ops.weighted_mean, 1)(values, weights)
    counted = weights > 0  # (v - mean) / Σ w
    expected = (values - 195.5 / 7.5) / 7.5
    np.testing.assert_allclose(to_weights[counted], expected[counted], rtol=1e-5)


def test_pmap_gradients_through_the_sum_are_averaged_over_the_axis():
    values, weights = batch()

    def gradient(values, weights):
        mean_fn = functools.partial(ops.weighted_mean, axis_name="batch")
        scale_fn = jax.grad(lambda scale: mean_fn(scale * values, weights))
        return jax.lax.pmean(scale_fn(jnp.float32(1.0)), "batch")

    # d mean(s v) / ds = mean(v)
    gradients = pmap(gradient)(shards(values), shards(weights))
    np.testing.assert_allclose(gradients, [195.5 / 7.5] * NUM_DEVICES, rtol=1e-6)


def test_weighted_mean_of_nothing_is_zero_with_zero_gradients():
    values = jnp.array([1.0, jnp.nan, jnp.inf])
    mean_fn = jax.value_and_grad(ops.weighted_mean, (0, 1))
    mean, gradients = mean_fn(values, jnp.zeros(3))
    assert mean == 0.0
    np.testing.assert_array_equal(gradients, np.zeros((2, 3)))


def test_weighted_mean_never_looks_at_values_of_weight_zero():
    values, weights = jnp.array([1.0, jnp.nan, 3.0]), jnp.array([1.0, 0.0, 1.0])
    mean, gradient = jax.value_and_grad(ops.weighted_mean)(values, weights)
    assert mean == 2.0
    np.testing.assert_array_equal(gradient, [0.5, 0.0, 0.5])


def test_weighted_mean_hides_no_nan_that_counts():
    nan, ones = jnp.array([1.0, jnp.nan]), jnp.ones(2)
    assert jnp.isnan(ops.weighted_mean(nan, ones))
    assert jnp.isnan(ops.weighted_mean(ones, nan))


def test_weighted_mean_numerical_gradients(x64):
    args = tuple(jnp.asarray(array, jnp.float64) + 0.5 for array in batch())
    test_util.check_grads(jax.jit(ops.weighted_mean), args, order=2, modes=["rev"])


def test_weighted_mean_takes_two_float_arrays_of_one_shape():
    ones = jnp.ones(3)
    with pytest.raises(AssertionError, match="rank"):
        ops.weighted_mean(jnp.ones((3, 1)), jnp.ones((3, 1)))
    with pytest.raises(AssertionError, match="equal_shape"):
        ops.weighted_mean(ones, jnp.ones(2))
    with pytest.raises(AssertionError, match="has type bool"):
        ops.weighted_mean(ones, ones > 0)


def test_division_and_norm_take_floats():
    whole = jnp.ones(3, jnp.int32)
    with pytest.raises(AssertionError, match="has type int32"):
        ops.safe_divide(whole, jnp.ones(3))
    with pytest.raises(AssertionError, match="has type int32"):
        ops.safe_norm(whole, axis=0)


def test_axis_sum_adds_every_leaf_over_the_devices():
    tree = {"a": jnp.arange(4.0), "b": (jnp.arange(4),)}
    assert ops.axis_sum(tree, None) is tree
    summed = pmap(functools.partial(ops.axis_sum, axis_name="batch"))(tree)
    chex.assert_trees_all_equal(summed, {"a": jnp.full(4, 6.0), "b": (jnp.full(4, 6),)})


def test_example_indices_count_on_across_devices():
    np.testing.assert_array_equal(ops.example_indices(3), [0, 1, 2])
    indices = pmap(lambda _: ops.example_indices(3, axis_name="batch"))(jnp.zeros(4))
    assert indices.dtype == ops.example_indices(3).dtype == jnp.int32
    np.testing.assert_array_equal(indices, np.arange(12).reshape(4, 3))


@pytest.mark.parametrize("chunk_size", [1, 2, 5, 9])
def test_a_barriered_sum_is_that_of_its_parts(chunk_size):
    """Every part once, in order, in chunks of at most that many."""
    chunks = []

    def part(values, numbers):
        chunks.append(numbers.tolist())
        return jnp.sum(values * jnp.asarray(numbers + 1, values.dtype)[:, None], axis=0)

    values = jnp.array([1.0, 2.0])
    total = ops.barriered_sum(part, values, count=5, chunk_size=chunk_size)
    np.testing.assert_array_equal(total, 15 * values)
    assert [n for chunk in chunks for n in chunk] == list(range(5))
    assert max(map(len, chunks)) == min(chunk_size, 5)
    sum_of = lambda v: jnp.sum(
        ops.barriered_sum(part, v, count=5, chunk_size=chunk_size)
    )
    np.testing.assert_array_equal(jax.grad(sum_of)(values), [15.0, 15.0])
    barriers = str(jax.make_jaxpr(sum_of)(values)).count("optimization_barrier")
    assert barriers == -(-5 // chunk_size)


@pytest.mark.parametrize(("chunk_size", "sizes"), [(1, [1]), (2, [2, 1]), (9, [5])])
def test_a_chunk_is_traced_once_within_a_transformation(chunk_size, sizes):
    traced = []

    def part(values, numbers):
        traced.append(len(numbers))
        return _weighted(values, numbers)

    def total_of(values):
        return ops.barriered_sum(
            reducing.traced_once(part, values), values, count=5, chunk_size=chunk_size
        )

    values = jnp.array([1.0, 2.0])
    expected = total_of(values)
    assert len(traced) == -(-5 // chunk_size)
    traced.clear()
    np.testing.assert_allclose(jax.jit(total_of)(values), expected, rtol=1e-6)
    assert traced == sizes


def _weighted(values, numbers):
    """Σ_n sin((n + 1) v): a part that reads its numbers, traced or not."""
    factors = jnp.asarray(numbers + 1, values.dtype)
    return jnp.sum(jnp.sin(factors[:, None] * values), axis=0)


@pytest.mark.parametrize("chunk_size", [1, 2])
def test_a_compiled_loop_adds_up_what_the_unrolled_one_does(chunk_size):
    values = jnp.array([1.0, 2.0])
    sums = {
        loop: functools.partial(
            ops.barriered_sum, _weighted, count=5, chunk_size=chunk_size, loop=loop
        )
        for loop in ("unrolled", "compiled")
    }
    for transform in (
        lambda f: f,
        jax.jacrev,
        jax.jacfwd,
        lambda f: jax.jacrev(jax.jacrev(f)),
        lambda f: lambda v: jax.vmap(f)(jnp.stack([v, 3 * v])),
    ):
        unrolled, compiled = (jax.jit(transform(f))(values) for f in sums.values())
        np.testing.assert_allclose(compiled, unrolled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("platform", "compiled"), [("cpu", False), ("gpu", True), ("tpu", True)]
)
def test_the_loop_is_compiled_on_accelerators_only(monkeypatch, platform, compiled):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)

    def trace(count):
        add = lambda v: ops.barriered_sum(_weighted, v, count=count, chunk_size=2)
        return jax.make_jaxpr(add)(jnp.ones(2)).jaxpr

    few, many = trace(9), trace(101)
    names = [equation.primitive.name for equation in many.eqns]
    assert ("scan" in names) == compiled
    assert (len(many.eqns) == len(few.eqns)) == compiled


def test_an_unknown_loop_is_refused():
    with pytest.raises(ValueError, match=r"`loop` \(='fast'\) must be one of"):
        ops.barriered_sum(_weighted, jnp.ones(2), count=3, loop="fast")
