"""What attributions are compared with, and whether they add up to it.

An attribution explains a difference, f(x) - f(b), and its baseline b is often unsaid.
Every explainer of the library, at the input and at every layer, is held against the
baseline that is its own and against one that all are compared on: the same image
without its digit. A trained network stands beside the same one before and one guided.

    python -m experiments.attribution_baselines
    python -m experiments.attribution_baselines --seeds 5 --num-photographs 16

The packaged ImageNet network (xguide_jax[vision]) is explained on photographs, those of
COCO with masks where --data-dir or $XGUIDE_DATA has them.
"""

import dataclasses
import functools
from typing import ClassVar

import optax

from experiments.attribution_baselines import measuring, methods, photographs, terms
from experiments.attribution_baselines import report as own_report
from experiments.digits import sources, textured
from experiments.running import arms, feeding, flags, loop, optimizers
from xguide_jax import models


@dataclasses.dataclass(frozen=True)
class Config(sources.DigitsConfig):
    """Flags of attribution baselines."""

    # Learning rates end with `num_steps`: a longer run is another one.
    may_grow: ClassVar[tuple[str, ...]] = ("arms", "seeds")

    num_steps: int = 450
    batch_size: int = 32
    log_every: int = 50
    save_every: int = 150
    arms: tuple[str, ...] = ("trained", "untrained", "energy_cam")
    rho: float = textured.CORRELATION
    """How often texture and class agree in training and validation."""
    image_size: int = 32
    """Pixels a side, a multiple of 8; images are made with 48."""
    learning_rate: float = 0.05
    """Of Muon, for the convolutions; Adam has 0.003 for the rest."""
    num_evaluated: int = 64
    num_points: int = 32
    num_samples: int = 32
    """Of expected gradients and SmoothGrad; four times as many coalitions."""
    max_points: int = 256
    """Up to which convergence is measured, a power of 2."""
    num_photographs: int = 6
    """Photographs that the packaged ImageNet network is explained on; 0 for none."""
    photograph_size: int = 224
    """Their pixels a side, a multiple of 32."""


def check(config: Config) -> None:
    """Refuses flags that cannot be met.

    Args:
      config: the flags.

    Raises:
      ValueError: naming the flag, its value and the rule.
    """
    sources.check_folder(config.dataset, config.data_dir)
    flags.check_fractions(config, "rho")
    flags.check_explaining(config, least_evaluated=2)
    flags.check_at_least(config, num_samples=8, max_points=1, num_photographs=0)
    for name, divisor in (("image_size", 8), ("photograph_size", 32)):
        value = getattr(config, name)
        if value < divisor or value % divisor:
            raise ValueError(
                f"`{name}` (={value}) must be a positive multiple of {divisor}."
            )
    if config.max_points & (config.max_points - 1):
        raise ValueError(
            f"`max_points` (={config.max_points}) must be a power of 2, so that every "
            "number of points takes some of the same places."
        )


def trials(config: Config) -> loop.MakeTrial[measuring.Measured]:
    """Loads the digits and builds the network.

    Args:
      config: the flags.

    Returns:
      (arm, seed) -> `loop.Trial`.
    """
    source = sources.load(config.dataset, config.data_dir)
    make = functools.lru_cache(maxsize=1)(
        lambda seed: measuring.make_images(
            source, rho=config.rho, seed=seed, size=config.image_size
        )
    )
    network = models.SmallCNN(num_classes=2, strides=(2, 2, 1))
    measure = measuring.make_measurement(
        models.linen_apply_fn(network),
        num_evaluated=config.num_evaluated,
        num_background=32,
        budget=methods.Budget(
            config.num_points, config.num_samples, config.image_size // 4, 64
        ),
        counts=tuple(2**n for n in range(config.max_points.bit_length())),
    )

    def seen() -> photographs.Photographs:
        return photographs.measure(
            number=config.num_photographs,
            size=config.photograph_size,
            num_points=config.num_points,
            folder=config.data_dir,
        )

    def trial(arm: arms.Arm, seed: int) -> loop.Trial[measuring.Measured]:
        images = make(seed)
        available = len(images.canvases)
        flags.check_num_evaluated(config.num_evaluated, available=available)
        boxes = arm.annotation or "boxes"
        train = textured.annotated(images.parts.train, boxes, seed=seed)
        batches = feeding.batches_of(train, batch_size=config.batch_size, seed=seed)
        muon = optimizers.muon(config.learning_rate, num_steps=config.num_steps)
        optimizer = optax.set_to_zero() if arm.term == "untrained" else muon
        problem = loop.linen_problem(
            network, train.inputs, seed=seed, batch_at=batches, optimizer=optimizer
        )
        # Photographs know neither arm nor seed: once is enough.
        once = arm.text == config.arms[0] and seed == config.seed
        look = seen if once and config.num_photographs else lambda: None
        guided = terms.terms_of(arm, num_steps=config.num_steps)
        return loop.Trial(problem, guided, lambda s: measure(s, images, look()))

    return trial


EXPERIMENT = loop.Experiment(
    name="attribution_baselines",
    question="Do explanations add up to what they explain, and compared with what?",
    cost="3 arms, one seed: some minutes on 2 cores, and more for the photographs",
    config=Config,
    check=check,
    grammar=terms.GRAMMAR,
    trials=trials,
    measured=measuring.Measured,
    report=lambda found, config: own_report.make_report(found),
)
