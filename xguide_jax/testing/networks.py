"""A small network and batch that every explainer and term can be tried on.

The network is smooth (softplus), so that second derivatives exist everywhere, has
biases, so that no identity holds by accident, and needs no network library.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax.types import ApplyFn, Array, Batch, ModelOutput, PRNGKey, PyTree


def smooth_network(
    key: PRNGKey,
    *,
    input_shape: tuple[int, int, int] = (6, 6, 2),
    num_channels: int = 4,
    num_classes: int = 3,
    batch_norm: bool = False,
    axis_name: str | None = None,
) -> tuple[ApplyFn, PyTree, PyTree]:
    """A pixel-wise softplus layer, 2x2 average pooling and a linear head.

    features = pool(softplus(norm(x W + b))) [B, H/2, W/2, K],
    logits = <features, V> + c.

    Args:
      key: a typed key, for the parameters.
      input_shape: (H, W, C), H and W even.
      num_channels: K.
      num_classes: C of the logits.
      batch_norm: normalise by batch statistics in train mode, by running ones else.
      axis_name: the device axis over which batch statistics are synchronised.

    Returns:
      (apply_fn, params, model_state); the network exposes 'features'.
    """
    params = _smooth_parameters(key, input_shape, num_channels, num_classes)
    statistics = (jnp.zeros(num_channels), jnp.ones(num_channels))

    def apply_fn(
        params: PyTree,
        model_state: PyTree,
        inputs: Array,
        *,
        train: bool,
        key: PRNGKey | None = None,
        overrides: Mapping[str, Array] | None = None,
    ) -> tuple[ModelOutput, PyTree]:
        del key  # deterministic
        unknown = sorted(set(overrides or ()) - {"features"})
        if unknown:
            raise ValueError(
                f"`overrides` names {unknown}; the network exposes ['features']."
            )
        hidden = inputs @ params["kernel"] + params["bias"]
        if batch_norm:
            now = _statistics(hidden, axis_name) if train else model_state
            hidden = (hidden - now[0]) * jax.lax.rsqrt(now[1] + 1e-5)
            running = lambda old, new: 0.9 * old + 0.1 * new
            model_state = (
                jax.tree.map(running, model_state, now) if train else model_state
            )
        features = _average_pool(jax.nn.softplus(hidden))
        features = (overrides or {}).get("features", features)
        logits = jnp.einsum("bhwk,hwkc->bc", features, params["head"])
        output = ModelOutput(logits + params["offset"], {"features": features})
        return output, model_state

    return apply_fn, params, statistics if batch_norm else ()


def _smooth_parameters(
    key: PRNGKey, input_shape: tuple[int, int, int], num_channels: int, num_classes: int
) -> dict[str, Array]:
    height, width, depth = input_shape
    keys = jax.random.split(key, 3)
    shape = (height // 2, width // 2, num_channels, num_classes)
    return {
        "kernel": jax.random.normal(keys[0], (depth, num_channels)),
        "bias": 0.3 * jax.random.normal(keys[1], (num_channels,)),
        "head": jax.random.normal(keys[2], shape) / np.sqrt(height * width),
        "offset": jnp.linspace(-0.1, 0.1, num_classes),
    }


def _statistics(hidden: Array, axis_name: str | None) -> tuple[Array, Array]:
    """Mean and variance of each channel over the batch of all devices."""
    mean = jnp.mean(hidden, axis=(0, 1, 2))
    square = jnp.mean(jnp.square(hidden), axis=(0, 1, 2))
    if axis_name is not None:
        mean, square = jax.lax.pmean((mean, square), axis_name)
    return mean, square - jnp.square(mean)


def _average_pool(hidden: Array) -> Array:
    """2x2 average pooling: [B, H, W, K] -> [B, H/2, W/2, K]."""
    batch, height, width, channels = hidden.shape
    windows = hidden.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return jnp.mean(windows, axis=(2, 4))


def example_batch(
    key: PRNGKey,
    *,
    batch_size: int = 8,
    input_shape: tuple[int, int, int] = (6, 6, 2),
    num_classes: int = 3,
) -> dict[str, Array]:
    """A batch with every annotation that the terms of this library ask for.

    Args:
      key: a typed key.
      batch_size: B; every fourth example carries no annotation.
      input_shape: (H, W, C).
      num_classes: labels are 0, 1, ..., C-1, 0, ...

    Returns:
      'inputs' [B, H, W, C], 'labels' [B], 'region' [B, H, W] in {0, 1}, 'annotations'
      [B, H, W] in {-1, 0, 1}, 'boxes' [B, 1, 4], 'boxes_valid' [B, 1], 'region_valid'
      [B].
    """
    height, width, _ = input_shape
    index = jnp.arange(batch_size)
    region = jnp.zeros((batch_size, height, width)).at[:, 1:4, 2:5].set(1.0)
    annotated = index % 4 != 3
    box = jnp.array([2.0, 1.0, 5.0, 4.0])
    return {
        "inputs": jax.random.normal(key, (batch_size, *input_shape)),
        "labels": index % num_classes,
        "region": jnp.where(annotated[:, None, None], region, 0.0),
        "annotations": jnp.where(annotated[:, None, None], 2 * region - 1, 0.0),
        "boxes": jnp.tile(box, (batch_size, 1, 1)),
        "boxes_valid": annotated[:, None],
        "region_valid": annotated,
    }


def network_for(batch: Batch) -> tuple[ApplyFn, PyTree, PyTree]:
    """A `smooth_network` of the shape of a batch.

    Args:
      batch: 'inputs' float [B, H, W, C], H and W even; its 'labels', [B] or multi-hot
        [B, C], and 'targets' say how many classes there are, at least 3.

    Returns:
      (apply_fn, params, model_state).

    Raises:
      ValueError: if the inputs are of another kind: then a network is needed as well.
    """
    inputs = batch["inputs"]
    image = hasattr(inputs, "ndim") and inputs.ndim == 4
    fits = image and jnp.issubdtype(inputs.dtype, jnp.floating)
    if not (fits and inputs.shape[1] % 2 == inputs.shape[2] % 2 == 0):
        raise ValueError(
            f"`network` must be given with `batch` (inputs {_described(inputs)}): the "
            "default network takes float [B, H, W, C], H and W even."
        )
    num_classes = 3
    for name in {"labels", "targets"} & batch.keys():
        multi_hot = batch[name].ndim > 1
        named = batch[name].shape[-1] if multi_hot else int(jnp.max(batch[name])) + 1
        num_classes = max(num_classes, named)
    _, height, width, depth = inputs.shape
    return smooth_network(
        jax.random.key(0), input_shape=(height, width, depth), num_classes=num_classes
    )


def check_takes(network: tuple[ApplyFn, PyTree, PyTree], inputs: PyTree) -> None:
    """Refuses a network and inputs that do not belong together.

    Args:
      network: (apply_fn, params, model_state).
      inputs: [B, ...] or a pytree of such arrays; only shapes and dtypes matter.

    Raises:
      ValueError: if a pass in eval mode fails, with the error of that pass.
    """
    apply_fn, params, model_state = network
    forward = lambda inputs: apply_fn(params, model_state, inputs, train=False)
    try:
        jax.eval_shape(forward, inputs)
    except Exception as error:
        raise ValueError(
            f"`network` must take the inputs of `batch`, {_described(inputs)}; pass "
            f"the two together. Its error: {error}"
        ) from error


def _described(inputs: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", inputs)
