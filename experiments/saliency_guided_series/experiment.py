"""Saliency-guided training on series, whose code was never released.

Series with a block of cells that tells the class are classified. In each step the
network is explained at its input, the cells of lowest saliency give way to noise of
their feature's range, and the same prediction is asked for. Whether the maps then find
the block is known: it was planted. Each arm is trained in every network, layout and
process; in sets that are read from files no cells are known.

    python -m experiments.saliency_guided_series
    python -m experiments.saliency_guided_series --seeds 5
    python -m experiments.saliency_guided_series --networks attentive transformer
    python -m experiments.saliency_guided_series --layouts rare_time --processes narma
    python -m experiments.saliency_guided_series --archive GunPoint_TRAIN.ts
"""

import functools
import pathlib

import optax

from experiments.running import arms, feeding, loop
from experiments.saliency_guided_series import measuring, report, settings, terms
from experiments.saliency_guided_series.config import Config, check
from xguide_jax import models


def settings_of(config: Config) -> list[settings.Setting]:
    """The networks and sets of a run.

    Args:
      config: the flags.

    Returns:
      Every network in every set.
    """
    if config.archive:
        files = settings.train_files(config.archive, config.data_dir)
        return [
            settings.Setting(network, train_file=str(path))
            for network in config.networks
            for path in files
        ]
    return [
        settings.Setting(network, layout, process)
        for network in config.networks
        for layout in config.layouts
        for process in config.processes
    ]


def spread(
    config: Config, every: tuple[arms.Arm, ...]
) -> dict[arms.Arm, settings.Setting]:
    """Each arm in each setting; none that knows true cells where nobody does.

    Args:
      config: the flags.
      every: the arms that they name.

    Returns:
      {arm, told apart by its text: setting}.
    """
    return {
        arm._replace(text=f"{setting.name}/{arm.text}"): setting
        for setting in settings_of(config)
        for arm in every
        if setting.train_file is None or arm.term != terms.ORACLE
    }


def trials(config: Config) -> loop.MakeTrial[measuring.Measured]:
    """Makes or reads the series and makes the networks.

    Args:
      config: the flags.

    Returns:
      (arm, seed) -> `loop.Trial`.
    """
    setting_of = spread(config, arms.read_arms(config.arms, GRAMMAR))
    counts = (config.num_train, config.num_train // 10, config.num_test)

    # All arms of a setting follow each other.
    @functools.lru_cache(maxsize=1)
    def parts_of(setting: settings.Setting, seed: int) -> settings.Parts:
        if setting.train_file is not None:
            return settings.read_parts(pathlib.Path(setting.train_file))
        return settings.planted_parts(
            setting, counts, seed=seed, size=config.size, irregular=config.irregular
        )

    @functools.cache  # its programs serve all sets of one shape
    def measurement_of(network: str, num_classes: int) -> measuring.Measure:
        return measuring.make_measurement(
            models.linen_apply_fn(settings.make_network(network, num_classes)),
            num_evaluated=config.num_evaluated,
            num_points=config.num_points,
            num_draws=config.num_draws,
        )

    def trial(arm: arms.Arm, seed: int) -> loop.Trial[measuring.Measured]:
        setting = setting_of[arm]
        parts = parts_of(setting, seed)
        num_classes = len(parts.train.class_names)
        batches = feeding.batches_of(
            parts.train, batch_size=config.batch_size, seed=seed
        )
        problem = loop.linen_problem(
            settings.make_network(setting.network, num_classes), parts.train.inputs,
            seed=seed, batch_at=batches, optimizer=optax.adam(config.learning_rate),
        )  # fmt: skip
        measure = measurement_of(setting.network, num_classes)
        guidance = terms.terms_of(
            arm.term,
            mask_fraction=config.mask_fraction,
            oracle_weight=config.oracle_weight,
        )
        return loop.Trial(
            problem, guidance, lambda state: measure(state, setting, parts, seed)
        )

    return trial


GRAMMAR = arms.Grammar(unguided=terms.ARMS)
EXPERIMENT = loop.Experiment(
    name="saliency_guided_series",
    question="Does training on masked saliency make maps of series find what decides?",
    cost="6 arms in 8 networks and sets, one seed: 3 min 49 s on 2 cores",
    config=Config,
    check=check,
    grammar=GRAMMAR,
    spread=lambda config, every: tuple(spread(config, every)),
    trials=trials,
    measured=measuring.Measured,
    report=report.make_report,
)
