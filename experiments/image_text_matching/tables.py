"""The tables of image-text matching, each a list of columns."""

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from experiments.image_text_matching import sources, terms
from experiments.image_text_matching.measuring import Measured
from experiments.running import report, results, undefined
from xguide_jax import evaluation, metrics

Found = Mapping[str, Sequence[results.Result[Measured]]]

DEPTHS = (1, 5, 10)
LONG = {"grad_cam": "Grad-CAM", "hi_res_cam": "HiResCAM"}


def recall(question: str, *, k: int, of: str | None = None) -> results.Get[Measured]:
    """The share of partners among the first k, where the question was asked.

    Args:
      question: of `sources.QUESTIONS`.
      k: how many are looked at.
      of: 'images' that are found for texts, or 'texts' for images; the mean of both if
        None.

    Returns:
      Measurement -> number in [0, 1].
    """

    def get(measured: Measured) -> float:
        ranked = measured.ranked[question]
        ways = (ranked.texts, ranked.images) if of is None else (getattr(ranked, of),)
        shares = [
            np.nanmean(metrics.recall_at_k(jnp.asarray(ranks), k=k)) for ranks in ways
        ]
        return float(np.mean(shares))

    return get


def change(question: str) -> results.Get[Measured]:
    """What other words do to recall at 1, both ways.

    Args:
      question: with the other words.

    Returns:
      Measurement -> recall there minus that as written; 0 for who does not read them.
    """
    there, written = recall(question, k=1), recall(sources.AS_WRITTEN, k=1)
    return lambda measured: there(measured) - written(measured)


def over_chance(question: str) -> results.Get[Measured]:
    """Recall at 1, both ways, over that of a blind guess.

    Args:
      question: of `sources.QUESTIONS`.

    Returns:
      Measurement -> number.
    """
    found = recall(question, k=1)
    return lambda measured: found(measured) - measured.ranked[question].chance


def energy(name: str) -> results.Get[Measured]:
    """Energy of the pair's map in the region, 0 where it is undefined.

    Args:
      name: of the explainer.

    Returns:
      Measurement -> number in [0, 1].
    """
    return lambda measured: measured.energy[name].summary.mean_or_zero


def asked(found: Found) -> list[str]:
    """The questions that were asked.

    Args:
      found: results of all arms.

    Returns:
      Their names.
    """
    return list(next(iter(found.values()))[0].measured.ranked)


def guided(found: Found) -> list[str]:
    """The arms guided by true regions.

    Args:
      found: results of all arms.

    Returns:
      Their names.
    """
    return [arm for arm in found if found[arm][0].arm.annotation == "regions"]


def control_of(found: Found, name: str) -> str | None:
    """The arm of the same weight guided by random regions.

    Args:
      found: results of all arms.
      name: of an arm.

    Returns:
      Its name; None where there is none, and for an arm that is not guided by regions.
    """
    arm = found[name][0].arm
    if arm.annotation != "regions":
        return None
    wanted = ("random", arm.term, arm.weight)
    is_control = lambda a: (a.annotation, a.term, a.weight) == wanted
    return next((other for other in found if is_control(found[other][0].arm)), None)


def retrieval(found: Found) -> list[report.Column]:
    """Recall with captions as they are written, each way.

    Args:
      found: results of all arms.

    Returns:
      Columns.
    """
    way = {"images": "image of text", "texts": "text of image"}
    columns = [
        report.mean(f"{text}, R@{k}", recall(sources.AS_WRITTEN, k=k, of=of))
        for of, text in way.items()
        for k in DEPTHS
    ]
    get = recall(sources.AS_WRITTEN, k=1)
    return [*columns, *_beside("R@1", get), report.speed()]


def words(found: Found) -> list[report.Column]:
    """Recall at 1 with other words in the captions, both ways, and what is left.

    Args:
      found: results of all arms, of digits.

    Returns:
      Columns.
    """
    names = [name for name in sources.QUESTIONS if name in asked(found)]
    columns = [report.mean(name, recall(name, k=1)) for name in names]
    if sources.SWAPPED not in names:
        return columns
    other, alone = change(sources.SWAPPED), over_chance(sources.GROUND_ALONE)
    return [
        *columns,
        report.mean("lost to another ground", other),
        *_beside("lost to another ground", other),
        report.mean("the ground alone, over chance", alone),
        *_beside(sources.ONE_GROUND, recall(sources.ONE_GROUND, k=1)),
    ]


def looking(found: Found) -> list[report.Column]:
    """Where the map of a pair's similarity points.

    Args:
      found: results of all arms.

    Returns:
      Columns.
    """
    del found
    return [
        *(report.as_zero(f"energy, {LONG[n]}", _summary(n)) for n in LONG),
        *(
            column
            for name, long in LONG.items()
            for column in _beside(long, energy(name))
        ),
    ]


def undefined_counts(found: Found) -> dict[str, int]:
    """How often a partner has no rank, or a map no energy.

    Args:
      found: results of all arms.

    Returns:
      {'arm: what is lacking': count}.
    """
    missing: Callable[[str], results.Get[Measured]] = lambda name: (
        lambda m: m.energy[name].summary.num_undefined
    )
    without = {f"maps without an energy by {LONG[n]}": missing(n) for n in LONG}
    without["partners without a rank"] = lambda m: sum(
        int(np.sum(np.isnan(ranks)))
        for each in m.ranked.values()
        for ranks in (each.texts, each.images)
    )
    return undefined.counts(found, without)


def _summary(name: str) -> Callable[[Measured], evaluation.Summary]:
    return lambda measured: measured.energy[name].summary


def _beside(text: str, get: results.Get[Measured]) -> list[report.Column]:
    return [
        report.minus(f"{text}, minus unguided", terms.UNGUIDED, get),
        report.minus(f"{text}, minus its control", control_of, get),
    ]
