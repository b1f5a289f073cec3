"""Robust explanation supervision: what a few inexact masks are worth.

Digits on textures that agree with the class at 95 %, of which 100 images carry a mask
of the digit, drawn by a simulated annotator at several levels of carelessness. GRADIA,
HAICS and RES (both kinds) are trained on what the annotator delivered and judged by the
true masks. Every batch of every arm holds as many of the 100 images, so that all see
the same data; a control is guided by masks of other images.

    python -m experiments.robust_explanations
    python -m experiments.robust_explanations --seeds 5 --dataset mnist10k

An arm is `term@noise` or `term=weight@noise`: res_gaussian=1@strong. Where no weight is
given, it is that of the pilot (experiments/results/robust_explanations.md); the
published code has 1 for every term.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import optax

from experiments.digits import sources, textured
from experiments.robust_explanations import annotating, measuring, report, terms
from experiments.running import arms, feeding, flags, loop
from xguide_jax import models


@dataclasses.dataclass(frozen=True)
class Config(sources.DigitsConfig):
    """Flags of robust explanation supervision."""

    num_steps: int = 400
    batch_size: int = 32
    log_every: int = 50
    save_every: int = 200
    learning_rate: float = 3e-3
    arms: tuple[str, ...] = terms.ARMS
    num_annotated: int = 100
    """Training images that carry a mask."""
    annotated_share: float = 0.25
    """Part of every batch that is drawn from them."""
    explained: Literal["logit", "centred_logit"] = "logit"
    """What Grad-CAM explains, in training and in the test; published: the logit. Of two
    classes the centred maps of one are those of the other with all signs turned."""


def check(config: Config) -> None:
    """Refuses flags that cannot be met.

    Args:
      config: the flags.

    Raises:
      ValueError: for a number out of range.
    """
    sources.check_folder(config.dataset, config.data_dir)
    flags.check_fractions(config, "annotated_share")
    flags.check_at_least(config, num_annotated=1)
    # Half as many validation images are explained as test images.
    flags.check_explaining(config, least_evaluated=2)
    annotating.number_in_batch(
        config.annotated_share, config.batch_size, config.num_annotated
    )


def trials(config: Config) -> loop.MakeTrial[measuring.Measured]:
    """Loads the digits and builds the network.

    Args:
      config: the flags.

    Returns:
      (arm, seed) -> `loop.Trial`.
    """
    parts_of = make_parts_of(config)
    network = textured.network()
    measure = measuring.make_measurement(
        models.linen_apply_fn(network),
        num_evaluated=config.num_evaluated,
        num_points=config.num_points,
        score_fn=terms.SCORES[config.explained],
    )
    share = annotating.number_in_batch(
        config.annotated_share, config.batch_size, config.num_annotated
    )

    def trial(arm: arms.Arm, seed: int) -> loop.Trial[measuring.Measured]:
        parts = parts_of(seed)
        available = len(parts.balanced.labels)
        flags.check_num_evaluated(config.num_evaluated, available=available)
        noise = arm.annotation or "none"
        train, given = annotating.annotate(
            parts.train, noise, count=config.num_annotated, seed=seed
        )
        batches = feeding.batches_with_a_share(
            train, given, num_chosen=share, batch_size=config.batch_size, seed=seed
        )
        adam = optax.adam(config.learning_rate)
        problem = loop.linen_problem(
            network, train.inputs, seed=seed, batch_at=batches, optimizer=adam
        )
        guided = terms.terms_of(arm, config.explained)
        return loop.Trial(problem, guided, lambda state: measure(state, parts))

    return trial


def make_parts_of(config: Config) -> Callable[[int], textured.Parts]:
    """Loads the digits.

    Args:
      config: the flags.

    Returns:
      seed -> what its arms are trained and tested on.
    """
    source = sources.load(config.dataset, config.data_dir)
    return functools.lru_cache(maxsize=2)(
        lambda seed: textured.make_parts(source, rho=textured.CORRELATION, seed=seed)
    )


EXPERIMENT = loop.Experiment(
    name="robust_explanations",
    question="What are a few inexact masks worth as supervision of Grad-CAM?",
    cost="17 arms, one seed: 3 min 29 s on 2 cores",
    config=Config,
    check=check,
    grammar=terms.GRAMMAR,
    trials=trials,
    measured=measuring.Measured,
    report=lambda found, config: report.make_report(found),
)
