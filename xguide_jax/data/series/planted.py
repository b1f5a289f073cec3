"""Series of which it is known which cells tell the class."""

import numpy as np

from xguide_jax.data import datasets, seeds
from xguide_jax.data.series import layouts, processes


def planted_series(
    num_series: int,
    *,
    layout: str,
    process: str,
    seed: int,
    irregular: bool,
    num_steps: int = 50,
    num_features: int = 50,
) -> datasets.Dataset:
    """Random series with a block of cells that is shifted, in two classes.

    x = process + 0.3 ε + s on the block, ε ~ N(0, 1); for 'gaussian' without the ε. In
    eight layouts s = 1 for class 1 and −1 for class 0. In 'positional_time' and
    'positional_feature' s = 1 always, and the class is where the block starts: step (or
    feature) 1 for class 1 and 29 for class 0, anywhere along the other axis.

    Args:
      num_series: N; the first n of N series are those of a call with n.
      layout: of 50 x 50 cells, size in steps x features: 'middle' 30 x 30 from
        (10, 10), 'small_middle' 14 x 14 from (18, 18), 'rare_time' 6 x 40 from (22, 5),
        'rare_feature' 40 x 6 from (5, 22); 'moving_middle' 30 x 30,
        'moving_small_middle' 15 x 15, 'moving_rare_time' 6 x 40, 'moving_rare_feature'
        40 x 6, anywhere; the two 'positional_' ones, 20 x 20.
      process: 'gaussian', 'harmonic', 'pseudo_periodic', 'gaussian_process', 'ar',
        'car', 'narma'; formulas in `data.series.processes`.
      seed: decides everything; cells do not depend on the process.
      irregular: non-uniform sampling: times in [0, 20) are drawn for each series, or
        else 20 / T apart. 'gaussian', 'ar' and 'narma' know steps only.
      num_steps: T; blocks scale with it.
      num_features: F; blocks scale with it.

    Returns:
      'series' float32 [N, T, F], not normalised, 'mask' bool [N, T] of True; labels in
      turn, 0 and 1; and the annotations 'region', float32 [N, T, F], 1 on the block,
      and 'region_valid', bool [N], of True.

    Raises:
      ValueError: if `num_series` < 1, there is no such layout or process, or the series
        are too small for the block.

    Source: Ismail, Gunady, Corrada Bravo, Feizi, "Benchmarking Deep Learning
      Interpretability in Time Series Predictions", NeurIPS 2020, with the constants of
      the released code (1000 series to train on, 100 to test, irregular times), which
      scales each cell to [0, 1] afterwards. There 'positional time' is told by the
      feature and the other way round, a moving block never reaches the last step or
      feature, and paths are those of another library, of other initial values, also
      those of 'narma' that diverge, which are drawn again here.
    """
    if num_series < 1:
        raise ValueError(f"`num_series` (={num_series}) must be at least 1.")
    for name, value, known in (
        ("layout", layout, layouts.LAYOUTS),
        ("process", process, processes.PROCESSES),
    ):
        if value not in known:
            raise ValueError(f"`{name}` (={value!r}) must be one of {tuple(known)}.")
    shape = (num_steps, num_features)
    chosen = layouts.LAYOUTS[layout]
    region = np.empty((num_series, *shape), bool)
    series = np.empty(region.shape, np.float32)
    labels = np.arange(num_series, dtype=np.int32) % 2
    for n, label in enumerate(labels):
        place = seeds.generator(seeds.Stream.PLANTED_CELLS, seed, n)
        region[n] = layouts.planted_cells(place, chosen, int(label), shape)
        rng = seeds.generator(seeds.Stream.SERIES, seed, n)
        times = processes.sample_times(rng, num_steps, irregular=irregular)
        values = processes.PROCESSES[process](rng, times, num_features)
        if process != "gaussian":
            values = values + 0.3 * rng.normal(size=shape)
        sign = -1 if chosen.sign_tells and label == 0 else 1
        series[n] = values + sign * region[n]
    return datasets.Dataset(
        inputs={"series": series, "mask": np.ones(region.shape[:2], bool)},
        labels=labels,
        class_names=("negative", "positive"),
        annotations={
            "region": region.astype(np.float32),
            "region_valid": np.ones(num_series, bool),
        },
    )
