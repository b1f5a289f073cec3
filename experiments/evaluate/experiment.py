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

A finished run of saliency_guided_images, region_guidance or robust_explanations, each
arm with the weights it kept, explained and filled as there:

    python -m experiments.evaluate --run runs/region_guidance-20300101-120000
"""

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import tyro

from experiments.evaluate import filling, finished, network, page, reading
from experiments.running import directory, flags, listing
from xguide_jax import attributions, evaluation, files

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
    run: pathlib.Path | None = None
    """Directory of a finished run, all arms of which are measured; instead of the
    three above. Its experiment says how it is explained and what the fills are."""
    arms: tuple[str, ...] = ()
    """Which arms of the run; all if left out."""
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
    """Test images of the default network, or of a run."""
    batch_size: int = 64
    """Images a call of the function."""
    seed: int = 0
    """Of fills and random orders, and of the default network."""


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
        fills={name: filling.FILLS[name] for name in config.fills},
        baselines=baselines,
        score_fn=attributions.target_logit,
        num_random_orders=config.num_random_orders,
        batch_size=config.batch_size,
    )
    run_dir = _made(config)
    files.write_json(run_dir / "evaluation.json", found.to_dict())
    page = found.report(run_dir / "report.html")
    print(f"{found}\n\nThe page: {page}")
    return found


def run_finished(config: Config) -> finished.Found:
    """Measures all arms of a finished run, and writes the page.

    Args:
      config: the flags, `run` among them.

    Returns:
      {arm: a result each seed}; `report.html`, `tables.md` and `numbers.json` of the
      run hold it, too.

    Raises:
      RefusedError: for flags of somebody else's maps beside `run`, and as
        `finished.open_finished` has it.
    """
    if config.run is None or config.maps or config.predictions or config.data:
        raise flags.RefusedError(
            "--run brings its own data and network: it must be given without --maps, "
            "--predictions and --data."
        )
    opened = finished.open_finished(config.run, chosen=config.arms)
    found = finished.measure(
        opened,
        num_evaluated=config.num_evaluated,
        num_random_orders=config.num_random_orders,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    run_dir = _made(config)
    text = page.write(opened, found, run_dir)
    print(f"{text}\n\nThe page: {run_dir / 'report.html'}")
    return found


def _made(config: Config) -> pathlib.Path:
    run_dir = config.run_dir or directory.default_run_dir("evaluate")
    run_dir.mkdir(parents=True, exist_ok=True)
    return run_dir


def main() -> None:
    """Reads the flags and runs; exit status 2 for what is refused, with a line why."""
    config = tyro.cli(Config, description=__doc__)
    try:
        if config.run is None:
            run(config)
        else:
            run_finished(config)
    except ValueError as error:
        print(f"evaluate: error: {error}", file=sys.stderr)
        sys.exit(2)


EXPERIMENT = listing.Listed(
    name="evaluate",
    question="Whose maps of a network are faithful, and point at the evidence?",
    cost="six explainers on 256 digits: a minute on 2 cores",
)
