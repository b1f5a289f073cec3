"""What came out, in sentences that the numbers decide."""

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.attribution_baselines import (
    convergence,
    judging,
    photographs,
    stats,
    tables,
)
from experiments.attribution_baselines.measuring import BASELINES, COMMON, LAYERS
from experiments.attribution_baselines.methods import INPUT
from experiments.attribution_baselines.stats import Found

_CLEAR = 0.2  # of its own target, from where a method is said to over-attribute


def findings(found: Found) -> list[str]:
    """The page's first sentences.

    Args:
      found: results of all arms.

    Returns:
      Plain sentences.
    """
    trained = next(iter(found))
    texts = [_over(found, arm) for arm in found]
    texts += [
        _complete(found, trained),
        _wrong(found, trained),
        _neutral(found, trained),
        _apart(found),
        _convergence(found, trained),
        _limit(found, trained),
    ]
    if len(found[trained]) == 1:
        texts.append("One seed: no intervals, and no claim beyond these networks.")
    return [*texts, *_photographs(found)]


def _mean(
    found: Found,
    arm: str,
    method: str,
    layer: str,
    number: stats.Number,
    *,
    baseline: str = COMMON,
) -> float:
    values = stats.over_seeds(found[arm], method, layer, number, baseline=baseline)
    return float(np.nanmean(values)) if not np.all(np.isnan(values)) else float("nan")


def _over(found: Found, arm: str) -> str:
    names = stats.methods_of(found[arm][0].measured)
    excess = {
        (method, layer): _mean(found, arm, method, layer, stats.own_excess)
        for method in names
        for layer in LAYERS
    }
    return f"{arm}: {_told(excess, 'more than their own target')}."


def _told(excess: Mapping[tuple[str, str], float], what: str) -> str:
    """Who attributes too much, and the worst by how much."""
    over = {place: share for place, share in excess.items() if share > _CLEAR}
    if not over:
        return f"no method attributes {_CLEAR:.0%} {what}"
    most = sorted(over, key=lambda place: -over[place])[:4]
    worst = "; ".join(
        f"{method} at {layer} {_share(over[method, layer])}" for method, layer in most
    )
    which = "; ".join(dict.fromkeys(method for method, _ in over))
    return f"over {_CLEAR:.0%} {what} is attributed by {which}. The most: {worst}"


def _share(value: float) -> str:
    """A percentage; a rule that explodes has no digits worth reading."""
    return f"{value:.0%}" if value < 100 else "more than 10,000%"


def _complete(found: Found, arm: str) -> str:
    names = stats.methods_of(found[arm][0].measured)
    errors = {
        method: [_mean(found, arm, method, layer, stats.own_error) for layer in LAYERS]
        for method in names
    }
    exact = [m for m, e in errors.items() if np.nanmax([*e, -1]) <= 0.05 and _some(e)]
    return (
        f"{arm}: within 5 % of their own target at every layer they explain: "
        f"{'; '.join(exact) or 'none'}."
    )


def _some(errors: Sequence[float]) -> bool:
    return not np.all(np.isnan(errors))


def _wrong(found: Found, arm: str) -> str:
    repeats = found[arm]
    exact = tables.integrated_of(repeats[0].measured)
    parts = []
    for name in BASELINES[1:]:
        own, common = (
            np.mean(stats.over_seeds(repeats, exact, INPUT, number, baseline=name))
            for number in (stats.own_error, stats.common_error)
        )
        parts.append(f"{name} {own:.3f} and {common:.2f}")
    return (
        f"{arm}: a map judged against another baseline than its own looks wrong. Error "
        f"of {exact} against its own baseline and against {COMMON!r}: "
        f"{'; '.join(parts)}."
    )


def _neutral(found: Found, arm: str) -> str:
    nats = {
        name: float(np.mean([r.measured.neutrality[name] for r in found[arm]]))
        for name in BASELINES
    }
    order = sorted(nats, key=lambda name: nats[name])
    return (
        f"{arm}: the most neutral baseline is {order[0]!r}, {nats[order[0]]:.2f} nats "
        f"from equal shares; {order[-1]!r} is {nats[order[-1]]:.2f} away, and the same "
        f"image without its digit {nats[COMMON]:.2f}."
    )


def _apart(found: Found) -> str:
    parts = "; ".join(
        f"{arm} {stats.cell(tables.disagreement(repeats), digits=2)}"
        for arm, repeats in found.items()
    )
    return (
        "How much the choice of a baseline matters, by the median error of integrated "
        f"gradients against the baselines of others: {parts}."
    )


def _convergence(found: Found, arm: str) -> str:
    errors = {
        rule: np.mean([r.measured.convergence[INPUT][rule] for r in found[arm]], axis=0)
        for rule in convergence.RULES
    }
    count = len(errors["left"])
    at = min(count - 1, 5)
    counts = tuple(2**n for n in range(count))
    parts = ", ".join(f"{rule} {e[at]:.2g}" for rule, e in errors.items())
    slope = convergence.slope(errors["midpoint"], counts)
    tail = (
        "" if np.isnan(slope) else f" The midpoint's falls like n to the {slope:.2f}."
    )
    return f"{arm}: error of {counts[at]} points at the input, {parts}.{tail}"


def _limit(found: Found, arm: str) -> str:
    """What the metric cannot see."""
    repeats = found[arm]
    exact = tables.integrated_of(repeats[0].measured)
    area = np.mean([r.measured.area.mean() for r in repeats])
    ask = lambda method, layer, number: _mean(
        found, arm, method, layer, number, baseline="zeros"
    )
    inside = ask(exact, INPUT, stats.energy)
    # From 'no digit' the difference is 0 outside of the box, whatever the method.
    pairs = [
        (
            ask(method, layer, stats.own_error),
            ask(method, layer, stats.energy),
        )
        for method in stats.methods_of(repeats[0].measured)
        for layer in LAYERS
    ]
    kept = np.array([pair for pair in pairs if not np.isnan(pair).any()])
    ranks = kept.argsort(axis=0).argsort(axis=0)
    together = float("nan")
    if len(kept) > 2:
        together = float(np.asarray(np.corrcoef(ranks.T))[0, 1])
    return (
        "The limit of the measure: noise, rescaled to the target, has error 0 and "
        f"puts {area:.2f} of itself into the box, as much as the box is large; {exact} "
        f"from 'zeros' puts {inside:.2f} there. Over all methods and layers of {arm} "
        f"own error and energy in the box have a rank correlation of {together:+.2f}."
    )


def _photographs(found: Found) -> list[str]:
    seen = next(iter(found.values()))[0].measured.photographs
    if seen is None:
        return []
    texts = [seen.missing] if seen.missing else []
    if not seen.judged:
        return texts
    excess = {
        (j.method, j.layer): judging.excess(j.totals, j.own)
        for j in seen.judged
        if j.baseline in (photographs.COMMON, judging.IMPLICIT)
    }
    told = _told(excess, "more than their own target")
    return [f"EfficientNet-Lite0, {len(seen.names)} photographs: {told}.", *texts]
