"""B-cos networks: their layers by hand, and logits as sums of contributions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from xguide_jax import models


def network(dtype=jnp.float64, **fields):
    """Two layers and the classes of 5x6 images, and what runs them."""
    settings = {"num_classes": 3, "channels": (4, 5), "strides": (1, 2), **fields}
    module = models.BcosCNN(**settings)
    images = jax.random.uniform(jax.random.key(0), (2, 5, 6, 3))
    inputs = models.bcos_inputs(images)
    params, _ = models.init_linen(module, jax.random.key(1), inputs)
    cast = functools.partial(jax.tree.map, lambda leaf: leaf.astype(dtype))
    return module, cast(params), cast(inputs)


def bound(module, params):
    return functools.partial(models.linen_apply_fn(module), params, {}, train=False)


def reference(params, inputs, *, strides, exponent, temperature):
    """The formula, one patch at a time; rows and columns padded as 'SAME' does."""
    hidden = np.asarray(inputs)
    for number, stride in enumerate((*strides, 1)):
        kernel = np.asarray(params[f"kernel_{number}"])
        size = len(kernel)
        out = [-(-side // stride) for side in hidden.shape[1:3]]
        pads = []
        for side, cells in zip(hidden.shape[1:3], out, strict=True):
            total = max((cells - 1) * stride + size - side, 0)
            pads.append((total // 2, total - total // 2))
        padded = np.pad(hidden, [(0, 0), *pads, (0, 0)])
        mapped = np.zeros((len(hidden), *out, kernel.shape[-1]))
        for b, i, j, k in np.ndindex(*mapped.shape):
            rows, columns = (slice(s * stride, s * stride + size) for s in (i, j))
            patch, weight = padded[b, rows, columns].ravel(), kernel[..., k].ravel()
            linear = weight @ patch / np.linalg.norm(weight)
            cosine = linear / np.linalg.norm(patch)
            mapped[b, i, j, k] = abs(cosine) ** (exponent - 1) * linear
        hidden = mapped
    return hidden.mean((1, 2)) / temperature


def test_a_layer_by_hand():
    module = models.BcosCNN(num_classes=2, channels=(1,), strides=(1,), temperature=1.0)
    inputs = jnp.array([3.0, 4.0, 0.0, 0.0, 0.0, 0.0]).reshape(1, 1, 1, 6)
    # Of length 2 along the first channel, at the centre: the one place of the image.
    first = jnp.zeros((3, 3, 6, 1)).at[1, 1, 0, 0].set(2.0)
    second = jnp.array([5.0, -7.0]).reshape(1, 1, 1, 2)
    output = module.apply({"params": {"kernel_0": first, "kernel_1": second}}, inputs)
    # ŵᵀx = 3, ‖x‖ = 5, cos = 3/5, y = 9/5; then one number, whose cos is 1 or −1.
    np.testing.assert_allclose(output.intermediates["alignment_0"].ravel(), [0.6])
    np.testing.assert_allclose(output.intermediates["features"].ravel(), [1.8])
    np.testing.assert_allclose(output.logits, [[1.8, -1.8]], rtol=1e-6)


@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0])
def test_the_network_is_its_formula(x64, exponent):
    module, params, inputs = network(exponent=exponent, temperature=0.2)
    output = jax.jit(module.apply)({"params": params}, inputs)
    expected = reference(
        params, inputs, strides=(1, 2), exponent=exponent, temperature=0.2
    )
    np.testing.assert_allclose(output.logits, expected, rtol=1e-10)


def test_contributions_sum_to_the_logit_and_are_the_terms_of_a_linear_function(x64):
    module, params, inputs = network()
    forward, targets = bound(module, params), jnp.array([2, 0])
    output, _ = forward(inputs)
    found = models.bcos_contributions(forward, inputs, targets)
    assert found.shape == inputs.shape
    logits = output.logits[jnp.arange(2), targets]
    np.testing.assert_allclose(found.sum((1, 2, 3)), logits, rtol=0, atol=1e-10)

    # One input alone through the network with its scales held: no gradient is taken.
    scales = {n: x for n, x in output.intermediates.items() if n.startswith("align")}
    held = lambda x: forward(x, overrides=scales)[0].logits[jnp.arange(2), targets]
    alone = jax.jit(jax.vmap(held))
    places = jnp.eye(inputs[0].size).reshape(-1, 1, *inputs.shape[1:])
    terms = alone(places * inputs).T.reshape(inputs.shape)
    np.testing.assert_allclose(found, terms, rtol=0, atol=1e-10)

    total = lambda x: jnp.sum(forward(x)[0].logits[jnp.arange(2), targets])
    following = inputs * jax.jit(jax.grad(total))(inputs)
    # The same sum by Euler's theorem, and other terms.
    np.testing.assert_allclose(following.sum((1, 2, 3)), logits, atol=1e-10)
    assert not np.allclose(following, found, rtol=1e-2, atol=1e-3)


def test_every_activation_can_be_replaced():
    module, params, inputs = network(jnp.float32)
    forward = bound(module, params)
    output, _ = forward(inputs)
    names = {"layer_0", "features", "alignment_0", "alignment_1", "alignment_2"}
    assert set(output.intermediates) == names
    assert output.intermediates["features"].shape == (2, 3, 3, 5)
    for name in names:
        value = output.intermediates[name]
        same, twice = (forward(inputs, overrides={name: s * value})[0] for s in (1, 2))
        np.testing.assert_allclose(same.logits, output.logits, rtol=1e-5)
        # Each layer is homogeneous: twice a map is twice the logits.
        np.testing.assert_allclose(twice.logits, 2 * output.logits, rtol=1e-5)


def test_logits_are_homogeneous_in_the_inputs_and_blind_to_a_weights_length(x64):
    module, params, inputs = network()
    run = jax.jit(
        lambda params, inputs: module.apply({"params": params}, inputs).logits
    )
    logits = run(params, inputs)
    np.testing.assert_allclose(run(params, 3 * inputs), 3 * logits, rtol=1e-10)
    longer = jax.tree.map(lambda leaf: 7 * leaf, params)
    np.testing.assert_allclose(run(longer, inputs), logits, rtol=1e-10)


@pytest.mark.parametrize("exponent", [1.5, 2.0])
def test_blank_inputs_contribute_nothing_and_have_finite_gradients(exponent):
    module, params, inputs = network(jnp.float32, exponent=exponent)

    def penalty(params, inputs):
        found = models.bcos_contributions(
            bound(module, params), inputs, jnp.array([0, 1])
        )
        return jnp.sum(found**2) + jnp.sum(found)

    values = jax.jit(jax.value_and_grad(penalty, (0, 1)))(params, 0 * inputs)
    assert values[0] == 0
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(values))


def test_second_derivatives_are_numerically_right(x64):
    module, params, inputs = network(num_classes=2, channels=(2,), strides=(2,))

    def contributions(params, inputs):
        forward = bound(module, params)
        return models.bcos_contributions(forward, inputs, jnp.array([1, 0]))

    check_grads(
        jax.jit(contributions), (params, inputs[:, :3, :3]), order=1, modes=["rev"]
    )
    check_grads(
        jax.jit(lambda *args: module.apply({"params": args[0]}, args[1]).logits),
        (params, inputs[:, :3, :3]), order=2, modes=["rev"],
    )  # fmt: skip


@pytest.mark.usefixtures("standard_promotion")
def test_it_learns_stripes():
    """Whether stripes are rows or columns, of 8x8 images with noise."""
    noise = jax.random.uniform(jax.random.key(0), (32, 8, 8, 1))
    labels = jnp.arange(32) % 2
    stripes = (jnp.arange(8) % 2).astype(jnp.float32)
    rows, columns = stripes[:, None, None], stripes[None, :, None]
    shown = jnp.where(labels[:, None, None, None] == 0, rows, columns)
    inputs = models.bcos_inputs(0.5 * shown + 0.5 * noise)
    module = models.BcosCNN(num_classes=2, channels=(8, 8), strides=(1, 2))
    params = module.init(jax.random.key(1), inputs)["params"]
    optimizer = optax.adam(0.03)

    def loss(params):
        logits = module.apply({"params": params}, inputs).logits
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.mean(entropy), jnp.mean(jnp.argmax(logits, -1) == labels)

    @jax.jit
    def step(params, state):
        (value, accuracy), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value, accuracy

    state = optimizer.init(params)
    for _ in range(60):
        params, state, value, accuracy = step(params, state)
    assert accuracy == 1
    assert value < 0.3


def test_inputs_are_the_image_and_what_it_lacks():
    images = jnp.array([[[[0.25, 1.0]]]])
    np.testing.assert_array_equal(
        models.bcos_inputs(images), [[[[0.25, 1.0, 0.75, 0.0]]]]
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"strides": (1,)}, r"`strides` \(=\(1,\)\) must have one entry for each"),
        ({"exponent": 0.5}, r"`exponent` \(=0.5\) must be at least 1"),
        ({"temperature": 0.0}, r"`temperature` \(=0.0\) must be positive"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        models.BcosCNN(num_classes=2, **fields).init(
            jax.random.key(0), jnp.zeros((1, 8, 8, 6))
        )


def test_what_is_no_batch_and_no_bcos_network_is_refused():
    with pytest.raises(AssertionError, match="rank"):
        models.BcosCNN(num_classes=2).init(jax.random.key(0), jnp.zeros((8, 8, 6)))
    other = models.SmallCNN(num_classes=2, channels=(2,), strides=(1,))
    params, state = models.init_linen(other, jax.random.key(0), jnp.zeros((1, 4, 4, 6)))
    forward = functools.partial(
        models.linen_apply_fn(other), params, state, train=False
    )
    with pytest.raises(ValueError, match=r"`forward` exposes \['features'\]; a `BcosC"):
        models.bcos_contributions(forward, jnp.zeros((1, 4, 4, 6)), jnp.zeros(1, int))
