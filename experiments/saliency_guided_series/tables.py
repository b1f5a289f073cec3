"""The tables of saliency-guided training on series: of each setting, and of all."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.running import report, results
from experiments.saliency_guided_series import terms
from experiments.saliency_guided_series.measuring import NAMES, Measured
from experiments.saliency_guided_series.settings import Setting

Found = Mapping[str, Sequence[results.Result[Measured]]]
# {arm: a result each seed}, whose measurement is that of every setting.
Pooled = Mapping[str, Sequence[results.Result[Sequence[Measured]]]]
Get = Callable[[Measured], float]

RECOVERY = {"precision": "AUP", "recall": "AUR", "auprc": "AUPRC"}
VIEWS = ("removal", "insertion")


def recovered(explainer: str, what: str) -> Get:
    """Agreement with the true cells, averaged over series, 0 where undefined.

    Args:
      explainer: its name.
      what: of `RECOVERY`.

    Returns:
      What a column shows of a measurement.
    """
    return lambda m: getattr(m.recovery[explainer], what).summary.mean_or_zero


def gap(explainer: str, view: str) -> Get:
    """By how much a map beats random orders of the same network.

    Args:
      explainer: its name.
      view: 'removal' or 'insertion'.

    Returns:
      What a column shows of a measurement; an unranked series counts as 0.
    """
    return lambda m: (
        getattr(m.removal.maps[explainer]["data range"], view).gap.mean_or_zero
    )


def average(get: Get) -> Callable[[Sequence[Measured]], float]:
    """The mean over settings.

    Args:
      get: of one setting.

    Returns:
      What a column shows of the measurements of all settings.
    """
    return lambda every: float(np.mean([get(measured) for measured in every]))


def settings_of(found: Found) -> list[Setting]:
    """The settings of a run, in its order."""
    return list(dict.fromkeys(r[0].measured.setting for r in found.values()))


def within(found: Found, setting: Setting) -> Found:
    """The arms of one setting by their own names."""
    return {
        repeats[0].arm.term: repeats
        for repeats in found.values()
        if repeats[0].measured.setting == setting
    }


def pooled(found: Found, settings: Sequence[Setting]) -> Pooled:
    """Each arm and seed in all settings together.

    Args:
      found: results of all arms.
      settings: which are pooled; all have the same arms.

    Returns:
      {arm: a result each seed}; speed is the mean one.
    """
    of_each = [within(found, setting) for setting in settings]
    return {
        arm: [
            results.Result(
                of_seed[0].arm,
                of_seed[0].seed,
                of_seed[0].num_steps,
                float(np.mean([one.images_per_second for one in of_seed])),
                [one.measured for one in of_seed],
            )
            for of_seed in zip(*(arms[arm] for arms in of_each), strict=True)
        ]
        for arm in of_each[0]
    }


def knows_cells(found: Found) -> bool:
    """Whether the sets of a run were planted."""
    return settings_of(found)[0].train_file is None


def make_tables(found: Found) -> dict[str, report.Rows]:
    """The tables of the report.

    Args:
      found: results of all arms.

    Returns:
      {caption: rows}.
    """
    settings = settings_of(found)
    groups = {f"all {len(settings)} networks and sets": settings}
    for network in dict.fromkeys(setting.network for setting in settings):
        own = [setting for setting in settings if setting.network == network]
        if len(own) < len(settings):
            groups[f"{network}, {len(own)} sets"] = own
    made: dict[str, report.Rows] = {}
    for name, group in groups.items():
        every = pooled(found, group)
        made[f"Mean over {name}"] = report.table(_means(found), every)
        for reference in (terms.UNGUIDED, terms.RANDOM):
            if reference in every:
                rows = report.table(
                    _differences(found, reference), every, without=[reference]
                )
                made[f"Minus the {reference} arm, paired by seed, {name}"] = rows
    made["Test accuracy"] = _by_setting(found, {"": lambda m: m.accuracy})
    for what, caption in RECOVERY.items() if knows_cells(found) else ():
        gets = {text: recovered(name, what) for name, text in NAMES.items()}
        made[f"{caption} of the true cells"] = _by_setting(found, gets)
    for view in VIEWS:
        gets = {text: gap(name, view) for name, text in NAMES.items()}
        made[f"Gap of {view} to random orders"] = _by_setting(found, gets)
    return made


def _means(found: Found) -> list[report.Column]:
    known = knows_cells(found)
    validation = [report.mean("validation", average(lambda m: m.validation or 0.0))]
    return [
        report.mean("test", average(lambda m: m.accuracy)),
        *(validation if known else ()),
        *(
            report.mean(f"{text}, {what}", average(get))
            for what, of in _headline(known).items()
            for text, get in of.items()
        ),
        report.speed(),
    ]


def _headline(known: bool) -> dict[str, dict[str, Get]]:
    """What is compared: {what: {explainer: number}}."""
    made = {
        caption: {text: recovered(name, what) for name, text in NAMES.items()}
        for what, caption in (RECOVERY.items() if known else ())
    }
    return {**made, "gap": {text: gap(name, "removal") for name, text in NAMES.items()}}


def _differences(found: Found, reference: str) -> list[report.Column]:
    gets = {"test": lambda m: m.accuracy}
    for what, of in _headline(knows_cells(found)).items():
        gets |= {f"{text}, {what}": get for text, get in of.items()}
    return [_difference(title, reference, get) for title, get in gets.items()]


def _difference(title: str, reference: str, get: Get) -> report.Column:
    """The mean difference with its interval, and in how many settings it is above 0."""

    def cell(every: Mapping[str, results.Repeats[Any]], arm: str) -> str:
        text = results.versus(every, arm, reference, average(get))
        numbers = [
            np.array([[get(m) for m in result.measured] for result in every[name]])
            for name in (arm, reference)
        ]
        above = (numbers[0] - numbers[1]).mean(axis=0) > 0
        return f"{text}; above in {above.sum()} of {len(above)}"

    return report.Column(title, cell)


def _by_setting(found: Found, gets: Mapping[str, Get]) -> report.Rows:
    """A row a setting and explainer, a column an arm."""
    rows = []
    for setting in settings_of(found):
        arms = within(found, setting)
        share = next(iter(arms.values()))[0].measured.true_cells
        for explainer, get in gets.items():
            row: dict[str, object] = {"network and set": setting.name}
            if explainer:
                row["map"] = explainer
            row |= {arm: results.mean(repeats, get) for arm, repeats in arms.items()}
            if share is not None and explainer:
                row["share of true cells"] = share
            rows.append(row)
    return rows
