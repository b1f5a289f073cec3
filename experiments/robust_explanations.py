"""Robust explanation supervision: what a few inexact masks are worth.

Digits on textures that agree with the class at 95 %, of which 100 images carry a mask
of the digit, drawn by a simulated annotator at several levels of carelessness. GRADIA,
HAICS and RES (both kinds) are trained on what the annotator delivered and judged by the
true masks. Every batch of every arm holds as many of the 100 images, so that all see
the same data; a control is guided by masks of other images.

    python -m experiments.robust_explanations
    python -m experiments.robust_explanations --seeds 5 --dataset mnist10k

An arm is `term@noise` or `term=weight@noise`: res_gaussian=1@strong. Where no weight is
given, it is that of the pilot (experiments/results/robust_explanations.md); the
published code has 1 for every term.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import (
    arms,
    command,
    common,
    flags,
    region_data,
    region_measures,
    robust_report,
)
from xguide_jax import attributions, data, evaluation, guidance, metrics, models, ops
from xguide_jax.types import ApplyFn, Array, GuidanceTerm, ScoreFn, TrainState

NAME = "robust_explanations"
TERMS: dict[str, Callable[..., GuidanceTerm]] = {
    "gradia": guidance.gradia,
    "haics": guidance.haics,
    "res_gaussian": functools.partial(guidance.res_gaussian, slack=0.1),
    # From 48 pixels to 12 cells.
    "res_learned": functools.partial(
        guidance.res_learned, slack=0.1, kernel_size=8, stride=4
    ),
}
# Of the pilot; see the results.
WEIGHTS = {"gradia": 1.0, "haics": 3.0, "res_gaussian": 0.1, "res_learned": 0.3}
SCORES: dict[str, ScoreFn] = {
    "logit": attributions.target_logit,
    "centred_logit": attributions.centred_logit,
}
# Arguments of `data.corrupt_masks`, in pixels of 48, and a probability.
NOISE: dict[str, dict[str, Any]] = {
    "none": {},
    "moderate": {"shift": 3, "dilate": 3, "erode": 1, "drop": 0.1},
    "strong": {"shift": 8, "dilate": 6, "erode": 2, "drop": 0.3},
}
ARMS = (
    "unguided",
    *(f"{term}@{noise}" for noise in (*NOISE, "other") for term in TERMS),
)
THRESHOLD = 0.5


@dataclasses.dataclass(frozen=True)
class Config(region_data.DigitsConfig):
    """Flags of robust explanation supervision."""

    num_steps: int = 400
    batch_size: int = 32
    log_every: int = 50
    save_every: int = 200
    arms: tuple[str, ...] = ARMS
    """Which arms to train, in this order."""
    num_annotated: int = 100
    """Training images that carry a mask."""
    annotated_share: float = 0.25
    """Part of every batch that is drawn from them."""
    explained: Literal["logit", "centred_logit"] = "logit"
    """What Grad-CAM explains, in training and in the test; published: the logit. Of two
    classes the centred maps of one are those of the other with all signs turned."""
    learning_rate: float = 3e-3
    """Of Adam."""
    num_evaluated: int = 256
    """Test images that are explained."""
    num_points: int = 16
    """Points of integrated gradients."""


class Arm(NamedTuple):
    """What a name of an arm says."""

    term: str
    weight: float
    noise: str


def parse(text: str) -> Arm:
    """Reads `unguided` or `term[=weight]@noise`.

    Args:
      text: of the arm.

    Returns:
      The parts; the weight of the pilot where it is left out, 0 and no noise without
      guidance.

    Raises:
      ValueError: for an arm that does not exist, or a weight that is no finite number
        of at least 0.
    """
    if text == "unguided":
        return Arm(text, 0.0, "none")
    head, _, noise = text.partition("@")
    term, _, weight = head.partition("=")
    if term not in TERMS or noise not in (*NOISE, "other"):
        raise ValueError(f"`arms` holds {text!r}; there are {sorted(ARMS)}.")
    given = flags.read_weight(weight, text) if weight else WEIGHTS[term]
    return Arm(term, given, noise)


def true_masks(dataset: data.Dataset) -> np.ndarray:
    """The digit with a margin of two pixels.

    Args:
      dataset: with 'strokes'.

    Returns:
      bool [N, 48, 48].
    """
    strokes = dataset.annotations["strokes"]
    padded = np.pad(strokes, ((0, 0), (2, 2), (2, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(1, 2))
    return windows.any(axis=(3, 4))


def annotate(
    train: data.Dataset, noise: str, *, count: int, seed: int
) -> tuple[data.Dataset, np.ndarray]:
    """The training images with what the annotator delivered for a few of them.

    Args:
      train: with 'strokes'.
      noise: a level, or 'other': exact masks, of other images.
      count: how many images are given to the annotator.
      seed: which ones, and the annotator's errors.

    Returns:
      The images with 'annotations' (1 where marked, -1 elsewhere, 0 on images without a
      mask); int [count], the images that were given.
    """
    rng = np.random.default_rng((seed, 7))
    given = np.sort(rng.permutation(len(train.labels))[:count])
    masks = true_masks(data.take(train, given))
    if noise == "other":
        masks = np.roll(masks, 1, axis=0)
    delivered = data.corrupt_masks(rng, masks, **NOISE.get(noise, {}))
    signs = np.zeros((len(train.labels), *masks.shape[1:]), np.int8)
    marked = np.where(delivered.region, 1, -1).astype(np.int8)
    signs[given] = np.where(delivered.region_valid[:, None, None], marked, 0)
    return train._replace(annotations={"annotations": signs}), given


def annotated_in_batch(config: Config) -> int:
    """How many images of a batch are drawn from the annotated ones.

    Args:
      config: the flags.

    Returns:
      annotated_share * batch_size, to the nearest.

    Raises:
      ValueError: if that is none or all of the batch, or more than are annotated.
    """
    count = round(config.annotated_share * config.batch_size)
    most = min(config.batch_size - 1, config.num_annotated)
    if not 1 <= count <= most:
        raise ValueError(
            f"`annotated_share` (={config.annotated_share}) is {count} of `batch_size` "
            f"(={config.batch_size}) images; it must leave others, and be between 1 "
            f"and `num_annotated` (={config.num_annotated})."
        )
    return count


def mixed_sampler(
    train: data.Dataset, given: np.ndarray, config: Config, *, seed: int
) -> Callable[[int], Mapping[str, np.ndarray]]:
    """Batches of which a fixed part comes from the annotated images.

    Args:
      train: the training part.
      given: the annotated images.
      config: the flags.
      seed: of this repetition.

    Returns:
      step -> batch.
    """
    num_given = annotated_in_batch(config)
    count, index = jax.process_count(), jax.process_index()
    draw = functools.partial(
        data.batch_indices, seed=seed, process_index=index, process_count=count
    )

    def batch_at(step: int) -> Mapping[str, np.ndarray]:
        rest = config.batch_size - num_given
        indices = np.concatenate(
            [
                given[draw(len(given), batch_size=num_given, step=step)],
                draw(len(train.labels), batch_size=rest, step=step),
            ]
        )
        return data.make_batch(train, indices, seed=seed, step=step)

    return batch_at


def make_measurement(
    apply_fn: ApplyFn, *, num_evaluated: int, num_points: int, score_fn: ScoreFn
) -> Callable[[TrainState, region_data.Parts], region_measures.Measured]:
    """The measurement of one trained network.

    Args:
      apply_fn: the network.
      num_evaluated: test images that are explained.
      num_points: of integrated gradients.
      score_fn: what is explained.

    Returns:
      `(state, parts) -> (numbers, arrays)`. Numbers: accuracies, and of Grad-CAM at the
      label between its minimum and maximum, enlarged to the image, against the true
      mask: 'iou', 'precision', 'recall', 'f1' and 'epg'; and
      'epg/integrated_gradients', which no arm is trained on. Undefined maps are dropped
      there, counted as 0 in '.../zero', and numbered in 'undefined/...'.
      'validation_iou' is the same on half as many validation images, for choosing
      weights. Arrays: 'rows/...' [N] of each of them, 'maps/grad_cam' [S, H, W],
      'inputs', 'region'.
    """
    logits = arms.make_predict(apply_fn)
    explain = evaluation.make_explain(
        apply_fn,
        region_measures.explain_fns(num_points=num_points, score_fn=score_fn),
        batch_size=num_evaluated + num_evaluated // 2,
    )

    def measure(
        state: TrainState, parts: region_data.Parts
    ) -> region_measures.Measured:
        predict = lambda x: evaluation.top_class(logits(state, x))
        numbers = region_measures.accuracies(predict, parts)
        few = data.take(parts.balanced, np.arange(num_evaluated))
        held_out = data.take(parts.validation, np.arange(num_evaluated // 2))
        maps, tuning = region_measures.explain_both(explain, state, few, held_out)
        mask = jnp.asarray(true_masks(few))
        cam = between_extremes(maps["grad_cam"], mask)
        measured = agreement(cam, mask)
        judged = metrics.energy_pointing_game(maps["integrated_gradients"], mask)
        measured["epg/integrated_gradients"] = judged
        rows = {name: np.asarray(value) for name, value in measured.items()}
        found = {name: evaluation.summarise(value) for name, value in rows.items()}
        numbers |= {name: of.mean for name, of in found.items()}
        for name, of in found.items():
            numbers[f"{name}/zero"] = of.mean_or_zero
            numbers[f"undefined/{name}"] = float(of.num_undefined)
        mask_held_out = jnp.asarray(true_masks(held_out))
        scaled = between_extremes(tuning["grad_cam"], mask_held_out)
        overlap = agreement(scaled, mask_held_out)["iou"]
        numbers["validation_iou"] = evaluation.summarise(overlap).mean
        shown = slice(region_measures.NUM_SHOWN)
        arrays = {
            "maps/grad_cam": np.asarray(cam[shown]),
            "inputs": few.inputs[shown],
            "region": np.asarray(mask[shown]),
            **{f"rows/{name}": value for name, value in rows.items()},
        }
        return numbers, arrays

    return measure


def between_extremes(cam: Array, mask: Array) -> Array:
    """Maps as large as the masks, each between its own minimum and maximum.

    Args:
      cam: [B, h, w].
      mask: [B, H, W].

    Returns:
      [B, H, W] in [0, 1]; 0 where a map is constant.
    """
    _, height, width = mask.shape
    return ops.min_max_normalise(ops.bilinear_resize(cam, shape=(height, width)))


def agreement(cam: Array, mask: Array) -> dict[str, Array]:
    """How well maps in [0, 1] agree with the true masks.

    Args:
      cam: [B, H, W].
      mask: bool [B, H, W].

    Returns:
      'precision', 'recall', 'f1', 'iou' and 'epg', [B] each, NaN where undefined.
    """
    signs = jnp.where(mask, 1.0, -1.0)
    precision, recall, f1 = metrics.explanation_precision_recall(
        cam, signs, threshold=THRESHOLD
    )
    return {
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "iou": metrics.iou(cam, mask, threshold=THRESHOLD),
        "epg": metrics.energy_pointing_game(cam, mask),
    }


def check(config: Config) -> None:
    """Refuses flags that cannot be met, before anything is loaded or compiled.

    Args:
      config: the flags.

    Raises:
      ValueError: for an arm that does not exist, or a number out of range.
    """
    flags.check(config)
    flags.check_folder(config.dataset, config.data_dir)
    flags.check_arms(config.arms, parse)
    flags.check_fractions(config, "annotated_share")
    flags.check_rate(config)
    # A half of them is explained of the validation part.
    flags.check_at_least(config, num_annotated=1, num_evaluated=2, num_points=1)
    annotated_in_batch(config)


def run_experiment(config: Config) -> None:
    """Trains and measures every arm and seed that is not finished, and reports.

    Args:
      config: the flags.

    Raises:
      ValueError: as `check` and `common.open_run`.
    """
    check(config)
    with common.open_run(config, name=NAME) as run:
        arms.finish_run(
            run,
            config.arms,
            train=functools.partial(train_and_measure, run, config),
            report=lambda: robust_report.write(run, config.arms),
        )


def train_and_measure(
    run: common.Run, config: Config, missing: Sequence[tuple[str, int]]
) -> None:
    """Trains and measures arms, and keeps what they gave.

    Args:
      run: the open run.
      config: the flags.
      missing: (arm, seed) pairs.
    """
    source = region_data.digits(config.dataset, config.data_dir)
    network = models.SmallCNN(num_classes=2, strides=(2, 2, 1))
    apply_fn = models.linen_apply_fn(network)
    measure = make_measurement(
        apply_fn,
        num_evaluated=config.num_evaluated,
        num_points=config.num_points,
        score_fn=SCORES[config.explained],
    )
    for name, seed in missing:
        arm = parse(name)
        rho = region_data.CORRELATION
        parts = region_data.make_parts(source, rho=rho, seed=seed)
        flags.check_num_evaluated(config, available=len(parts.balanced.labels))
        if config.num_annotated > len(parts.train.labels):
            raise common.RefusedError(
                f"`num_annotated` (={config.num_annotated}) must be at most "
                f"{len(parts.train.labels)}, the number of training images."
            )
        train, given = annotate(
            parts.train, arm.noise, count=config.num_annotated, seed=seed
        )
        problem = arms.linen_problem(
            network,
            train.inputs,
            seed=seed,
            batch_at=mixed_sampler(train, given, config, seed=seed),
            optimizer=optax.adam(config.learning_rate),
        )
        terms = {}
        if arm.term in TERMS:
            # Without dropout and batch norm both modes are one function, and in train
            # mode the clean pass gives the features.
            score_fn = SCORES[config.explained]
            built = TERMS[arm.term](score_fn=score_fn, explain_in="train")
            terms = {"guidance": guidance.scale(built, arm.weight)}
        state, rate = arms.train_arm(run, name, terms, problem, seed=seed)
        numbers, arrays = measure(state, parts)
        numbers["images_per_second"] = rate
        numbers["weight"] = arm.weight
        if run.is_writer:
            arms.save_result(run, name, seed, numbers=numbers, arrays=arrays)


if __name__ == "__main__":
    command.main(Config, run_experiment, name=NAME, check=check)
