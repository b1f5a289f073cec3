"""The optimiser of the small convolutional networks."""

import jax
import optax

from xguide_jax.types import Array

ADAM_RATE = 3e-3


def muon(learning_rate: float, *, num_steps: int) -> optax.GradientTransformation:
    """Muon for the kernels of convolutions, Adam with Nesterov's momentum for the rest.

    Both learning rates are constant for half of the steps and then fall linearly to 0.

    Args:
      learning_rate: of Muon; Adam's is 0.003.
      num_steps: N; from step N on nothing changes any more.

    Returns:
      The optimiser.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks",
      2024, in optax's implementation.
    """
    half = num_steps // 2
    share = optax.linear_schedule(1.0, 0.0, num_steps - half, transition_begin=half)
    return optax.contrib.muon(
        lambda step: learning_rate * share(step),
        adam_learning_rate=lambda step: ADAM_RATE * share(step),
        muon_weight_dimension_numbers=lambda params: jax.tree.map(_matrix_of, params),
    )


def _matrix_of(kernel: Array) -> optax.contrib.MuonDimensionNumbers | None:
    """A kernel [h, w, in, out] as the matrix [h * w * in, out]; others have none."""
    if kernel.ndim != 4:
        return None
    return optax.contrib.MuonDimensionNumbers((0, 1, 2), 3)
