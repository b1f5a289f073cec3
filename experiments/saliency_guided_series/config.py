"""The flags of saliency-guided training on series, and which of them are refused."""

import dataclasses
import pathlib
from typing import ClassVar, Literal

from experiments.running import flags
from experiments.saliency_guided_series import settings, terms
from xguide_jax.data.series import layouts, processes


@dataclasses.dataclass(frozen=True)
class Config(flags.RunConfig):
    """Flags of saliency-guided training on series."""

    may_grow: ClassVar[tuple[str, ...]] = (
        *flags.RunConfig.may_grow, "networks", "layouts", "processes",
    )  # fmt: skip

    num_steps: int = 200
    batch_size: int = 32
    log_every: int = 50
    save_every: int = 100
    arms: tuple[str, ...] = terms.ARMS
    networks: tuple[Literal["tcn", "lstm", "attentive", "transformer"], ...] = (
        "tcn", "lstm",
    )  # fmt: skip
    """What is trained."""
    layouts: tuple[str, ...] = ("moving_small_middle", "moving_rare_feature")
    """Where the true cells lie, as `data.planted_series`."""
    processes: tuple[str, ...] = ("gaussian", "gaussian_process")
    """What the series are made of, as `data.planted_series`."""
    irregular: bool = False
    """Non-uniform sampling."""
    size: int = 20
    """Steps and features of planted series; at 20 steps those of 'harmonic' and
    'pseudo_periodic' are whole periods apart, so give these another size."""
    num_train: int = 1000
    """Planted series to train on; a tenth as many validate."""
    num_test: int = 500
    """Planted series to test on."""
    archive: tuple[str, ...] = ()
    """Instead of planted series: files '..._TRAIN.ts' or '.tsv' with '..._TEST' beside
    them, or folders of such files."""
    data_dir: pathlib.Path | None = None
    """Where these lie if not here; $XGUIDE_DATA if left out."""
    num_evaluated: int = 64
    """Test series that are explained, at most."""
    learning_rate: float = 3e-3
    """Of Adam."""
    mask_fraction: float = 0.5
    """Fraction of a series' cells that is replaced; not published for series."""
    oracle_weight: float = 3.0
    """Of the squared gradients outside the true cells, in the arm that knows them; of
    0.01 to 1000 the one that found them best on a seed of its own."""
    num_points: int = 16
    """Points of integrated gradients."""
    num_draws: int = 5
    """Random orders a network is compared with."""


def check(config: Config) -> None:
    """Refuses flags that cannot be met.

    Args:
      config: the flags.

    Raises:
      ValueError: for a number out of range, an unknown network, layout or process, a
        file that is not there, or if no arm can be trained.
    """
    for name, known in (
        ("networks", settings.NETWORKS),
        ("layouts", layouts.LAYOUTS),
        ("processes", processes.PROCESSES),
    ):
        values = getattr(config, name)
        if not values or set(values) - set(known) or len(set(values)) < len(values):
            raise ValueError(
                f"`{name}` (={values}) must be some of {tuple(known)}, each once."
            )
    for name in ("learning_rate", "oracle_weight"):
        if not 0 < getattr(config, name) < float("inf"):
            value = getattr(config, name)
            raise ValueError(f"`{name}` (={value}) must be positive and finite.")
    flags.check_fractions(config, "mask_fraction")
    flags.check_at_least(config, size=5, num_evaluated=2, num_points=1, num_draws=1)
    flags.check_at_least(config, num_test=config.num_evaluated)
    flags.check_at_least(config, num_train=max(config.batch_size, 20))
    if config.archive and set(config.arms) == {terms.ORACLE}:
        raise ValueError(f"{terms.ORACLE!r} needs true cells; an archive has none.")
    settings.train_files(config.archive, config.data_dir)
