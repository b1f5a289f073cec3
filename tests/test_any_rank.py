"""Maps of tokens, [B, T], are compared as the images [B, 1, T] that they could be."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import losses, metrics, ops

OF_REGIONS = {
    "energy": losses.energy,
    "leaky_energy": losses.leaky_energy,
    "outside_energy": losses.outside_energy,
    "energy_pointing_game": metrics.energy_pointing_game,
    "iou": functools.partial(metrics.iou, threshold=0.4),
    "pointing_game": metrics.pointing_game,
}
OF_REGIONS_IN_01 = {
    "pixel_cross_entropy": losses.pixel_cross_entropy,
    "region_l1": losses.region_l1,
}
OF_SIGNS_IN_01 = {
    "masked_cross_entropy": losses.masked_cross_entropy,
    "robust_error": functools.partial(losses.robust_error, threshold=0.4),
    "robust_explanation": functools.partial(
        losses.robust_explanation, threshold=0.4, slack=0.1
    ),
    "precision_recall": functools.partial(
        metrics.explanation_precision_recall, threshold=0.4
    ),
}
MAPS = jax.random.normal(jax.random.key(0), (4, 6))
REGION = jnp.asarray(np.arange(24).reshape(4, 6) % 5 < 2, jnp.float32).at[3].set(0.0)
SIGNS = jnp.asarray(np.arange(24).reshape(4, 6) % 3 - 1, jnp.float32)
IN_01 = ops.min_max_normalise(MAPS)
CASES = {
    **{name: (f, MAPS, REGION) for name, f in OF_REGIONS.items()},
    **{name: (f, IN_01, REGION) for name, f in OF_REGIONS_IN_01.items()},
    **{name: (f, IN_01, SIGNS) for name, f in OF_SIGNS_IN_01.items()},
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_tokens_are_images_of_one_row(name):
    function, maps, annotation = CASES[name]
    rows = function(maps, annotation)
    images = function(maps[:, None], annotation[:, None])
    volumes = function(maps.reshape(4, 1, 2, 3), annotation.reshape(4, 1, 2, 3))
    leaves = map(jax.tree.leaves, (rows, images, volumes))
    for row, image, volume in zip(*leaves, strict=True):
        assert row.shape == (4,)
        np.testing.assert_array_equal(row, image)
        np.testing.assert_allclose(volume, image, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(set(CASES) & set(dir(losses))))
def test_so_are_their_gradients(name):
    function, maps, annotation = CASES[name]
    total = lambda m, a: sum(map(jnp.sum, jax.tree.leaves(function(m, a))))
    row = jax.grad(total)(maps, annotation)
    image = jax.grad(total)(maps[:, None], annotation[:, None])
    np.testing.assert_array_equal(row, image[:, 0])
