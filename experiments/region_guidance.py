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
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import optax

from experiments import (
    arms,
    command,
    common,
    flags,
    optimizers,
    region_data,
    region_measures,
    region_pilot,
    region_report,
)
from xguide_jax import attributions, guidance, losses, models, ops
from xguide_jax.types import Array, GuidanceTerm, Terms

NAME = "region_guidance"
TERMS = tuple(name for name in region_pilot.CHOSEN if "@" not in name)
# Every term and, but for the published form of one, its own random boxes.
ARMS = ("unguided", *region_pilot.CHOSEN, "oracle", "blanked")


@dataclasses.dataclass(frozen=True)
class Config(region_data.DigitsConfig):
    """Flags of region guidance."""

    # Learning rates and warm-ups end with `num_steps`: a longer run is another one.
    may_grow: ClassVar[tuple[str, ...]] = ("arms", "seeds")

    num_steps: int = 450
    batch_size: int = 32
    log_every: int = 50
    save_every: int = 150
    arms: tuple[str, ...] = ARMS
    """Which arms to train, in this order."""
    rho: float = region_data.CORRELATION
    """How often texture and class agree in training and validation."""
    warmup: float | None = None
    """Fraction of the steps over which a term's weight grows from 0; None is the
    pilot's for that term."""
    image_size: int = 32
    """Pixels a side; images are made with 48."""
    learning_rate: float = 0.05
    """Of Muon, for the convolutions; Adam has 0.003 for the rest."""
    num_evaluated: int = 256
    """Test images that are explained."""
    num_points: int = 16
    """Points of integrated gradients."""


class Arm(NamedTuple):
    """What a name of an arm says."""

    name: str
    weight: float | None
    annotation: str
    warmup: float = 0.0


def parse(text: str) -> Arm:
    """Reads `term[=weight][@annotation]`.

    Args:
      text: of the arm.

    Returns:
      The parts; boxes and what the pilot chose where they are left out. The pilot chose
      for random boxes on their own, where it had them.

    Raises:
      ValueError: for an unknown term or annotation, a weight that is no finite number
        of at least 0, or one of them where nothing is guided.
    """
    head, _, annotation = text.partition("@")
    name, _, weight = head.partition("=")
    known = {*TERMS, "unguided", "oracle", "blanked"}
    if name not in known:
        raise ValueError(f"`arms` holds {text!r}; there are {sorted(known)}.")
    if name not in TERMS:
        if name != text:
            raise ValueError(
                f"`arms` holds {text!r}; {name!r} is not guided, and takes neither "
                "weight nor annotation."
            )
        return Arm(name, None, "boxes")
    annotation = annotation or "boxes"
    region_data.check_annotation(annotation)
    chosen = region_pilot.of(name, annotation)
    given = flags.read_weight(weight, text) if weight else chosen.weight
    return Arm(name, given, annotation, chosen.warmup)


def term_of(name: str) -> GuidanceTerm:
    """The term of an arm, unweighted.

    Args:
      name: of the term.

    Returns:
      A term that needs 'region' and 'region_valid'.
    """
    kept = name.endswith(("_raw", "_published"))
    stem = name.removesuffix("_raw").removesuffix("_published")
    kind, _, place = stem.rpartition("_")
    cam = place == "cam"
    losses_of_maps: dict[str, Callable[[Array, Array], Array]] = {
        # The published form leaves maps blank, for good; the measures count them.
        "energy": losses.energy if kept or not cam else losses.leaky_energy,
        "l1": lambda m, r: losses.region_l1(ops.normalise_by_max(m), r),
        "ppce": lambda m, r: losses.pixel_cross_entropy(ops.normalise_by_max(m), r),
        "rrr_star": losses.outside_energy,
    }
    if kind in losses_of_maps:
        score_fn = attributions.centred_logit
        if name.endswith("_raw"):  # as published
            score_fn = attributions.target_logit
        explain = attributions.signed_grad_cam if cam else attributions.input_gradient
        return guidance.localisation(
            loss=losses_of_maps[kind],
            explainer=functools.partial(explain, score_fn=score_fn),
            layer="features" if cam else None,
            explain_in="train",
        )
    other: dict[str, Callable[[], GuidanceTerm]] = {
        "right_reasons": guidance.right_for_right_reasons,
        "region_contrast": lambda: guidance.region_contrastive(
            loss=functools.partial(losses.region_contrastive, temperature=0.2)
        ),
        "region_consistency": lambda: guidance.region_consistency(
            fill=guidance.other_backgrounds
        ),
        "swapped": lambda: guidance.replaced_background_loss(
            fill=guidance.other_backgrounds
        ),
    }
    return other[name]()


def terms_of(arm: Arm, config: Config) -> Terms:
    """The guidance of an arm, its weight growing linearly at first.

    Args:
      arm: its parts.
      config: the flags.

    Returns:
      {name: term}; {} for the arms without guidance.
    """
    if arm.weight is None:
        return {}
    steps = int(warmup_of(arm, config) * config.num_steps)
    weight = optax.linear_schedule(0.0, arm.weight, max(steps, 1))
    return {"guidance": guidance.scale(term_of(arm.name), weight)}


def warmup_of(arm: Arm, config: Config) -> float:
    """The fraction of the steps over which the weight of an arm grows.

    Args:
      arm: its parts.
      config: the flags.

    Returns:
      A number in [0, 1]; 0 without guidance.
    """
    if arm.weight is None or config.warmup is None:
        return arm.warmup
    return config.warmup


def parts_of(
    arm: Arm,
    make: Callable[[float, int], region_data.Parts],
    config: Config,
    seed: int,
) -> region_data.Parts:
    """The data an arm is trained, selected and tested on.

    Args:
      arm: its parts.
      make: (rho, seed) -> the parts.
      config: the flags.
      seed: of this repetition.

    Returns:
      The parts, that for training with the annotation of the arm alone.
    """
    rho = 0.5 if arm.name == "oracle" else config.rho
    parts = make(rho, seed)
    if arm.name == "blanked":
        parts = region_data.Parts(*(region_data.blanked(part) for part in parts))
    train = region_data.annotated(parts.train, arm.annotation, seed=seed)
    return parts._replace(train=train)


def check(config: Config) -> None:
    """Refuses flags that cannot be met, before anything is loaded or compiled.

    Args:
      config: the flags.

    Raises:
      ValueError: for an arm that `parse` refuses, an `image_size` that the network does
        not divide, or a number out of range.
    """
    flags.check(config)
    flags.check_folder(config.dataset, config.data_dir)
    flags.check_arms(config.arms, parse)
    flags.check_fractions(config, "rho", "warmup")
    flags.check_rate(config)
    # A half of them is explained of the validation part.
    flags.check_at_least(config, num_evaluated=2, num_points=1)
    if config.image_size < 4 or config.image_size % 4:
        raise ValueError(
            f"`image_size` (={config.image_size}) must be a positive multiple of 4, by "
            "which the strides of the network divide it."
        )


def run_experiment(config: Config) -> None:
    """Trains and measures every arm and seed that is not finished, and reports.

    Args:
      config: the flags.

    Raises:
      ValueError: as `check` and `common.open_run`.
    """
    check(config)
    with common.open_run(config, name=NAME) as run:
        arms.finish_run(
            run,
            config.arms,
            train=functools.partial(train_and_measure, run, config),
            report=lambda: region_report.write(run, config.arms, rho=config.rho),
        )


def train_and_measure(
    run: common.Run, config: Config, missing: Sequence[tuple[str, int]]
) -> None:
    """Trains and measures arms, and keeps what they gave.

    Args:
      run: the open run.
      config: the flags.
      missing: (arm, seed) pairs.
    """
    source = region_data.digits(config.dataset, config.data_dir)
    # All arms of a seed share their data but for the two limits.
    make = functools.lru_cache(maxsize=2)(
        lambda rho, seed: region_data.make_parts(
            source, rho=rho, seed=seed, size=config.image_size
        )
    )
    network = models.SmallCNN(num_classes=2, strides=(2, 2, 1))
    apply_fn = models.linen_apply_fn(network)
    measure = region_measures.make_measurement(
        apply_fn,
        num_evaluated=config.num_evaluated,
        num_points=config.num_points,
    )
    for name, seed in missing:
        arm = parse(name)
        parts = parts_of(arm, make, config, seed)
        flags.check_num_evaluated(config, available=len(parts.balanced.labels))
        problem = arms.linen_problem(
            network,
            parts.train.inputs,
            seed=seed,
            batch_at=arms.batch_sampler(parts.train, config, seed=seed),
            optimizer=optimizers.muon(config.learning_rate, num_steps=config.num_steps),
        )
        state, rate = arms.train_arm(
            run, name, terms_of(arm, config), problem, seed=seed
        )
        numbers, arrays = measure(state, parts, seed)
        numbers["images_per_second"] = rate
        numbers["weight"] = 0.0 if arm.weight is None else arm.weight
        numbers["warmup"] = warmup_of(arm, config)
        if run.is_writer:
            arms.save_result(run, name, seed, numbers=numbers, arrays=arrays)


if __name__ == "__main__":
    command.main(Config, run_experiment, name=NAME, check=check)
