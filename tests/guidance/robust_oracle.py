"""A network whose Grad-CAM is known, and the robust terms' formulas in plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import training
from xguide_jax.types import ModelOutput

SPATIAL = (6, 8)  # pixels; maps have (3, 4) cells


def linear_network(params, model_state, inputs, *, train, key=None, overrides=None):
    """features = 2x2 means of inputs W, logits = mean(features) V.

    So the gradient of logit y at each of the cells is V_y / cells, and the Grad-CAM of
    y is features V_y / cells.
    """
    features = features_of(inputs, params["kernel"])
    features = (overrides or {}).get("features", features)
    logits = jnp.mean(features, axis=(1, 2)) @ params["head"]
    return ModelOutput(logits, {"features": features}), model_state


def features_of(inputs, kernel):
    batch, height, width, depth = inputs.shape
    blocks = inputs.reshape(batch, height // 2, 2, width // 2, 2, depth)
    return jnp.mean(blocks, axis=(2, 4)) @ kernel


def network_params():
    keys = jax.random.split(jax.random.key(3))
    return {
        "kernel": jax.random.normal(keys[0], (2, 3)),
        "head": jax.random.normal(keys[1], (3, 2)),
    }


def uneven_batch():
    """Both signs, evidence alone, its absence alone, none, one pixel, and padding."""
    marked = np.zeros((6, *SPATIAL), np.int32)
    marked[0, 1:4, 2:5], marked[0, 4:, 5:] = 1, -1
    marked[1, :3, 1:4] = 1
    marked[2, 3:, :5] = -1
    marked[3, :, :4] = 1  # not valid
    marked[4] = -1
    marked[4, 3, 7] = 1
    marked[5, :, 2:6] = 1  # weighs nothing
    return {
        "inputs": jax.random.normal(jax.random.key(1), (6, *SPATIAL, 2)),
        "labels": jnp.array([0, 1, 1, 0, 1, 0]),
        "annotations": jnp.asarray(marked),
        "region_valid": jnp.array([True, True, True, False, True, True]),
        "weight": jnp.array([0.5, 1.0, 2.0, 1.0, 1.5, 0.0]),
    }


def guide(terms, params, guidance_params, batch, *, apply_fn=linear_network):
    """Metrics and gradient of the sum of the terms."""

    def loss_fn(params):
        loss, (_, metrics) = training.guidance_loss(
            apply_fn, terms, params, (), {}, batch, step=0, key=jax.random.key(0)
        )
        return loss, metrics

    params = {"model": params, "guidance": guidance_params}
    (_, metrics), gradient = jax.value_and_grad(loss_fn, has_aux=True)(params)
    return metrics, gradient


def init_params(terms, batch):
    return training.init_guidance(jax.random.key(2), terms, batch)[0]


def cams_by_hand(params, batch, *, epsilon=0.0):
    """In float64, between their own minimum and maximum."""
    blocks = np.asarray(batch["inputs"], np.float64).reshape(-1, 3, 2, 4, 2, 2)
    features = blocks.mean(axis=(2, 4)) @ np.asarray(params["kernel"], np.float64)
    head = np.asarray(params["head"], np.float64)[:, np.asarray(batch["labels"])]
    cams = np.einsum("bhwk,kb->bhw", features, head) / 12
    low = cams.min(axis=(1, 2), keepdims=True)
    return (cams - low) / (cams.max(axis=(1, 2), keepdims=True) - low + epsilon)


def blocks_of(marked):
    """[..., 3, 4, 4]: the four pixels of each cell."""
    cells = marked.reshape(*marked.shape[:-2], 3, 2, 4, 2)
    return np.moveaxis(cells, -3, -2).reshape(*cells.shape[:-4], 3, 4, 4)


def signs_by_hand(marked):
    pixels = blocks_of(marked)
    absent = np.where(np.any(pixels < 0, axis=-1), -1, 0)
    return np.where(np.any(pixels > 0, axis=-1), 1, absent)


def softened_by_hand(evidence):
    """One map: the share of each cell, blurred, over its maximum."""
    blurred = blurred_by_hand(blocks_of(evidence).mean(axis=-1))
    return blurred / blurred.max()


def blurred_by_hand(share):
    """Cell by cell; beyond a border lies the cell next to the border's."""
    mirror = lambda i, size: size - 1 - abs(size - 1 - abs(i))
    blurred = np.zeros(share.shape)
    for i, j in np.ndindex(3, 4):
        for di, dj in np.ndindex(3, 3):
            kernel = (0.25, 0.5, 0.25)[di] * (0.25, 0.5, 0.25)[dj]
            source = share[mirror(i + di - 1, 3), mirror(j + dj - 1, 4)]
            blurred[i, j] += kernel * source
    return blurred


def robust_by_hand(maps, signs, *, slack):
    threshold = threshold_by_hand(maps, signs)
    errors = np.abs(np.tanh(5 * (maps - threshold)) - signs)[signs != 0]
    assert np.mean(errors) > 2 * slack
    return np.mean(errors) - slack


def imputed_by_hand(evidence, kernel):
    """One map: kernel 5, stride 2 and so 1 pixel of zeros before, 2 behind."""
    padded = np.pad(evidence.astype(np.float64), ((1, 2), (1, 2)))
    values = np.zeros((3, 4))
    for i, j in np.ndindex(3, 4):
        window = padded[2 * i : 2 * i + 5, 2 * j : 2 * j + 5]
        values[i, j] = np.sum(window * kernel)
    return (values - values.min()) / (np.ptp(values) + 1e-6)


def threshold_by_hand(maps, signs):
    negative, positive = maps[signs < 0], maps[signs > 0]
    candidates = [*(negative + 1e-4), *positive]
    scores = [np.mean(a > negative) + np.mean(a <= positive) for a in candidates]
    return candidates[int(np.argmax(np.round(scores, 9)))]


def weighted_mean(values, rows, batch):
    return np.average(values, weights=np.asarray(batch["weight"])[rows])
