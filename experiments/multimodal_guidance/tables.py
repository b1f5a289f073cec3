"""The tables of multimodal guidance, each a list of columns."""

from collections.abc import Callable, Mapping, Sequence

from experiments.digits import explaining
from experiments.multimodal_guidance import sources, telling, terms
from experiments.multimodal_guidance.measuring import Measured
from experiments.running import report, results, undefined
from experiments.running.scored import Scored

Found = Mapping[str, Sequence[results.Result[Measured]]]

JUDGE = explaining.EXPLAINERS[-1]
LONG = {
    "grad_cam": "Grad-CAM",
    "gradient": "gradient",
    "integrated_gradients": "integrated gradients",
}
_NAN = float("nan")


def worst(measured: Measured) -> float:
    """Worst-group accuracy.

    Args:
      measured: of one network.

    Returns:
      In [0, 1].
    """
    return measured.accuracies.worst_group


def energy(measured: Measured) -> float:
    """Energy of integrated gradients in the box, 0 where a map is undefined.

    Args:
      measured: of one network.

    Returns:
      In [0, 1].
    """
    return measured.localisation[JUDGE].box.mean_or_zero


def without_texts(found: Found, name: str) -> str | None:
    """The arm with the same maps and no texts.

    Args:
      found: results of all arms.
      name: of the arm.

    Returns:
      Its name, the unguided one where there are no maps; None for an arm without texts,
      and for one that is not among the results.
    """
    arm = found[name][0].arm
    if terms.telling_of(arm) is None:
        return None
    percent = sources.percent_of(arm.annotation)
    wanted = f"visual@{percent:g}" if percent else terms.UNGUIDED
    return wanted if wanted in found else None


def control_of(found: Found, name: str) -> str | None:
    """The arm of the same terms and share of maps, with maps or texts of other images.

    Args:
      found: results of all arms.
      name: of the arm.

    Returns:
      Its name; None where there is none, and for an unguided arm.
    """
    arm = found[name][0].arm
    if arm.weight is None:
        return None
    wanted = [f"{name}-{control}" for control in sources.SHUFFLED]
    return next((control for control in wanted if control in found), None)


def accuracies(found: Found) -> list[report.Column]:
    """Worst group, averages and F1, beside the references.

    Args:
      found: results of all arms.

    Returns:
      Columns.
    """
    columns = [
        report.mean("worst group", worst),
        report.mean("group balanced", lambda m: m.accuracies.group_balanced),
        report.mean("macro F1", lambda m: m.macro_f1),
        report.mean("in distribution", lambda m: m.accuracies.in_distribution),
        report.minus("worst group, minus unguided", terms.UNGUIDED, worst),
        report.minus("worst group, minus the arm without texts", without_texts, worst),
        report.minus("worst group, minus its control", control_of, worst),
        report.mean("validation", lambda m: m.accuracies.validation),
        report.speed(),
    ]
    return columns


def looking() -> list[report.Column]:
    """Where the network looks: energy in the box, IoU, and beside the references.

    Returns:
      Columns.
    """
    of = lambda name, kind: lambda m: getattr(m.localisation[name], kind).mean
    return [
        *(report.mean(f"energy, {LONG[n]}", of(n, "box")) for n in LONG),
        report.mean("energy, undefined as 0", energy),
        *(report.mean(f"IoU, {LONG[n]}", of(n, "iou")) for n in LONG),
        report.minus("energy, minus unguided", terms.UNGUIDED, energy),
        report.minus("energy, minus the arm without texts", without_texts, energy),
        report.minus("energy, minus its control", control_of, energy),
    ]


def texts() -> list[report.Column]:
    """What the texts are worth, beside those of people.

    Returns:
      Columns.
    """
    mean: Callable[[str], Callable[[telling.Told], float]] = lambda name: (
        lambda told: getattr(told, name).summary.mean
    )
    return [
        _told("BLEU-4", lambda told: told.bleu),
        _told("ROUGE-L", mean("rouge")),
        _told("CIDEr-D", mean("cider")),
        _told("METEOR, exact", mean("meteor")),
        _told("different word pairs", lambda told: told.distinct),
        _told("names the predicted class", mean("names_prediction")),
    ]


def grounding() -> list[report.Column]:
    """How much of a text hangs on the map.

    Returns:
      Columns.
    """
    of: Callable[[str], Callable[[telling.Told], Scored]] = lambda name: (
        lambda told: getattr(told, name)
    )
    cost = lambda get: lambda told: get(told).summary.mean
    return [
        _told("nats a token, own map", cost(of("cost"))),
        _told("map of another image", cost(of("cost_shuffled"))),
        _told("map that says nothing", cost(of("cost_uniform"))),
        _told("grounding gap", cost(telling.gap)),
    ]


def undefined_counts(found: Found) -> dict[str, int]:
    """How often an image has no prediction, or a map no number.

    Args:
      found: results of all arms.

    Returns:
      {'arm: what is lacking': count}.
    """
    none: dict[str, results.Get[Measured]] = {
        "images without a prediction": lambda m: m.accuracies.num_undefined
    }
    count = lambda name, kind: (
        lambda m: getattr(m.localisation[name], kind).num_undefined
    )
    for kind, text in {"box": "an energy", "iou": "an IoU"}.items():
        for name, long in LONG.items():
            none[f"maps without {text} by {long}"] = count(name, kind)
    return undefined.counts(found, none)


def _told(title: str, get: Callable[[telling.Told], float]) -> report.Column:
    """A column of arms that write; a dash for the others."""

    def cell(found: Found, arm: str) -> object:
        if found[arm][0].measured.told is None:
            return "-"
        value: results.Get[Measured] = lambda m: _NAN if m.told is None else get(m.told)
        return results.mean(found[arm], value)

    return report.Column(title, cell)
