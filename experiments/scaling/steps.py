"""The training steps whose scaling is looked at, on batches of noise."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax

from xguide_jax import attributions, guidance, losses, models, ops, training
from xguide_jax.types import GuidanceTerm, Terms, TrainState

AXIS_NAME = "batch"


class Case(NamedTuple):
    """A network and its terms.

    Attributes:
      network: the device axis, or None, to a module.
      terms: {name: term}.
      input_shape: of one example.
      annotated: whether batches have regions and annotations.
    """

    network: Callable[[str | None], nn.Module]
    terms: Terms
    input_shape: tuple[int, int, int]
    annotated: bool = False


class Problem(NamedTuple):
    """What a step is called with.

    Attributes:
      step: not yet compiled nor lifted.
      state: before the first step.
      batch: of this process, on the host.
    """

    step: Callable[..., Any]
    state: TrainState
    batch: dict[str, np.ndarray]

    @property
    def num_params(self) -> int:
        """Trainable numbers of network and terms together."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.state.params))


def _published(axis_name: str | None) -> nn.Module:
    del axis_name  # it has no batch norm
    return models.SaliencyGuidedCNN()


def _normalised(axis_name: str | None) -> nn.Module:
    return models.SmallCNN(
        num_classes=10,
        channels=(32, 64),
        strides=(1, 1),
        normalise="batch",
        axis_name=axis_name,
    )


def _resnet(axis_name: str | None) -> nn.Module:
    return models.ResNet(depth=18, axis_name=axis_name)


def _saliency_guided() -> GuidanceTerm:
    """As the main experiment has it: half of the pixels, random fill, by log p."""
    return guidance.saliency_guided(
        mask_fraction=0.5,
        fill=functools.partial(ops.uniform_range_fill, axes=(1, 2)),
        rank_fn=ops.signed_channel_mean,
        score_fn=attributions.target_log_probability,
    )


def _energy() -> GuidanceTerm:
    """Grad-CAM outside the region, a mean over the annotated examples."""
    cam = functools.partial(
        attributions.signed_grad_cam, score_fn=attributions.centred_logit
    )
    return guidance.localisation(
        loss=losses.leaky_energy,
        explain=guidance.explain(cam, layer="features", explain_in="train"),
    )


_DIGIT, _PHOTOGRAPH = (28, 28, 1), (224, 224, 3)
CASES: Mapping[str, Case] = {
    "CNN, unguided": Case(_published, {}, _DIGIT),
    "CNN, saliency-guided": Case(_published, {"sgt": _saliency_guided()}, _DIGIT),
    "CNN, energy": Case(_published, {"energy": _energy()}, _DIGIT, True),
    "CNN, RES-G": Case(
        _published, {"res": guidance.res_gaussian(slack=0.1)}, _DIGIT, True
    ),
    "batch norm, unguided": Case(_normalised, {}, _DIGIT),
    "batch norm, saliency-guided": Case(
        _normalised, {"sgt": _saliency_guided()}, _DIGIT
    ),
    "ResNet-18, unguided": Case(_resnet, {}, _PHOTOGRAPH),
    "ResNet-18, saliency-guided": Case(
        _resnet, {"sgt": _saliency_guided()}, _PHOTOGRAPH
    ),
}


def problem_of(case: Case, *, batch_size: int, axis_name: str | None) -> Problem:
    """The step of a case by Adam, its state and one batch.

    Args:
      case: one of `CASES`.
      batch_size: examples of this process.
      axis_name: the device axis, `AXIS_NAME`; None for a step on one device.

    Returns:
      A `Problem`.
    """
    batch = _batch(case, batch_size)
    module = case.network(axis_name)
    params, model_state = models.init_linen(
        module, jax.random.key(0), batch["inputs"][:1]
    )
    optimizer = optax.adam(1e-3)
    state = training.init_train_state(
        jax.random.key(1), params, model_state, case.terms, optimizer, batch
    )
    step = training.make_train_step(
        models.linen_apply_fn(module), case.terms, optimizer, axis_name=axis_name
    )
    return Problem(step, state, batch)


def lifted(problem: Problem, devices: Sequence[jax.Device]) -> Callable[..., Any]:
    """The step over these devices, by `shard_map`."""
    return training.data_parallel(problem.step, how="shard_map", devices=devices)


def _batch(case: Case, batch_size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (batch_size, *case.input_shape)
    batch = {
        "inputs": rng.standard_normal(shape, dtype=np.float32),
        "labels": np.arange(batch_size, dtype=np.int32) % 10,
        "weight": np.ones(batch_size, np.float32),
    }
    if case.annotated:
        upper = np.zeros(shape[:3], np.float32)
        upper[:, : shape[1] // 2] = 1.0
        valid = np.arange(batch_size) % 4 != 3  # three in four are annotated
        annotations = 2 * upper - 1
        batch.update(region=upper, annotations=annotations, region_valid=valid)
    return batch
