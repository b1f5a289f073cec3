"""Guiding with boxes and masks against a background that gives the label away.

Digits on photographs of grass and gravel: in training the texture agrees with the class
at 95 %, in the test it says nothing, and the group that the texture gets wrong shows
what a network has learned. Terms of the literature that take a box or a mask are
compared with random boxes, with background-swapped composites (the same boxes, and no
more than their label), and with two limits: the same network without the correlation,
and one that never sees anything outside the box.

    python -m experiments.region_guidance
    python -m experiments.region_guidance --seeds 5 --dataset mnist10k

An arm is `term`, `term=weight`, `term@annotation` or both: energy_cam=5@strokes. Where
no weight is given, it is that of the pilot, and so is the warm-up
(experiments/results/region_guidance.md).
"""

import dataclasses
import functools
from collections.abc import Callable

from experiments.digits import sources, textured
from experiments.region_guidance import measuring, pilot, report, terms
from experiments.running import arms, feeding, flags, loop, optimizers
from xguide_jax import models


@dataclasses.dataclass(frozen=True)
class Config(sources.TexturedConfig):
    """Flags of region guidance."""

    # Every term and, but for the published form of one, its own random boxes.
    arms: tuple[str, ...] = ("unguided", *pilot.CHOSEN, *terms.LIMITS)
    warmup: float | None = None
    """Fraction of the steps over which a term's weight grows from 0; None is the
    pilot's for that term."""


def check(config: Config) -> None:
    """Refuses flags that cannot be met.

    Args:
      config: the flags.

    Raises:
      ValueError: as `sources.check_textured`, or for a `warmup` outside [0, 1].
    """
    sources.check_textured(config)
    flags.check_fractions(config, "warmup")


def trials(config: Config) -> loop.MakeTrial[measuring.Measured]:
    """Loads the digits and builds the network.

    Args:
      config: the flags.

    Returns:
      (arm, seed) -> `loop.Trial`.
    """
    parts_of = make_parts_of(config)
    network = textured.network()
    apply_fn = models.linen_apply_fn(network)
    measure = measuring.make_measurement(
        apply_fn, num_evaluated=config.num_evaluated, num_points=config.num_points
    )

    def trial(arm: arms.Arm, seed: int) -> loop.Trial[measuring.Measured]:
        parts = parts_of(arm, seed)
        train = textured.annotated(parts.train, arm.annotation or "boxes", seed=seed)
        available = len(parts.balanced.labels)
        flags.check_num_evaluated(config.num_evaluated, available=available)
        batches = feeding.batches_of(train, batch_size=config.batch_size, seed=seed)
        muon = optimizers.muon(config.learning_rate, num_steps=config.num_steps)
        problem = loop.linen_problem(
            network, train.inputs, seed=seed, batch_at=batches, optimizer=muon
        )
        guided = terms.terms_of(arm, warmup=config.warmup, num_steps=config.num_steps)
        return loop.Trial(problem, guided, lambda state: measure(state, parts, seed))

    return trial


def make_parts_of(config: Config) -> Callable[[arms.Arm, int], textured.Parts]:
    """Loads the digits.

    Args:
      config: the flags.

    Returns:
      (arm, seed) -> what it is trained and tested on. All arms of a seed share it but
      for the two limits.
    """
    source = sources.load(config.dataset, config.data_dir)
    make = functools.lru_cache(maxsize=2)(
        lambda rho, seed: textured.make_parts(
            source, rho=rho, seed=seed, size=config.image_size
        )
    )

    def parts_of(arm: arms.Arm, seed: int) -> textured.Parts:
        parts = make(0.5 if arm.term == "oracle" else config.rho, seed)
        if arm.term != "blanked":
            return parts
        return textured.Parts(*(textured.blanked(part) for part in parts))

    return parts_of


EXPERIMENT = loop.Experiment(
    name="region_guidance",
    question="Do losses on explanations that take a box help against a background that "
    "gives the label away?",
    cost="28 arms, one seed: 6 min 31 s on 2 cores; two more since",
    config=Config,
    check=check,
    grammar=terms.GRAMMAR,
    trials=trials,
    measured=measuring.Measured,
    report=lambda found, config: report.make_report(
        found, rho=config.rho, warmup=config.warmup
    ),
)
