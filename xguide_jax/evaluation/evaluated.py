"""What `evaluate` found, as records."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xguide_jax.evaluation import (
    chance,
    completeness,
    groups,
    presenting,
    summary,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class MapNumbers(NamedTuple):
    """One map's means over a set of examples.

    Attributes:
      gaps: {fill: by how much its order beats random ones, in both views}, higher is
        better, in units of correctness.
      localisation: {metric: its mean}; empty without annotations.
      complexity: {metric: its mean}.
      attribution_error: Σ |Σ A − (f(x) − f(b))| / Σ |f(x) − f(b)|, or None without a
        baseline.
    """

    gaps: dict[str, chance.Views[summary.Summary]]
    localisation: dict[str, summary.Summary]
    complexity: dict[str, summary.Summary]
    attribution_error: completeness.Completeness | None


class MapEvaluation(NamedTuple):
    """One map.

    Attributes:
      numbers: over all examples.
      by_group: the same of each group; empty without groups.
      against_chance: {fill: its curves beside chance, in both views}.
      rows: {metric of localisation or complexity: float [N]}, NaN where undefined.
    """

    numbers: MapNumbers
    by_group: tuple[MapNumbers, ...]
    against_chance: dict[str, chance.Views[chance.AgainstChance]]
    rows: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Maps of one network, measured. It prints as a table, in a notebook too.

    Attributes:
      maps: {map: what was measured of it}, in the order given.
      control: random values in place of a map; without gaps, which are to them.
      accuracy: of the intact inputs.
      groups: accuracy by group, or None.
      curves: of each example, and of chance, with the fills that all maps share.
      fractions: of the positions, removed or inserted.
      num_examples: N.
    """

    maps: dict[str, MapEvaluation]
    control: MapNumbers
    accuracy: summary.Summary
    groups: groups.GroupAccuracy | None
    curves: chance.Curves
    fractions: tuple[float, ...]
    num_examples: int

    @property
    def fills(self) -> list[str]:
        """Those that all maps were measured with."""
        return list(self.curves.chance)

    def __str__(self) -> str:
        return presenting.text_of(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return presenting.html_of(self)

    def to_dict(self) -> dict[str, Any]:
        """Every number but those of single examples, as JSON takes it.

        Returns:
          Nested dicts and lists of plain values; None where undefined.
        """
        return presenting.dict_of(self)

    def figure(self, *, fill: str | None = None, view: str = "removal") -> "Figure":
        """The curves of all maps and of chance, with bands over the examples.

        Args:
          fill: one of those all maps were measured with; the first where left out.
          view: 'removal' or 'insertion'.

        Returns:
          A Matplotlib figure; needs `xguide_jax[experiments]`.
        """
        return presenting.figure_of(self, fill=fill, view=view)

    def report(
        self, path: str | os.PathLike[str], *, title: str = "Evaluation of maps"
    ) -> pathlib.Path:
        """One page with findings, figures and tables, that needs nothing else.

        Args:
          path: of the HTML file.
          title: of the page.

        Returns:
          `path`; needs `xguide_jax[experiments]`.
        """
        return presenting.report_of(self, path, title=title)


def summed_up(
    rows: Any,
    *,
    names: Sequence[str],
    fills: Sequence[str],
    groups: np.ndarray | None,
    fractions: tuple[float, ...],
) -> Evaluation:
    """The numbers of all examples.

    Args:
      rows: `measuring.Rows` of N examples, on the host.
      names: of the maps, in their order.
      fills: names, in their order.
      groups: int [N], or None.
      fractions: of the curves.

    Returns:
      An `Evaluation`.
    """
    # Trees sort the keys of a dict.
    curves = chance.Curves(
        {
            name: {fill: rows.curves.maps[name][fill] for fill in fills}
            for name in names
        },
        {fill: rows.curves.chance[fill] for fill in fills},
    )
    against = chance.compare_with_chance(curves, fractions=fractions).maps
    members = [] if groups is None else [groups == g for g in range(groups.max() + 1)]
    every = np.ones(len(rows.correct), bool)
    maps = {}
    for name in names:
        found = rows.maps[name]
        if found.own is not None:
            own = chance.compare_with_chance(found.own, fractions=fractions)
            against[name] |= own.maps[name]
        maps[name] = MapEvaluation(
            numbers=_numbers(found, against[name], every),
            by_group=tuple(_numbers(found, against[name], each) for each in members),
            against_chance=against[name],
            rows={**found.localisation, **found.complexity},
        )
    return Evaluation(
        maps=maps,
        control=_numbers(rows.control, {}, every),
        accuracy=summary.summarise(rows.correct),
        groups=None if groups is None else _accuracy(rows.correct, groups),
        curves=curves,
        fractions=fractions,
        num_examples=len(rows.correct),
    )


def _accuracy(correct: np.ndarray, in_groups: np.ndarray) -> groups.GroupAccuracy:
    num_groups = int(in_groups.max()) + 1
    return groups.accuracy_by_group(correct, in_groups, num_groups=num_groups)


def _numbers(
    found: Any,
    against: dict[str, chance.Views[chance.AgainstChance]],
    chosen: np.ndarray,
) -> MapNumbers:
    """The means over the chosen examples, bool [N]."""
    mean = lambda values: summary.summarise(values[chosen])
    return MapNumbers(
        gaps={
            fill: chance.Views(mean(views.removal.rows), mean(views.insertion.rows))
            for fill, views in against.items()
        },
        localisation={name: mean(rows) for name, rows in found.localisation.items()},
        complexity={name: mean(rows) for name, rows in found.complexity.items()},
        attribution_error=(
            None
            if found.gap is None or found.target is None
            else completeness.completeness_of(found.gap[chosen], found.target[chosen])
        ),
    )
