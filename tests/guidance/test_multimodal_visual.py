"""The map that people drew, and the defects that its losses must not have.

Of images with texts this part is `localisation`: any loss of a map and the human map,
pooled by area, of the rows that have one.
"""

import jax
import jax.numpy as jnp
import multimodal_cases as cases
import numpy as np

from xguide_jax import guidance, losses, ops


def visual(loss=losses.region_l1):
    explain = lambda context: ops.normalise_by_max(cases.summed(context))
    return guidance.localisation(loss=loss, explain=explain)


def images(size):
    return np.random.default_rng(0).uniform(0.2, 1, (size, 2, 2, 1))


def half(size):
    """The left half of 4 x 4 pixels, for every image."""
    return jnp.tile(jnp.array([1.0, 1, 0, 0]), (size, 4, 1))


def with_regions(region, **changes):
    """On pixels: inputs of the region's size."""
    return {"inputs": jnp.zeros((*region.shape, 1)), "region": region, **changes}


def test_the_human_map_is_pooled_by_area_onto_the_cells(x64):
    region = jnp.array([[[1.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]]])
    pooled = np.array([[0.75, 0], [0, 0.5]])
    features = images(1)
    maps = features[0, ..., 0] / features.max()
    out = cases.applied(visual(), (), features, with_regions(region))
    np.testing.assert_allclose(out.loss, [np.mean(np.abs(maps - pooled))])


def test_a_constant_map_zeroes_no_other_row():
    """Minimum and maximum of a batch would: a map that is missing is a constant one."""
    features = np.float32(images(3))
    expected = cases.applied(visual(), (), features, with_regions(half(3)))
    changed = features.copy()
    changed[1] = 0.0
    region = half(3).at[1].set(0.0)
    out = cases.applied(visual(), (), changed, with_regions(region))
    np.testing.assert_array_equal(out.weight, [1, 0, 1])
    np.testing.assert_allclose(out.loss[::2], expected.loss[::2], rtol=1e-6)
    assert np.all(out.loss[::2] > 0.05)
    # The same of the maps that a text is told from, and of a bright one.
    maps = jnp.asarray(features[..., 0])
    share = guidance.saliency_distribution(maps)
    beside = guidance.saliency_distribution(maps.at[1].set(0.0).at[0].multiply(1e3))
    np.testing.assert_allclose(beside[::2], share[::2], rtol=1e-5)
    np.testing.assert_allclose(beside[1], np.full((2, 2), 0.25), rtol=1e-6)


def test_a_missing_map_is_no_target_of_zeros():
    """It would teach the saliency to vanish; it has no loss, gradient or weight."""
    features = jnp.asarray(images(3), jnp.float32)
    # Of zeros although "valid", and not valid although drawn.
    batch = with_regions(
        half(3).at[1].set(0.0), region_valid=jnp.array([True, True, False])
    )

    @jax.jit
    @jax.grad
    def slope(features):
        # A mean map, so that every cell would be pulled towards 0.
        explain = lambda context: cases.summed(context)
        term = guidance.localisation(loss=losses.region_l1, explain=explain)
        out = term.apply((), (), cases.context_of(features, batch))
        return jnp.sum(out.loss)

    gradient = slope(features)
    np.testing.assert_array_equal(gradient[1:], np.zeros((2, 2, 2, 1)))
    assert np.all(gradient[0] != 0)
    out = cases.applied(visual(), (), features, batch)
    np.testing.assert_array_equal(out.weight, [1, 0, 0])
    np.testing.assert_array_equal(out.loss[1:], [0, 0])
