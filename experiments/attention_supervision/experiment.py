"""Attention supervised by human rationales: right, and for the reasons people give.

Pairs of sentences are classified as entailment, neutral or contradiction by a small
transformer. A cue before the second sentence agrees with the class of nine pairs in
ten, and says nothing. Arms pull the class token's attention to the words that decide,
by three heads, all heads, a divergence or an extra layer; each has a control whose
marks are permuted. Tests: like training, without the cue, with the cue of another
class, and probes on which three heuristics fail.

    python -m experiments.attention_supervision
    python -m experiments.attention_supervision --seeds 5
    python -m experiments.attention_supervision --dataset esnli --max-length 64

An arm is `term`, `term=weight` or `term@permuted`: heads=16@permuted. Where no weight
is given it is the published one, as a mean over texts has it.
"""

import dataclasses

import numpy as np

from experiments.attention_supervision import measuring, report, terms
from experiments.running import arms, flags, loop
from experiments.texts import networks, options, sources
from xguide_jax import data


@dataclasses.dataclass(frozen=True)
class Config(options.TextConfig):
    """Flags of attention supervision."""

    num_steps: int = 2000
    batch_size: int = 32
    log_every: int = 100
    save_every: int = 500
    arms: tuple[str, ...] = terms.ARMS
    num_points: int = 16
    """Points of integrated gradients."""


def check(config: Config) -> None:
    """Refuses flags that cannot be met.

    Args:
      config: the flags.

    Raises:
      ValueError: for a number out of range.
    """
    options.check(config)
    flags.check_at_least(config, num_points=1)


def trials(config: Config) -> loop.MakeTrial[measuring.Measured]:
    """Makes the texts and the encoder.

    Args:
      config: the flags.

    Returns:
      (arm, seed) -> `loop.Trial`.
    """
    parts_of = sources.cached_parts(config)

    stored: dict[int, data.Dataset] = {}

    def train_of(seed: int, network: networks.Network) -> data.Dataset:
        """The training part, the held layers' states computed once for all arms."""
        if seed not in stored:
            stored.clear()
            train = parts_of(seed).train
            stored[seed] = networks.with_states(config, train, network)
        return stored[seed]

    def trial(arm: arms.Arm, seed: int) -> loop.Trial[measuring.Measured]:
        parts = parts_of(seed)
        network = networks.make_network(
            config,
            parts,
            pooling="attention" if terms.has_extra_layer(arm) else "class_token",
            seed=seed,
        )
        measure = measuring.make_measurement(
            network, parts, arm,
            num_evaluated=config.num_evaluated, num_points=config.num_points,
        )  # fmt: skip
        problem = networks.make_problem(
            config, train_of(seed, network), network, seed=seed
        )
        coverage = float(np.mean(parts.train.annotations["rationale_valid"]))
        guidance = terms.terms_of(arm, network, coverage=coverage)
        return loop.Trial(problem, guidance, measure)

    return trial


EXPERIMENT = loop.Experiment(
    name="attention_supervision",
    question="Does attention taught what people marked make a classifier robust?",
    cost="10 arms, one seed: 6 min on 2 cores",
    config=Config,
    check=check,
    grammar=terms.GRAMMAR,
    trials=trials,
    measured=measuring.Measured,
    report=lambda found, config: report.make_report(found, dataset=config.dataset),
)
