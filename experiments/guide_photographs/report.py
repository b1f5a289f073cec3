"""What is said of guided photographs: findings, pictures and tables."""

import pathlib
from collections.abc import Callable
from typing import Any, Literal

from experiments.guide_photographs import choosing, counted, figures, terms
from experiments.guide_photographs.choosing import Choice, Found
from experiments.guide_photographs.figures import LONG, energy
from experiments.guide_photographs.measuring import EXPLAINERS, Measured
from experiments.running import report, results, undefined
from xguide_jax import reporting
from xguide_jax.evaluation import Summary

BEST: dict[str, Literal["max", "min"]] = {
    "worst group": "max", "backgrounds swapped": "max", "object only": "max",
    "energy in the region, integrated gradients": "max",
}  # fmt: skip
LOGGED = {
    "task": "cross-entropy (nats)",
    "guidance/unscaled": "guidance loss",
    "gradient_norm": "gradient norm",
}
RULES = {
    "composites": "the highest accuracy on validation objects before backgrounds of "
    "other classes",
    "accuracy": "of the weights whose validation accuracy is within .03 of that of "
    "the unguided network, the most energy in the region on validation photographs",
}
SUMMARY = """\
{total} photographs ({seeds}). All arms of a seed share parts, initial weights and
batches. Each term is trained with the annotation and, as its control, with random boxes
of the same size, at the same weights; of both, one weight is shown, chosen by {rule}.
The test part was not looked at for that.

'backgrounds swapped' puts test objects before the backgrounds of test photographs of
other classes, with what was drawn there filled by its mean. 'object only' and
'background only' have the rest, or the region, at the mean colour of the training
photographs: a network that is right on backgrounds alone goes by them. 'swapped' is
trained on composites of that kind, and is asked for no more: it is at home in that
test. Energy is the share of a map's positive part that lies in the region.
"""


def make_report(
    found: Found, rule: choosing.Rule, run_dir: pathlib.Path
) -> report.Report:
    """The report of a finished run.

    Args:
      found: results of all arms.
      rule: by which a weight was chosen.
      run_dir: of the run.

    Returns:
      A `report.Report`.
    """
    known = counted.read(run_dir)
    chosen = choosing.choose(found, rule, unguided=terms.UNGUIDED)
    best = choosing.only(found, chosen)
    seeds = results.seeds_text(len(next(iter(found.values()))))
    guided = [
        name
        for name in best
        if name != terms.UNGUIDED and not choosing.is_control(name)
    ]
    return report.Report(
        title="Guided photographs",
        summary=SUMMARY.format(
            total=known.classes[-1]["photographs"], seeds=seeds, rule=RULES[rule]
        ),
        findings=[*_findings(best, guided, known), *_said(chosen, known)],
        tables=_tables(found, chosen, rule, known, seeds),
        figures=figures.draw(best),
        undefined=_undefined(found),
        logged=LOGGED,
        drawn=[choice.arm for choice in chosen][:7],
        best=BEST,
        apart=[name for name in best if name not in guided],
    )


def _tables(
    found: Found,
    chosen: list[Choice],
    rule: choosing.Rule,
    known: counted.Counted,
    seeds: str,
) -> dict[str, report.Rows]:
    """What is measured of the chosen weights and of all, by the tables' titles."""
    best = choosing.only(found, chosen)
    accuracy = _accuracies(best, known)
    tables: dict[str, report.Rows] = {
        f"Accuracy ({seeds})": report.table(accuracy, best),
        f"Where networks look ({seeds})": report.table(_looking(), best),
        f"Accuracy of each class and group ({seeds})": report.table(
            _groups(best, known), best
        ),
        "Which weight was chosen": _chosen(found, chosen, rule),
        f"All weights ({seeds})": report.table(
            [*accuracy, *_looking(), *_validation()], found
        ),
        "Photographs": known.classes,
    }
    if known.problems:
        tables["What was left out"] = known.problems
    return tables


def _accuracies(best: Found, known: counted.Counted) -> list[report.Column]:
    columns = [report.mean("test", lambda m: m.test)]
    if known.group_names:
        columns.append(report.mean("worst group", lambda m: m.worst_group))
    columns += [
        report.mean("backgrounds swapped", lambda m: m.swapped),
        report.mean("object only", lambda m: m.object_only),
        report.mean("background only", lambda m: m.background_only),
    ]
    headline = _headline(known)
    return [
        *columns,
        report.minus(f"{headline[0]}, minus unguided", terms.UNGUIDED, headline[1]),
        report.minus(
            f"{headline[0]}, minus its random boxes", _control_of, headline[1]
        ),
    ]


def _headline(known: counted.Counted) -> tuple[str, Any]:
    """What guidance should raise: the worst group, where there are groups."""
    if known.group_names:
        return "worst group", lambda m: m.worst_group
    return "backgrounds swapped", lambda m: m.swapped


def _control_of(found: Found, name: str) -> str | None:
    return choosing.control_of(found, choosing.name_of(found[name][0].arm))


def _looking() -> list[report.Column]:
    means = [
        report.mean(f"energy in the region, {LONG[e]}", _energy_by(e, "mean"))
        for e in EXPLAINERS
    ]
    return [
        *means,
        *(report.as_zero(f"{LONG[e]}, undefined as 0", _by(e)) for e in EXPLAINERS),
    ]


def _by(explainer: str) -> Callable[[Measured], Summary]:
    return lambda measured: measured.energy[explainer]


def _energy_by(explainer: str, part: str) -> Callable[[Measured], float]:
    return lambda measured: getattr(measured.energy[explainer], part)


def _in_class(number: int) -> Callable[[Measured], float]:
    return lambda measured: measured.classes[number]


def _in_group(number: int) -> Callable[[Measured], float]:
    return lambda measured: measured.groups[number]


def _validation() -> list[report.Column]:
    return [
        report.mean("validation", lambda m: m.validation),
        report.mean("validation, swapped", lambda m: m.validation_swapped),
        report.mean("validation energy", lambda m: m.validation_energy.mean_or_zero),
        report.speed(),
    ]


def _groups(best: Found, known: counted.Counted) -> list[report.Column]:
    first = next(iter(best.values()))[0].measured
    columns = [
        report.mean(f"{name} (n = {count})", _in_class(number))
        for number, (name, count) in enumerate(
            zip(known.class_names, first.counts, strict=True)
        )
    ]
    pairs = [(c, g) for c in known.class_names for g in known.group_names]
    return columns + [
        report.mean(
            f"{label}, {group} (n = {first.group_counts[number]})", _in_group(number)
        )
        for number, (label, group) in enumerate(pairs)
        if first.group_counts[number]
    ]


def _chosen(
    found: Found, chosen: list[Choice], rule: choosing.Rule
) -> list[dict[str, object]]:
    title = "score" if rule == "composites" else "validation energy"
    return [
        {
            "term": choice.name,
            "weight": found[choice.arm][0].arm.weight,
            "tried": ", ".join(
                terms.weight_text(weight)
                for text in choice.tried
                if (weight := found[text][0].arm.weight) is not None
            ),
            title: choice.score,
            "note": "none kept its accuracy" if choice.fell_back else "",
        }
        for choice in chosen
        if found[choice.arm][0].arm.weight is not None
    ]


def _findings(best: Found, guided: list[str], known: counted.Counted) -> list[str]:
    numbers = {
        f"accuracy, {_headline(known)[0]}": _headline(known)[1],
        "energy of integrated gradients in the region": energy,
    }
    lines = []
    for what, get in numbers.items():
        lines += report.findings(
            best, what, get,
            guided=guided, unguided=terms.UNGUIDED, control_of=_control_of,
        )  # fmt: skip
    return [*lines, *_background(best)]


def _background(best: Found) -> list[str]:
    """One sentence: how far backgrounds alone go."""
    if terms.UNGUIDED not in best:
        return []
    unguided = best[terms.UNGUIDED]
    alone = results.mean(unguided, lambda m: m.background_only)
    test = results.mean(unguided, lambda m: m.test)
    alone, test = map(reporting.format_value, (alone, test))
    return [
        f"The unguided network is right on {test} of the test photographs, and on "
        f"{alone} with the objects hidden."
    ]


def _said(chosen: list[Choice], known: counted.Counted) -> list[str]:
    lines = [
        f"{choice.name}: no weight kept the accuracy of the unguided network; the "
        "smallest is shown."
        for choice in chosen
        if choice.fell_back
    ]
    if known.problems:
        count = len(known.problems)
        lines.append(
            f"{count} {'thing was' if count == 1 else 'things were'} left out of the "
            "photographs: see the last table."
        )
    return lines


def _undefined(found: Found) -> dict[str, int]:
    maps = {
        f"maps without energy by {LONG[e]}": _energy_by(e, "num_undefined")
        for e in EXPLAINERS
    }
    return undefined.counts(found, maps)
