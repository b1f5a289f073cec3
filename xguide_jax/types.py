"""The types everything else is written in.

Axis letters, here and in every docstring: `B` batch, `C` classes, `H W` input
pixels, `h w` feature-map cells, `K` feature channels, `T` tokens, `D` embedding
features, `N` boxes an image.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import jax

Array = jax.Array
PRNGKey = jax.Array  # a typed key, `jax.random.key(seed)`
PyTree = Any  # arbitrary nests of arrays
Metrics = dict[str, Array]

# 'inputs' [B, ...], or a pytree whose leaves all begin with B, {'tokens', 'mask'} or
# {'image', 'text'}: how many examples it holds says `ops.batch_size`, never `len`.
# 'labels' [B], or multi-hot [B, C]; 'targets' [B], the class that is explained, where
# it is not the label. Annotations stand beside them under names that the terms ask for
# ('region' [B, H, W], 'boxes' [B, N, 4], 'region_valid' [B]); of texts 'rationale'
# [B, T], 'rationale_valid' [B] and 'special' [B, T], True on what nobody wrote.
# 'weight' [B] is optional and multiplies every loss of its example; 0 means padding.
Batch = Mapping[str, PyTree]

# inputs [B, ...] -> logits [B, C], the parameters already closed over.
PredictFn = Callable[[Array], Array]

# (logits [B, C], targets [B]) -> [B]: the scalar of each example that is explained.
ScoreFn = Callable[[Array, Array], Array]

# (function, point [B, ...], targets [B]) -> attributions, everything else bound. The
# function and the point are a network and its inputs, or a head and its features.
Explainer = Callable[[PredictFn, Array, Array], Array]

# The scores that a task loss is known to be minus of: log softmax(logits)[label].
TaskScore = Literal["log_probability"]

# (key or keys [B], inputs [B, ...]) -> replacement values, shaped like inputs. One that
# is told which places of a sequence are kept is made by `ops.sequence_fill`.
FillFn = Callable[[PRNGKey, Array], Array]

# attributions -> scores broadcastable to inputs; low scores are masked first.
# A rank that needs randomness takes a keyword `key` and is marked by `ops.keyed`.
RankFn = Callable[..., Array]


class ModelOutput(NamedTuple):
    """What a network returns: its logits and the activations it exposes.

    Attributes:
      logits: float [B, C], unnormalised.
      intermediates: named activations, e.g. 'features' [B, h, w, K], 'attention'
        [B, heads, T, T] (softmax, before dropout) or 'embeddings' [B, T, D].
    """

    logits: Array
    intermediates: Mapping[str, Array] = {}


# (output, batch) -> [B]: the loss that a network is trained with anyway.
TaskLoss = Callable[[ModelOutput, Batch], Array]


class ApplyFn(Protocol):
    """The whole contract with a network library: one pure function.

    `overrides[name]` *replaces* the activation called `name`, so that everything
    before it is dead code and the gradient at the clean value is the gradient with
    respect to that activation.
    """

    def __call__(
        self,
        params: PyTree,
        model_state: PyTree,
        inputs: PyTree,
        *,
        train: bool,
        key: PRNGKey | None = None,
        overrides: Mapping[str, Array] | None = None,
    ) -> tuple[ModelOutput, PyTree]:
        """Returns the output and the next model state (batch statistics)."""


class Forward(Protocol):
    """A network at its current parameters, differentiable in them."""

    def __call__(
        self,
        inputs: PyTree,
        *,
        train: bool = False,
        overrides: Mapping[str, Array] | None = None,
        key: PRNGKey | None = None,
    ) -> ModelOutput:
        """With `train=True` and no key, the clean pass's dropout draw is reused."""


class StepContext(NamedTuple):
    """What a guidance term may read during one training step.

    Attributes:
      forward: the network at the current parameters; further passes never update
        its batch statistics.
      task_input_gradient: `(train=True) -> [B, ...]`, the gradient of the batch's mean
        task loss with respect to the inputs, all of them float, by the clean pass's own
        pullback.
      batch: the examples of this device.
      output: the clean pass, in train mode.
      step: int32 scalar, the number of steps taken so far.
      key: [B], one key an example, a function of its place in the whole batch; so a
        term's noise does not depend on how many devices share the batch.
      axis_name: the mapped axis the batch is sharded over, or None.
      task_score: the name of the score of which the task loss of an example is minus
        the value at its label, or None where that is not known: only of this score is
        `task_input_gradient` the explanation, up to a factor.
      input_pullback: cotangent of the clean pass's logits [B, C] -> that of the inputs
        [B, ...], as the pytree that `jax.vjp` returns: what is explained through it
        shares the pass's own backward pass. None where the pass is not known, or the
        inputs are not one float array.
    """

    forward: Forward
    task_input_gradient: Callable[..., Array]
    batch: Batch
    output: ModelOutput
    step: Array
    key: PRNGKey
    axis_name: str | None
    task_score: TaskScore | None = None
    input_pullback: Callable[[Array], Array] | None = None


# (context) -> the maps [B, ...] that a term is about; `guidance.explain` makes them.
Explain = Callable[[StepContext], Array]


class TermOutput(NamedTuple):
    """What a guidance term returns.

    Attributes:
      loss: float [B], one value an example, not reduced.
      weight: float [B], 0 where the example carries no annotation. The objective adds
        `sum(weight * loss) / sum(weight)` over the whole batch of all devices, and
        logs how many examples had a weight above 0.
      state: the term's next carried state, already equal on all devices.
      metrics: {name: [B]} to log, reduced with the same weight.
    """

    loss: Array
    weight: Array
    state: PyTree = ()
    metrics: Mapping[str, Array] = {}


class GuidanceTerm(NamedTuple):
    """A loss on a network's own explanations: a pair of pure functions.

    Attributes:
      init: `(key, batch) -> (trainable params, carried state)`, `()` where none. Only
        shapes and dtypes of the batch may be used, or several hosts would differ.
      apply: `(params, state, context) -> TermOutput`.
    """

    init: Callable[[PRNGKey, Batch], tuple[PyTree, PyTree]]
    apply: Callable[[PyTree, PyTree, StepContext], TermOutput]


Terms = Mapping[str, GuidanceTerm]


class TrainState(NamedTuple):
    """All that a run carries from step to step; a pytree of arrays.

    Attributes:
      step: int32 scalar, steps taken (skipped ones included).
      params: {'model': ..., 'guidance': {term: ...}}, what the optimiser updates.
      model_state: the network's batch statistics and the like.
      guidance_state: {term: carried state}.
      opt_state: the optimiser's.
      key: the run's key; step n uses `fold_in(key, n)`.
      nonfinite: int32 scalar, steps skipped in a row for a number that was not finite,
        be it the loss, the gradient or anything that would have been written.
    """

    step: Array
    params: dict[str, PyTree]
    model_state: PyTree
    guidance_state: dict[str, PyTree]
    opt_state: PyTree
    key: PRNGKey
    nonfinite: Array
