"""Maps of a network, measured: whose maps, and of which network, does not matter.

Left to itself it trains a small network on digits whose texture gives the class away,
and compares six explainers on it. Your own maps, of a network of any library:

    python -m experiments.evaluate --data data --maps maps --predictions net.py:predict

--data: `.npz` with 'inputs' [N, ...] and 'labels' [N], and, where there are some,
'region' [N, H, W], 'boxes' [N, K, 4] with 'boxes_valid' [N, K], 'region_valid' [N],
'groups' [N], 'targets' [N] (the class explained, where it is not the label). Or a
folder: images/CLASS/NAME.png, and masks/CLASS/NAME.png of 0 and 255 where there are
some.

--maps: `.npz` with an array [N, H, W] or [N, H, W, C] for each explainer. Or a folder:
EXPLAINER/CLASS/NAME.npy, [H, W] or [H, W, C], one for each image.

--predictions: FILE.py:FUNCTION, a function that takes a NumPy array, float32
[B, H, W, C], out of a folder RGB in [0, 1], and returns logits [B, classes].
"""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import tyro

from experiments.evaluate import network, reading
from experiments.running import directory, flags, listing
from xguide_jax import attributions, evaluation, files, ops
from xguide_jax.types import FillFn

Fill = Literal["black", "channel_mean", "uniform"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Flags of the evaluation."""

    maps: pathlib.Path | None = None
    """.npz or folder of maps; six explainers of the default network if left out."""
    predictions: str | None = None
    """FILE.py:FUNCTION, from images to logits; needed with --maps."""
    data: pathlib.Path | None = None
    """.npz or folder of the images; needed with --maps."""
    run_dir: pathlib.Path | None = None
    """Where the page is written; runs/evaluate-<time> if left out."""
    fills: tuple[Fill, ...] = ("channel_mean", "uniform")
    """What features are replaced by: 0, their channel's mean in the image, or uniform
    values between the smallest and largest of the image."""
    zero_baseline: bool = False
    """Your maps say what changed from an input of 0: measure their attribution error,
    of the logit."""
    num_random_orders: int = 5
    """Random orders that chance is the mean of."""
    num_evaluated: int = 256
    """Test images of the default network."""
    batch_size: int = 64
    """Images a call of the function."""
    seed: int = 0
    """Of fills and random orders, and of the default network."""


def fill_of(name: Fill) -> FillFn:
    """The replacement of a name.

    Args:
      name: of the flag.

    Returns:
      (key, inputs) -> values.
    """
    spatial = (1, 2)
    return {
        "black": functools.partial(ops.constant_fill, value=0.0),
        "channel_mean": functools.partial(ops.mean_fill, axes=spatial),
        "uniform": functools.partial(ops.uniform_range_fill, axes=spatial),
    }[name]


def run(config: Config) -> evaluation.Evaluation:
    """Reads or trains, measures, and writes the page.

    Args:
      config: the flags.

    Returns:
      What was found; `evaluation.json` and `report.html` of the run hold it, too.

    Raises:
      RefusedError: for flags without the others they need, and as `reading` has it.
    """
    baselines: Any = None
    own = (config.maps, config.predictions, config.data)
    if own == (None, None, None):
        problem = network.train(num_evaluated=config.num_evaluated, seed=config.seed)
        predict: Callable[[Any], Any] = problem.predict
        maps: Mapping[str, Any] = problem.explainers
        batch = problem.batch
        baselines = dict.fromkeys(network.AGAINST_ZERO, 0.0)
    elif config.maps and config.predictions and config.data:
        examples = reading.read_examples(config.data)
        maps = reading.read_maps(config.maps, examples)
        predict, batch = reading.read_predictions(config.predictions), examples.batch
        baselines = 0.0 if config.zero_baseline else None
    else:
        raise flags.RefusedError(
            "--maps, --predictions and --data must be given together: maps are "
            "measured with their images and their network."
        )
    found = evaluation.evaluate(
        predict,
        maps,
        batch,
        key=jax.random.key(config.seed),
        fills={name: fill_of(name) for name in config.fills},
        baselines=baselines,
        score_fn=attributions.target_logit,
        num_random_orders=config.num_random_orders,
        batch_size=config.batch_size,
    )
    run_dir = config.run_dir or directory.default_run_dir("evaluate")
    run_dir.mkdir(parents=True, exist_ok=True)
    files.write_json(run_dir / "evaluation.json", found.to_dict())
    page = found.report(run_dir / "report.html")
    print(f"{found}\n\nThe page: {page}")
    return found


def main() -> None:
    """Reads the flags and runs; exit status 2 for what is refused, with a line why."""
    try:
        run(tyro.cli(Config, description=__doc__))
    except ValueError as error:
        print(f"evaluate: error: {error}", file=sys.stderr)
        sys.exit(2)


EXPERIMENT = listing.Listed(
    name="evaluate",
    question="Whose maps of a network are faithful, and point at the evidence?",
    cost="six explainers on 256 digits: a minute on 2 cores",
)
