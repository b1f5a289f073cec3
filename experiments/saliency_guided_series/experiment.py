"""Saliency-guided training on series, whose code was never released.

Series with a block of cells that tells the class are classified. In each step the
network is explained at its input, the cells of lowest saliency give way to noise of
their feature's range, and the same prediction is asked for. Whether the maps then find
the block is known: it was planted. One set and one network a run:

    python -m experiments.saliency_guided_series
    python -m experiments.saliency_guided_series --network lstm --process ar --seeds 5
    python -m experiments.saliency_guided_series --layout rare_feature
"""

import dataclasses
import functools
from typing import Literal

import optax
from flax import linen as nn

from experiments.running import arms, feeding, flags, loop
from experiments.saliency_guided_series import measuring, report, terms
from xguide_jax import data, models
from xguide_jax.data.series import layouts, processes

NETWORKS: dict[str, nn.Module] = {
    "tcn": models.TemporalConvolutionNetwork(
        widths=(16, 16, 16), kernel_size=4, num_classes=2, pooling="last"
    ),
    "lstm": models.LSTM(width=16, num_classes=2, pooling="last"),
    "attentive": models.InputCellAttentionLSTM(
        width=16, num_classes=2, attention_width=16, num_mixtures=4, pooling="last"
    ),
    "transformer": models.SeriesTransformer(
        num_layers=2, num_heads=4, width=32, hidden_width=64, num_classes=2,
        pooling="mean",
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Config(flags.RunConfig):
    """Flags of saliency-guided training on series."""

    num_steps: int = 400
    batch_size: int = 50
    log_every: int = 50
    save_every: int = 200
    arms: tuple[str, ...] = terms.ARMS
    network: Literal["tcn", "lstm", "attentive", "transformer"] = "tcn"
    """What is trained."""
    layout: str = "moving_small_middle"
    """Where the true cells lie, as `data.planted_series`."""
    process: str = "gaussian"
    """What the series are made of, as `data.planted_series`."""
    irregular: bool = False
    """Non-uniform sampling."""
    size: int = 50
    """Steps and features."""
    num_train: int = 1000
    """Training series; a tenth as many validate."""
    num_evaluated: int = 100
    """Test series, all of them explained."""
    learning_rate: float = 1e-3
    """Of Adam."""
    mask_fraction: float = 0.5
    """Fraction of a series' cells that is replaced; not published for series."""
    oracle_weight: float = 0.01
    """Of the squared gradients outside the true cells, in the arm that knows them."""
    num_points: int = 16
    """Points of integrated gradients."""
    num_draws: int = 5
    """Random orders a network is compared with."""


def check(config: Config) -> None:
    """Refuses flags that cannot be met.

    Args:
      config: the flags.

    Raises:
      ValueError: for a number out of range, or an unknown layout or process.
    """
    for name, value, known in (
        ("layout", config.layout, layouts.LAYOUTS),
        ("process", config.process, processes.PROCESSES),
    ):
        if value not in known:
            raise ValueError(f"`{name}` (={value!r}) must be one of {tuple(known)}.")
    for name in ("learning_rate", "oracle_weight"):
        if not 0 < getattr(config, name) < float("inf"):
            value = getattr(config, name)
            raise ValueError(f"`{name}` (={value}) must be positive and finite.")
    flags.check_fractions(config, "mask_fraction")
    flags.check_at_least(config, size=5, num_evaluated=2, num_points=1, num_draws=1)
    flags.check_at_least(config, num_train=max(config.batch_size, 20))


def trials(config: Config) -> loop.MakeTrial[measuring.Measured]:
    """Makes the series and the network.

    Args:
      config: the flags.

    Returns:
      (arm, seed) -> `loop.Trial`.
    """
    network = NETWORKS[config.network]

    @functools.cache
    def parts_of(seed: int) -> tuple[data.Dataset, ...]:
        counts = (config.num_train, config.num_train // 10, config.num_evaluated)
        # One seed of series each, none of which another seed of the run has.
        return tuple(
            data.planted_series(
                count, layout=config.layout, process=config.process,
                seed=3 * seed + number, irregular=config.irregular,
                num_steps=config.size, num_features=config.size,
            )
            for number, count in enumerate(counts)
        )  # fmt: skip

    def trial(arm: arms.Arm, seed: int) -> loop.Trial[measuring.Measured]:
        train, validation, test = parts_of(seed)
        problem = loop.linen_problem(
            network, train.inputs, seed=seed,
            batch_at=feeding.batches_of(
                train, batch_size=config.batch_size, seed=seed
            ),
            optimizer=optax.adam(config.learning_rate),
        )  # fmt: skip
        measure = measuring.make_measurement(
            problem.apply_fn, validation, test, num_evaluated=config.num_evaluated,
            num_points=config.num_points, num_draws=config.num_draws,
        )  # fmt: skip
        guidance = terms.terms_of(
            arm.term,
            mask_fraction=config.mask_fraction,
            oracle_weight=config.oracle_weight,
        )
        return loop.Trial(problem, guidance, lambda state: measure(state, seed))

    return trial


EXPERIMENT = loop.Experiment(
    name="saliency_guided_series",
    question="Does training on masked saliency make maps of series find what decides?",
    cost="6 arms, one seed: about 4 minutes on 2 cores, estimated from its steps",
    config=Config,
    check=check,
    grammar=arms.Grammar(unguided=terms.ARMS),
    trials=trials,
    measured=measuring.Measured,
    report=report.make_report,
)
