"""Saliency-guided training on tokens, whose code was never released.

Pairs of sentences are classified by a small transformer. In each step the network is
explained at its word embeddings, the tokens of lowest saliency give way to the last
salient token before them, and the same prediction is asked for. Whether the maps then
name the words that decide is known: the pairs are made from templates.

    python -m experiments.saliency_guided_text
    python -m experiments.saliency_guided_text --seeds 5 --mask-fraction 0.3
    python -m experiments.saliency_guided_text --dataset esnli --max-length 64
"""

import dataclasses

from experiments.running import arms, flags, loop
from experiments.saliency_guided_text import measuring, report, terms
from experiments.texts import networks, options, sources


@dataclasses.dataclass(frozen=True)
class Config(options.TextConfig):
    """Flags of saliency-guided training on tokens."""

    num_steps: int = 2000
    batch_size: int = 32
    log_every: int = 100
    save_every: int = 500
    arms: tuple[str, ...] = terms.ARMS
    mask_fraction: float = 0.5
    """Fraction of a text's tokens that is replaced; not published for texts."""
    num_points: int = 16
    """Points of integrated gradients."""
    num_draws: int = 5
    """Random orders a network is compared with."""


def check(config: Config) -> None:
    """Refuses flags that cannot be met.

    Args:
      config: the flags.

    Raises:
      ValueError: for a number out of range.
    """
    options.check(config)
    flags.check_fractions(config, "mask_fraction")
    flags.check_at_least(config, num_points=1, num_draws=1)


def trials(config: Config) -> loop.MakeTrial[measuring.Measured]:
    """Makes the texts and the encoder.

    Args:
      config: the flags.

    Returns:
      (arm, seed) -> `loop.Trial`.
    """
    parts_of = sources.cached_parts(config)

    def trial(arm: arms.Arm, seed: int) -> loop.Trial[measuring.Measured]:
        parts = parts_of(seed)
        network = networks.make_network(config, parts, pooling="class_token", seed=seed)
        measure = measuring.make_measurement(
            network, parts, num_evaluated=config.num_evaluated,
            num_points=config.num_points, num_draws=config.num_draws,
        )  # fmt: skip
        return loop.Trial(
            networks.make_problem(config, parts.train, network, seed=seed),
            terms.terms_of(arm.term, mask_fraction=config.mask_fraction),
            lambda state: measure(state, seed),
        )

    return trial


EXPERIMENT = loop.Experiment(
    name="saliency_guided_text",
    question="Does training on masked saliency make token maps name what decides?",
    cost="6 arms, one seed: about 10 min on 2 cores",
    config=Config,
    check=check,
    grammar=arms.Grammar(unguided=terms.ARMS),
    trials=trials,
    measured=measuring.Measured,
    report=lambda found, config: report.make_report(found, dataset=config.dataset),
)
