"""Operations of one guided training step, as multiples of an unguided one.

Question: what does saliency-guided training cost, counted by the compiler and not by a
clock, with and without dropout and batch norm, explaining in eval and in train mode,
with a teacher that learns and with a frozen one?

Expected: in forward passes F of the batch an unguided step is 3 F and a guided one 7 F,
2.33 times as much; 6 F or 2.00 times with a frozen teacher, whose saliency is the
pullback of the task loss that the step computes anyway. Both hold where the explained
pass is the clean pass, that is, without dropout and batch norm or in train mode; in
eval mode the explained pass costs up to one more F. The mask adds a little to each.

Cost: a few minutes on a 2-core CPU, nearly all of it compilation.
Command: python -m experiments.benchmarks.step_flops
"""

import functools
import itertools
from collections.abc import Mapping
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from experiments import benchmarks
from xguide_jax import attributions, guidance, models, ops, training
from xguide_jax.types import Array, GuidanceTerm

BATCH_SIZE = 128
INPUT_SHAPE = (28, 28, 1)
NETWORKS: Mapping[str, nn.Module] = {
    "plain": models.SaliencyGuidedCNN(dropout=(0.0, 0.0)),
    "dropout": models.SaliencyGuidedCNN(),
    "batch norm": models.SmallCNN(
        num_classes=10, channels=(32, 64), strides=(1, 1), normalise="batch"
    ),
}


def saliency_guided(
    *, explain_in: Literal["eval", "train"], frozen_teacher: bool
) -> GuidanceTerm:
    """Half of the positions masked, random fill, explained by log p."""
    return guidance.saliency_guided(
        mask_fraction=0.5,
        fill=functools.partial(ops.uniform_range_fill, axes=(1, 2, 3)),
        rank_fn=ops.signed_channel_mean,
        score_fn=attributions.target_log_probability,
        explain_in=explain_in,
        frozen_teacher=frozen_teacher,
    )


def step_flops(module: nn.Module, terms: Mapping[str, GuidanceTerm]) -> float:
    """Operations of one compiled step of plain SGD."""
    inputs: Array = jnp.zeros((BATCH_SIZE, *INPUT_SHAPE))
    batch = {"inputs": inputs, "labels": jnp.zeros(BATCH_SIZE, jnp.int32)}
    params, model_state = models.init_linen(module, jax.random.key(0), inputs)
    optimizer = optax.sgd(0.1)
    state = training.init_train_state(
        jax.random.key(1), params, model_state, terms, optimizer, batch
    )
    step = training.make_train_step(models.linen_apply_fn(module), terms, optimizer)
    cost = jax.jit(step).lower(state, batch).compile().cost_analysis()
    assert cost is not None
    return float(cost["flops"])


def main() -> None:
    """Prints one line for each network, mode and kind of teacher."""
    benchmarks.begin(__doc__)
    print(f"JAX {jax.__version__}, {jax.devices()[0].device_kind}, batch {BATCH_SIZE}")
    print("network     explains in  teacher   Gflop  / unguided")
    for name, module in NETWORKS.items():
        unguided = step_flops(module, {})
        print(f"{name:<11} -            -        {unguided / 1e9:6.2f}        1.000")
        modes: tuple[Literal["eval", "train"], ...] = ("eval", "train")
        for explain_in, frozen in itertools.product(modes, (False, True)):
            term = saliency_guided(explain_in=explain_in, frozen_teacher=frozen)
            guided = step_flops(module, {"guided": term})
            print(
                f"{name:<11} {explain_in:<11}  {'frozen' if frozen else 'learns'}   "
                f"{guided / 1e9:6.2f}        {guided / unguided:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
