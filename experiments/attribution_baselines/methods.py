"""The explainers that are judged, and what each should add up to by itself."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from xguide_jax import attributions
from xguide_jax.types import Array, PredictFn, PRNGKey

SCORE = attributions.centred_logit
INPUT = "input"  # beside the names of layers
SAMPLES_A_CALL = 4


class Budget(NamedTuple):
    """How much the methods that sample may evaluate.

    Attributes:
      num_points: on the path of integrated gradients.
      num_samples: a quarter of the masks and coalitions.
      patch: pixels a side of a segment, a window and a cell.
      chunk_size: points and perturbed inputs at once.
    """

    num_points: int
    num_samples: int
    patch: int
    chunk_size: int


class Compared(NamedTuple):
    """What a method is told, at the layer that it explains.

    Attributes:
      baselines: like the features.
      background: [N, ...], of expected gradients.
      key: of what is drawn.
    """

    baselines: Array
    background: Array
    key: PRNGKey


class Method(NamedTuple):
    """An explainer.

    Attributes:
      name: in tables.
      explain: (head, features [B, ...], labels, what it is compared with) -> a map.
      own: what its map should add up to: f(x) - f(b) for the baseline 'given', for
        'zero' features, or on average over the 'background'; the 'score' f(x) itself;
        or 'nothing'.
      where: which layers it explains.
      is_drawn: whether its map is a mean over `SAMPLES_A_CALL` samples, of which more
        come by calling it with other keys: each is compiled, and a few compile faster.
    """

    name: str
    explain: Callable[[PredictFn, Array, Array, Compared], Array]
    own: Literal["given", "zero", "background", "score", "nothing"]
    where: Literal["everywhere", "layers", "input"] = "everywhere"
    is_drawn: bool = False

    def explains(self, layer: str) -> bool:
        """Whether it explains a layer.

        Args:
          layer: its name, or INPUT.

        Returns:
          True if so.
        """
        return self.where == "everywhere" or (self.where == "input") == (layer == INPUT)


def every_method(budget: Budget) -> tuple[Method, ...]:
    """All of them, in the order of the tables.

    Args:
      budget: of the methods that sample.

    Returns:
      Those without a baseline, those that are given one, and those that perturb.
    """
    return (*_without_baseline(), *_with_baseline(budget), *_perturbing(budget))


def cheap_methods(budget: Budget) -> tuple[Method, ...]:
    """Those that neither draw nor perturb, for a network that is slow.

    At its input, where one gradient costs as much as many at a late layer, only those
    that cost one, and integrated gradients with few points.

    Args:
      budget: of integrated gradients.

    Returns:
      A part of `every_method`.
    """
    every = [m for m in every_method(budget) if m.where != "input" and not m.is_drawn]
    few = next(m.name for m in every if m.name.startswith("integrated gradients"))
    at_input = ("gradient x input", "Taylor at the input", few)
    return tuple(m if m.name in at_input else m._replace(where="layers") for m in every)


def _plain(explainer: Callable[..., Array], **options: Any) -> Callable[..., Array]:
    """An explainer without baseline as `Method.explain`."""
    return lambda head, features, labels, compared: explainer(
        head, features, labels, score_fn=SCORE, **options
    )


def _given(explainer: Callable[..., Array], **options: Any) -> Callable[..., Array]:
    """An explainer with a baseline as `Method.explain`."""
    return lambda head, features, labels, compared: explainer(
        head, features, labels,
        baselines=compared.baselines, score_fn=SCORE, **options,
    )  # fmt: skip


def _drawn(explainer: Callable[..., Array], **options: Any) -> Callable[..., Array]:
    """As `_given`, of an explainer that draws."""
    return lambda head, features, labels, compared: explainer(
        head, features, labels,
        baselines=compared.baselines, key=compared.key, score_fn=SCORE, **options,
    )  # fmt: skip


def _without_baseline() -> tuple[Method, ...]:
    def smooth(
        head: PredictFn, features: Array, labels: Array, compared: Compared
    ) -> Array:
        gradient = lambda f, x, y: attributions.input_gradient(f, x, y, score_fn=SCORE)
        return attributions.smooth_grad(
            gradient, head, features, labels,
            key=compared.key, sigma=0.2 * jnp.std(features),
            num_samples=SAMPLES_A_CALL,
        )  # fmt: skip

    epsilon = attributions.epsilon_rule(1e-6)
    gamma = attributions.gamma_rule(0.25)
    return (
        Method("gradient", _plain(attributions.input_gradient), "nothing"),
        Method("SmoothGrad", smooth, "nothing", is_drawn=True),
        Method("gradient x input", _plain(attributions.gradient_x_input), "zero"),
        Method("HiResCAM", _plain(attributions.hi_res_cam), "zero", "layers"),
        Method("Grad-CAM", _plain(attributions.grad_cam), "zero", "layers"),
        Method(
            "Grad-CAM, signed", _plain(attributions.signed_grad_cam), "zero", "layers"
        ),
        Method("LayerCAM", _plain(attributions.layer_cam), "zero", "layers"),
        Method("ODAM", _plain(attributions.odam), "zero", "layers"),
        Method("LRP, epsilon", _plain(attributions.lrp, rules=epsilon), "score"),
        Method("LRP, gamma", _plain(attributions.lrp, rules=gamma), "score"),
    )


def _with_baseline(budget: Budget) -> tuple[Method, ...]:
    path = {"chunk_size": budget.chunk_size}
    integrated = attributions.integrated_gradients

    def expected(sigma: float) -> Callable[..., Array]:
        return lambda head, features, labels, compared: attributions.gradient_shap(
            head, features, labels,
            key=compared.key, background=compared.background,
            sigma=sigma * jnp.std(features), num_samples=SAMPLES_A_CALL,
            score_fn=SCORE,
        )  # fmt: skip

    few = max(budget.num_points // 8, 1)
    return (
        Method("Taylor at the input", _given(attributions.taylor, at="input"), "given"),
        Method(
            "Taylor at the baseline",
            _given(attributions.taylor, at="baseline"),
            "given",
        ),
        *(
            Method(
                f"integrated gradients, {number}",
                _given(integrated, num_points=number, **path),
                "given",
            )
            for number in dict.fromkeys((few, budget.num_points))
        ),
        Method("DeepLIFT", _given(attributions.deep_lift), "given"),
        Method("expected gradients", expected(0.0), "background", is_drawn=True),
        Method("GradientSHAP", expected(0.1), "background", is_drawn=True),
    )


def _perturbing(budget: Budget) -> tuple[Method, ...]:
    patch, samples = (budget.patch, budget.patch), budget.num_samples

    def on_segments(
        explainer: Callable[..., Array], **options: Any
    ) -> Callable[..., Array]:
        def explain(
            head: PredictFn, features: Array, labels: Array, compared: Compared
        ) -> Array:
            segments, count = attributions.grid_segments(features.shape[1:], patch)
            return _drawn(
                explainer, segments=segments, num_segments=count,
                chunk_size=budget.chunk_size, **options,
            )(head, features, labels, compared)  # fmt: skip

        return explain

    def masked(
        head: PredictFn, features: Array, labels: Array, compared: Compared
    ) -> Array:
        grid = tuple(size // budget.patch for size in features.shape[1:3])
        return _drawn(
            attributions.rise, num_masks=4 * samples, grid=grid, keep_probability=0.5,
            chunk_size=budget.chunk_size,
        )(head, features, labels, compared)  # fmt: skip

    covered = _given(
        attributions.occlusion, window=patch, strides=patch,
        chunk_size=budget.chunk_size,
    )  # fmt: skip
    orders = max(samples // 8, 1)
    return (
        Method("occlusion", covered, "nothing", "input"),
        Method("RISE", masked, "nothing", "input"),
        Method(
            "LIME",
            on_segments(
                attributions.lime, num_samples=4 * samples, kernel_width=0.25, ridge=1.0
            ),
            "given",
            "input",
        ),
        Method(
            "KernelSHAP",
            on_segments(attributions.kernel_shap, num_samples=4 * samples),
            "given",
            "input",
        ),
        Method(
            "Shapley, sampled",
            on_segments(attributions.shapley_sampling, num_samples=orders),
            "given",
            "input",
        ),
    )


def own_target(
    method: Method, head: PredictFn, features: Array, labels: Array, compared: Compared
) -> Array:
    """What a method's map should add up to by itself.

    Args:
      method: whose.
      head: features -> logits.
      features: [B, ...].
      labels: [B].
      compared: what it was told.

    Returns:
      float [B]; NaN for a method that should add up to nothing, and for those of a
      background, whose target is that of the input at every layer.
    """
    if method.own == "score":
        return SCORE(head(features), labels)
    if method.own in ("background", "nothing"):
        return jnp.full(labels.shape, jnp.nan)
    baselines = 0.0 if method.own == "zero" else compared.baselines
    return attributions.attribution_target(
        head, features, labels, baselines=baselines, score_fn=SCORE
    )
