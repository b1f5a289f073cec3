"""What is measured of a finished run: its experiment's network, test and explainers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from flax import linen as nn

from experiments.digits import explaining as textured_explaining
from experiments.digits import sources, textured
from experiments.evaluate import filling
from experiments.region_guidance import experiment as region_guidance
from experiments.robust_explanations import annotating
from experiments.robust_explanations import experiment as robust_explanations
from experiments.robust_explanations import terms as robust_terms
from experiments.running import arms, loop
from experiments.saliency_guided_images import experiment as saliency_guided
from experiments.saliency_guided_images import explaining, images
from xguide_jax import attributions, data, evaluation, ops
from xguide_jax.types import Batch, FillFn, Forward, PRNGKey, PyTree, ScoreFn


class Subject(NamedTuple):
    """How every arm of a run is measured.

    Attributes:
      network: whose weights the run kept.
      test: (arm, seed) -> the test images, and what is annotated of them.
      explain_fns: {map: function for `evaluation.make_explain`}, as the experiment
        explains; maps are [B, h, w], or shaped like the images.
      score_fn: what they explain.
      baselines: {map: what it starts from}, of those that should add up.
      fills: {name: fill}.
      judge: the map that findings are about.
      competes: whether an arm is guided, and by what it should be.
    """

    network: nn.Module
    test: Callable[[arms.Arm, int], Batch]
    explain_fns: Mapping[str, evaluation.ExplainFn]
    score_fn: ScoreFn
    baselines: Mapping[str, float]
    fills: Mapping[str, FillFn]
    judge: str
    competes: Callable[[arms.Arm], bool]


def of_saliency_guided_images(config: saliency_guided.Config) -> Subject:
    """Digits without annotations; pixels are ranked by magnitude, as there.

    Args:
      config: of the run.

    Returns:
      A `Subject`; integrated gradients are also ranked by what they attribute, signed,
      since only then they may add up.
    """
    dataset = sources.load(config.dataset, config.data_dir)
    protocol = explaining.protocol_of(
        dataset,
        num_points=config.num_points,
        num_draws=config.num_draws,
        batch_size=config.num_evaluated,
    )
    made = explaining.explain_fns(protocol)

    def test(arm: arms.Arm, seed: int) -> Batch:
        *_, part = images.parts_of(dataset, seed)
        return {"inputs": part.inputs, "labels": part.labels}

    return Subject(
        network=images.network_of(dataset),
        test=test,
        explain_fns={
            "gradient": _composed(ops.mean_magnitude, made["gradient"]),
            "SmoothGrad": _composed(ops.mean_magnitude, made["smooth_grad"]),
            "integrated gradients": _composed(
                lambda each: ops.mean_magnitude(each.maps), made["integrated_gradients"]
            ),
            "integrated gradients, signed": _composed(
                lambda each: each.maps, made["integrated_gradients"]
            ),
        },
        score_fn=protocol.score_fn,
        baselines={"integrated gradients, signed": protocol.baseline},
        fills=protocol.fills,
        judge="integrated gradients",
        competes=lambda arm: arm.term in ("signed", "magnitude"),
    )


def of_region_guidance(config: region_guidance.Config) -> Subject:
    """Textured digits, and the box of each.

    Args:
      config: of the run.

    Returns:
      A `Subject`; the region is the box.
    """
    parts_of = region_guidance.make_parts_of(config)
    return _of_textured_digits(
        lambda arm, seed: parts_of(arm, seed).balanced,
        lambda part: part.annotations["region"],
        num_points=config.num_points,
        score_fn=attributions.centred_logit,
        not_by=(None, "random"),
    )


def of_robust_explanations(config: robust_explanations.Config) -> Subject:
    """Textured digits, and the exact mask of each.

    Args:
      config: of the run.

    Returns:
      A `Subject`; the region is the digit with its margin.
    """
    parts_of = robust_explanations.make_parts_of(config)
    return _of_textured_digits(
        lambda arm, seed: parts_of(seed).balanced,
        annotating.true_masks,
        num_points=config.num_points,
        score_fn=robust_terms.SCORES[config.explained],
        not_by=(None, annotating.OTHER),
    )


# {experiment: (it, how its runs are measured)}
SUBJECTS: Mapping[str, tuple[loop.Experiment[Any, Any], Callable[[Any], Subject]]] = {
    each.name: (each, of)
    for each, of in (
        (saliency_guided.EXPERIMENT, of_saliency_guided_images),
        (region_guidance.EXPERIMENT, of_region_guidance),
        (robust_explanations.EXPERIMENT, of_robust_explanations),
    )
}


def _of_textured_digits(
    test_of: Callable[[arms.Arm, int], data.Dataset],
    region_of: Callable[[data.Dataset], Any],
    *,
    num_points: int,
    score_fn: ScoreFn,
    not_by: Sequence[str | None],
) -> Subject:
    def test(arm: arms.Arm, seed: int) -> Batch:
        part = test_of(arm, seed)
        return {
            "inputs": part.inputs,
            "labels": part.labels,
            "region": region_of(part),
            "groups": part.annotations["groups"],
        }

    made = textured_explaining.explain_fns(num_points=num_points, score_fn=score_fn)
    return Subject(
        network=textured.network(),
        test=test,
        explain_fns={
            "Grad-CAM": made["grad_cam"],
            "gradient": made["gradient"],
            "integrated gradients": made["integrated_gradients"],
        },
        score_fn=score_fn,
        baselines={"integrated gradients": 0.0},
        fills={name: filling.FILLS[name] for name in ("channel_mean", "uniform")},
        judge="integrated gradients",
        competes=lambda arm: arm.annotation not in not_by,
    )


def _composed(
    change: Callable[[Any], PyTree], explain_fn: evaluation.ExplainFn
) -> evaluation.ExplainFn:
    def explain(
        forward: Forward, inputs: PyTree, targets: Any, keys: PRNGKey
    ) -> PyTree:
        return change(explain_fn(forward, inputs, targets, keys))

    return explain
