"""What a run begins with."""

import jax
import jax.numpy as jnp
import optax

from xguide_jax.training import objective as objectives
from xguide_jax.types import Array, Batch, PRNGKey, PyTree, Terms, TrainState


def init_train_state(
    key: PRNGKey,
    params: PyTree,
    model_state: PyTree,
    terms: Terms,
    optimizer: optax.GradientTransformation,
    batch: Batch,
) -> TrainState:
    """The state before the first step.

    Every leaf is a copy of its own: a step compiled with `donate_argnums=0` takes none
    of the caller's arrays with it, and gives none away twice.

    Args:
      key: a typed key, `jax.random.key(seed)`; the whole run is a function of it.
      params: the network's, arrays of JAX or NumPy or plain numbers.
      model_state: the network's batch statistics and the like.
      terms: {name: GuidanceTerm}; their parameters join the network's under
        `params['guidance']`, where the one optimiser updates both.
      optimizer: e.g. `optax.adam(1e-3)`; `optax.partition` splits it where wanted.
      batch: an example batch; only shapes and dtypes are used.

    Returns:
      A `TrainState`.

    Raises:
      TypeError: for a legacy uint32 key.
    """
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"`key` (dtype {key.dtype}) must be a typed key: use `jax.random.key`."
        )
    params = jax.tree.map(_as_parameter, params)
    guidance_params, guidance_state = objectives.init_guidance(key, terms, batch)
    all_params = _copied({"model": params, "guidance": guidance_params})
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=all_params,
        model_state=_copied(model_state),
        guidance_state=_copied(guidance_state),
        opt_state=_copied(optimizer.init(all_params)),
        key=_copied(key),
        nonfinite=jnp.zeros((), jnp.int32),
    )


def _as_parameter(leaf: PyTree) -> PyTree:
    """A plain number among parameters is a float, also where it is written as `2`."""
    return float(leaf) if type(leaf) is int else leaf


def _copied(tree: PyTree) -> PyTree:
    """The tree as arrays that share memory with nothing else."""

    def copy(leaf: PyTree) -> Array:
        if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
            return jnp.copy(leaf)
        # A weak type, such as that of `jnp.full(3, 0.5)`, would compile the step twice.
        return jnp.array(leaf, jnp.result_type(leaf), copy=True)

    return jax.tree.map(copy, tree)
