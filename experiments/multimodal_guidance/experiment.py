"""Guiding by maps and by texts, where maps are rare.

Digits on photographs of grass and gravel, which give the class away in training. Some
images have a map of the digit, and all have texts of what is measured of it. A decoder
is trained beside the network to say the text from the features and the network's own
saliency, so that a map that shows what the text speaks of makes the text likelier. Does
that move the saliency, does it make the network robust, and do the texts hang on it?

    python -m experiments.multimodal_guidance
    python -m experiments.multimodal_guidance --seeds 5
    python -m experiments.multimodal_guidance --arms unguided grounded@0 grounded@50

An arm is `term@N`, N the percentage of images with a map: visual, text (told without
saliency), both, grounded (told from the saliency), and grounded with more: aligned,
distributed. `@N-shuffled-maps` and `@N-shuffled-texts` are the controls.
"""

import dataclasses
import functools

from experiments.digits import sources as digits
from experiments.digits import textured
from experiments.multimodal_guidance import measuring, report, sources, terms
from experiments.running import arms, feeding, flags, loop, optimizers
from xguide_jax import models


@dataclasses.dataclass(frozen=True)
class Config(digits.TexturedConfig):
    """Flags of multimodal guidance."""

    arms: tuple[str, ...] = terms.ARMS


def check(config: Config) -> None:
    """Refuses flags that cannot be met.

    Args:
      config: the flags.

    Raises:
      ValueError: as `digits.check_textured`, or for a prior of no map.
    """
    digits.check_textured(config)
    for arm in arms.read_arms(config.arms, terms.GRAMMAR):
        if arm.term == "distributed" and sources.percent_of(arm.annotation) == 0:
            raise ValueError(
                f"`arms` holds {arm.text!r}: a prior of maps needs maps, N > 0."
            )


def trials(config: Config) -> loop.MakeTrial[measuring.Measured]:
    """Loads the digits and builds the network.

    Args:
      config: the flags.

    Returns:
      (arm, seed) -> `loop.Trial`.
    """
    source = digits.load(config.dataset, config.data_dir)
    network = textured.network()
    apply_fn = models.linen_apply_fn(network)
    parts_of = functools.lru_cache(maxsize=1)(
        lambda seed: sources.make_parts(
            source, rho=config.rho, seed=seed, size=config.image_size
        )
    )
    side = config.image_size // 4
    layer = terms.Layer(cells=(side, side), width=network.channels[-1])
    measure = measuring.make_measurement(
        apply_fn, layer=layer,
        num_evaluated=config.num_evaluated, num_points=config.num_points,
    )  # fmt: skip

    def trial(arm: arms.Arm, seed: int) -> loop.Trial[measuring.Measured]:
        parts = parts_of(seed)
        available = len(parts.digits.balanced.labels)
        flags.check_num_evaluated(config.num_evaluated, available=available)
        train = sources.annotated(parts.digits.train, arm.annotation or "0", seed=seed)
        known = train.annotations
        problem = loop.linen_problem(
            network, train.inputs, seed=seed,
            batch_at=feeding.described_batches(
                train, batch_size=config.batch_size, seed=seed
            ),
            optimizer=optimizers.muon(
                config.learning_rate, num_steps=config.num_steps
            ),
        )  # fmt: skip
        guided = terms.terms_of(
            arm, layer=layer, vocabulary_size=parts.tokenizer.get_vocab_size(),
            human_maps=lambda: (known["region"], known["region_valid"]),
            num_steps=config.num_steps,
        )  # fmt: skip
        return loop.Trial(problem, guided, lambda state: measure(state, parts, arm))

    return trial


EXPERIMENT = loop.Experiment(
    name="multimodal_guidance",
    question="Do texts guide where a network looks, and help where maps are rare?",
    cost="12 arms, one seed: about 8 min on 2 cores",
    config=Config,
    check=check,
    grammar=terms.GRAMMAR,
    trials=trials,
    measured=measuring.Measured,
    report=lambda found, config: report.make_report(found, rho=config.rho),
)
