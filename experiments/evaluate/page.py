"""The page of a finished run: its arms side by side, map by map."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.evaluate import quantities
from experiments.evaluate.finished import Finished, Found
from experiments.running import directory, results
from xguide_jax import evaluation, files, reporting

UNGUIDED = "unguided"
CONTROL = "random values"
NUM_DRAWN = 7
SUMMARY = """\
Every arm of a finished run of {name}, with the weights that it kept: {num_examples}
images of its test part, explained as the experiment explains them ({seeds}).

A gap is by how much a map's order beats random orders of the same network on the same
images, as pixels are removed or inserted; above 0 is better than chance. Gaps of two
arms compare two networks, each beside its own chance. Differences to the unguided arm
are paired by seed, and leave out, on both sides, images of which either arm has no
number. {control!r} stand in place of a map.
"""


def write(run: Finished, found: Found, path: pathlib.Path) -> str:
    """Writes report.html, numbers.json and tables.md.

    Args:
      run: that was measured.
      found: of `finished.measure`.
      path: of the folder.

    Returns:
      What a terminal shows.
    """
    seeds = results.seeds_text(len(run.seeds))
    tables = [_accuracy(run, found, seeds)]
    tables += [_map_table(run, found, name, seeds) for name in run.subject.explain_fns]
    if UNGUIDED in found and len(found) > 1:
        tables += [_differences(found, name, seeds) for name in run.subject.explain_fns]
    first = found[run.every[0].text][0].measured
    findings = _findings(run, found)
    reporting.write_report(
        path / "report.html",
        title=f"Arms of {run.name}, evaluated",
        findings=findings,
        summary=SUMMARY.format(
            name=run.name,
            num_examples=first.num_examples,
            seeds=seeds,
            control=CONTROL,
        ),
        figures=_curves(run, found),
        tables=tables,
        config=directory.read_json(run.path / "config.json"),
        undefined=_undefined(found),
    )
    files.write_json(path / "numbers.json", _plain(run, found))
    texts = [f"{table.caption}\n\n{reporting.format_table(table)}" for table in tables]
    directory.write_bytes(path / "tables.md", "\n\n".join(texts).encode())
    shown = [tables[0], tables[1 + list(run.subject.explain_fns).index(_judge(run))]]
    return "\n\n".join(
        [
            *(f"{each.caption}\n{reporting.format_table(each)}" for each in shown),
            *findings,
        ]
    )


def _judge(run: Finished) -> str:
    return run.subject.judge


def _apart(run: Finished) -> list[str]:
    """Arms that are no competitors."""
    return [arm.text for arm in run.every if not run.subject.competes(arm)]


def _accuracies(first: evaluation.Evaluation) -> dict[str, Callable[[Any], float]]:
    """{title: evaluation of a network -> a number that is not of a map}."""
    named: dict[str, Callable[[Any], float]] = {"accuracy": lambda e: e.accuracy.mean}
    if first.groups is not None:
        named["worst group"] = lambda e: e.groups.worst
        named["group balanced"] = lambda e: e.groups.balanced
    return named


def _accuracy(run: Finished, found: Found, seeds: str) -> reporting.Table:
    titles = _accuracies(found[run.every[0].text][0].measured)
    columns = [reporting.Column("arm")]
    columns += [reporting.Column(title, best="max") for title in titles]
    rows: list[list[object]] = [
        [arm, *(results.mean(repeats, get) for get in titles.values())]
        for arm, repeats in found.items()
    ]
    if UNGUIDED in found:
        columns.append(reporting.Column(f"accuracy, minus {UNGUIDED}"))
        for row, arm in zip(rows, found, strict=True):
            row.append(results.versus(found, arm, UNGUIDED, titles["accuracy"]))
    caption = f"Accuracy of the images that are explained ({seeds})"
    return reporting.Table(caption, columns, rows, apart=_apart(run))


def _map_table(run: Finished, found: Found, name: str, seeds: str) -> reporting.Table:
    first = found[run.every[0].text]
    every = quantities.of_map(first[0].measured, name)
    not_ranked = lambda e: (
        next(iter(e.maps[name].against_chance.values())).removal.gap.num_undefined
    )
    rows: list[list[object]] = [
        [
            arm,
            *(results.mean(repeats, each.get) for each in every),
            results.total(repeats, not_ranked),
        ]
        for arm, repeats in found.items()
    ]
    rows.append(
        [
            CONTROL,
            *(each.control and results.mean(first, each.control) for each in every),
            None,
        ]
    )
    columns = [
        reporting.Column("arm"),
        *(
            reporting.Column(
                each.title,
                best=each.best,
                signed=each.signed,
                decimals=None if each.best is None else 3,
            )
            for each in every
        ),
        reporting.Column("not ranked", decimals=0),
    ]
    caption = f"{name} ({seeds})"
    return reporting.Table(caption, columns, rows, apart=[*_apart(run), CONTROL])


def _differences(found: Found, name: str, seeds: str) -> reporting.Table:
    every = [
        each
        for each in quantities.of_map(found[UNGUIDED][0].measured, name)
        if each.best is not None
    ]
    rows = [
        [
            arm,
            *(
                results.versus(found, arm, UNGUIDED, each.get, rows=each.rows)
                for each in every
            ),
        ]
        for arm in found
        if arm != UNGUIDED
    ]
    columns = [reporting.Column(title) for title in ["arm", *(e.title for e in every)]]
    return reporting.Table(f"{name}, minus {UNGUIDED} ({seeds})", columns, rows)


def _findings(run: Finished, found: Found) -> list[str]:
    guided = [arm.text for arm in run.every if run.subject.competes(arm)]
    if UNGUIDED not in found or not guided:
        return []
    name = _judge(run)
    every = quantities.of_map(found[UNGUIDED][0].measured, name)
    told = [e for e in every if e.title.startswith("removal") or e.control]
    return [
        reporting.finding(
            f"{each.title[:1].upper()}{each.title[1:]}, {name}",
            {
                arm: results.difference(
                    found[arm], found[UNGUIDED], each.get, rows=each.rows
                )
                for arm in guided
            },
            reference="the unguided arm",
        )
        for each in told
        if each.best == "max"
    ]


def _curves(run: Finished, found: Found) -> dict[str, Any]:
    """Of the first arms: more than a few lines cannot be told apart."""
    name, drawn = _judge(run), list(found)[:NUM_DRAWN]
    first = found[drawn[0]][0].measured

    def stacked(fill: str, view: str, of: Callable[[Any], Any]) -> dict[str, Any]:
        its = lambda e: getattr(e.maps[name].against_chance[fill], view)
        return {
            arm: np.stack([of(its(each.measured)) for each in found[arm]])
            for arm in drawn
        }

    return {
        f"{view.capitalize()} by {name}, {fill}; dashed: random orders of the same "
        "network": reporting.curves(
            stacked(fill, view, lambda against: against.curve),
            controls=stacked(fill, view, lambda against: against.chance.curve),
            fractions=np.asarray(first.fractions),
            x_label=f"fraction of pixels {verb}, highest first",
            y_label="accuracy",
        )
        for fill in first.fills
        for view, verb in (("removal", "removed"), ("insertion", "inserted"))
    }


def _undefined(found: Found) -> dict[str, int]:
    """{'arm: metric by map': how many values of all seeds}."""
    return {
        f"{arm}: {metric} by {name}": sum(
            int(np.isnan(each.measured.maps[name].rows[metric]).sum())
            for each in repeats
        )
        for arm, repeats in found.items()
        for name, its in repeats[0].measured.maps.items()
        for metric in its.rows
    }


def _plain(run: Finished, found: Found) -> dict[str, Any]:
    """The numbers of the tables, [S] each."""

    def of_arm(repeats: Sequence[results.Result[evaluation.Evaluation]]) -> Any:
        first = repeats[0].measured
        each_seed = lambda get: [_number(get(each.measured)) for each in repeats]
        return {
            **{title: each_seed(get) for title, get in _accuracies(first).items()},
            "maps": {
                name: {
                    each.title: each_seed(each.get)
                    for each in quantities.of_map(first, name)
                }
                for name in first.maps
            },
        }

    return {
        "experiment": run.name,
        "seeds": list(run.seeds),
        "num_examples": found[run.every[0].text][0].measured.num_examples,
        "arms": {arm: of_arm(repeats) for arm, repeats in found.items()},
    }


def _number(value: float) -> float | None:
    """As JSON has it: None where undefined."""
    return round(float(value), 5) if np.isfinite(value) else None
