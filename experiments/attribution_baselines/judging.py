"""Every explainer at a layer, its sum beside what it should add up to."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.attribution_baselines import methods
from experiments.attribution_baselines.methods import INPUT, SCORE, Compared, Method
from xguide_jax import attributions, evaluation
from xguide_jax.types import ApplyFn, Array, PredictFn, PRNGKey, PyTree

IMPLICIT = "-"  # the baseline of a method that is given none
BACKGROUND = "background"  # the name of the target of expected gradients


class Judged(NamedTuple):
    """The maps of one method, at one layer, with one baseline.

    Attributes:
      method: its name.
      layer: of the network, or INPUT.
      baseline: that it was given, or IMPLICIT.
      totals: [N], what each map adds up to.
      own: [N], what it should add up to by its own baseline; NaN if by none.
      energy: [N], share of the positive attribution in the region; NaN if undefined.
    """

    method: str
    layer: str
    baseline: str
    totals: np.ndarray
    own: np.ndarray
    energy: np.ndarray


class Explained(NamedTuple):
    """Networks and examples as the programs take them.

    Attributes:
      params: of the network.
      model_state: of the network.
      inputs: [N, H, W, C].
      labels: [N], the classes explained.
      baselines: {name: like `inputs`}.
      background: [K, H, W, C], of expected gradients.
      region: bool [N, H, W], the object.
    """

    params: PyTree
    model_state: PyTree
    inputs: Array
    labels: Array
    baselines: Mapping[str, Array]
    background: Array
    region: Array | np.ndarray


def cut(
    apply_fn: ApplyFn, layer: str, explained: Explained
) -> tuple[PredictFn, Array, Callable[[Array], Array]]:
    """The network behind a layer, the features, and what carries inputs there.

    Args:
      apply_fn: the network.
      layer: its name, or INPUT.
      explained: network and examples.

    Returns:
      head: features -> logits.
      features: [N, ...].
      carry: inputs [M, ...] -> features [M, ...].
    """
    forward = functools.partial(
        apply_fn, explained.params, explained.model_state, train=False
    )
    if layer == INPUT:
        return lambda x: forward(x)[0].logits, explained.inputs, lambda x: x
    head, features = attributions.split_at(forward, explained.inputs, layer)
    carry = lambda x: attributions.layer_baseline(forward, x, layer)
    return head, features, carry


def make_judge(
    apply_fn: ApplyFn, layer: str, every: Sequence[Method], *, num_calls: int = 1
) -> Callable[[Explained, Sequence[str]], tuple[list[Judged], dict[str, np.ndarray]]]:
    """What explains and judges at one layer.

    With the first baseline it is every method, with the others those that are told a
    baseline and do not perturb.

    Args:
      apply_fn: the network.
      layer: its name, or INPUT.
      every: methods; those that do not explain this layer are passed over.
      num_calls: of those that are drawn, whose maps are averaged over the calls.

    Returns:
      `(explained, names of baselines) -> (judged, {method: maps [N, h, w]})`, the maps
      with the first baseline.
    """
    chosen = [method for method in every if method.explains(layer)]
    drawn = [method for method in chosen if method.is_drawn]
    also = [m for m in chosen if m.own == "given" and m.where == "everywhere"]

    @functools.partial(jax.jit, static_argnums=0)
    def run(
        names: tuple[str, ...], explained: Explained, baselines: Array, key: PRNGKey
    ) -> dict[str, Any]:
        head, features, carry = cut(apply_fn, layer, explained)
        compared = Compared(carry(baselines), carry(explained.background), key)
        labels, found = explained.labels, {}
        for method in chosen:
            if method.name in names:
                maps = method.explain(head, features, labels, compared)
                found[method.name] = (
                    jnp.sum(maps.reshape(len(maps), -1), axis=-1),
                    methods.own_target(method, head, features, labels, compared),
                    jnp.sum(maps.reshape(*maps.shape[:3], -1), axis=-1),
                )
        return found

    def judge(
        explained: Explained, baselines: Sequence[str]
    ) -> tuple[list[Judged], dict[str, np.ndarray]]:
        # Without the others' arrays, so that their number does not matter to the jit.
        alone = explained._replace(baselines={}, region=np.zeros(0))

        def call(which: Sequence[Method], baseline: str, seed: int = 0) -> Any:
            names = tuple(method.name for method in which)
            told = explained.baselines[baseline]
            return jax.device_get(run(names, alone, told, jax.random.key(seed)))

        def rows_of(which: Sequence[Method], baseline: str, found: Any) -> list[Judged]:
            rows = []
            for method in which:
                total, own, maps = found[method.name]
                energy = evaluation.energy_in_region(maps, explained.region)
                told = baseline if method.own == "given" else IMPLICIT
                rows.append(
                    Judged(method.name, layer, told, total, own, np.asarray(energy))
                )
            return rows

        first, *others = baselines
        rest = [m for m in chosen if m not in also and not m.is_drawn]
        found = call(also, first) | call(rest, first)
        if drawn:
            calls = [call(drawn, first, 1 + number) for number in range(num_calls)]
            found |= jax.tree.map(lambda *values: np.mean(values, axis=0), *calls)
        every = rows_of(chosen, first, found)
        for name in others:
            every += rows_of(also, name, call(also, name))
        return every, {name: maps for name, (_, _, maps) in found.items()}

    return judge


def make_targets(
    apply_fn: ApplyFn,
) -> Callable[[Explained, Array], tuple[dict[str, np.ndarray], dict[str, float]]]:
    """What there is to attribute above each baseline, and how neutral each is.

    Args:
      apply_fn: the network.

    Returns:
      `(explained, prior [C]) -> ({baseline: f(x) - f(b), [N]}, {baseline: mean nats})`;
      the targets have the mean over the background, too.
    """

    @jax.jit
    def run(explained: Explained, baselines: Array, prior: Array) -> Any:
        head, inputs, _ = cut(apply_fn, INPUT, explained)
        target = attributions.attribution_target(
            head, inputs, explained.labels, baselines=baselines, score_fn=SCORE
        )
        nats = attributions.baseline_neutrality(head, baselines, prior=prior)
        return target, jnp.mean(nats)

    def measure(explained: Explained, prior: Array) -> Any:
        alone = explained._replace(baselines={}, region=np.zeros(0))
        # One program for all of them, compiled once.
        found = {
            name: jax.device_get(run(alone, told, prior))
            for name, told in explained.baselines.items()
        }
        rows = [
            run(alone, jnp.broadcast_to(row, explained.inputs.shape), prior)[0]
            for row in explained.background
        ]
        targets = {name: target for name, (target, _) in found.items()}
        targets[BACKGROUND] = np.mean(jax.device_get(rows), axis=0)
        return targets, {name: float(nats) for name, (_, nats) in found.items()}

    return measure


def error(totals: np.ndarray, target: np.ndarray) -> float:
    """Attribution error of a data set, Σ |A - τ| / Σ |τ|.

    Args:
      totals: [N], what the maps add up to.
      target: [N], what they should.

    Returns:
      At least 0; NaN where nothing should be added up to.
    """
    gap, change = jnp.asarray(totals - target), jnp.asarray(target)
    found = evaluation.completeness_of(gap, change)
    return found.error if found.num_defined else float("nan")


def excess(totals: np.ndarray, target: np.ndarray) -> float:
    """What is attributed above the target, Σ (A - τ) / Σ |τ|; the error with its sign.

    As large as the error for a method that attributes too much to every example.

    Args:
      totals: [N], what the maps add up to.
      target: [N], what they should.

    Returns:
      Above 0 for methods that over-attribute; NaN where nothing should be added up to.
    """
    magnitude = float(np.abs(target).sum())
    return float((totals - target).sum()) / magnitude if magnitude else float("nan")
