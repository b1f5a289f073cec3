"""The files of a report, and the few lines of it that go to the terminal."""

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from experiments.running import (
    directory,
    records,
    results,
    tensorboard,
    terminal,
    training_figure,
    undefined,
)
from xguide_jax import files, reporting

_PRINTED = 2  # texts that go to the terminal

Rows = Sequence[Mapping[str, object]]
# {file name: (caption, figure)}
Figures = Mapping[str, tuple[str, Any]]


class Column(NamedTuple):
    """A column of a table of arms, as data.

    Attributes:
      title: its head.
      cell: (results, arm) -> number or text.
    """

    title: str
    cell: Callable[[Mapping[str, results.Repeats[Any]], str], object]


class Report(NamedTuple):
    """What an experiment says of its results.

    Attributes:
      title: of the page.
      summary: paragraphs separated by empty lines: what was done, and how to read it.
      findings: sentences made from the numbers.
      tables: {caption: rows}; the first goes to the terminal.
      figures: {file name: (caption, figure)}.
      undefined: {what: how many values of it are undefined}.
      logged: {name in the log: text for its axis}, drawn over the steps.
      drawn: the arms whose log is drawn; all if empty.
      best: {title of a column: 'max' or 'min'}, where the best arm is marked.
      apart: arms that do not compete: unguided ones, limits, random controls.
      texts: {caption: texts with a score on each word, of `reporting.token_marks`}; the
        page shows them, and texts.txt beside it.
    """

    title: str
    summary: str
    findings: Sequence[str]
    tables: Mapping[str, Rows]
    figures: Figures
    undefined: Mapping[str, int]
    logged: Mapping[str, str]
    drawn: Sequence[str] = ()
    best: Mapping[str, Literal["max", "min"]] = {}
    apart: Sequence[str] = ()
    texts: Mapping[str, reporting.TokenMarks] = {}


def table(
    columns: Sequence[Column],
    found: Mapping[str, results.Repeats[Any]],
    *,
    without: Sequence[str] = (),
) -> list[dict[str, object]]:
    """A row an arm.

    Args:
      columns: what is shown of each.
      found: results of all arms.
      without: arms that have no row.

    Returns:
      {title: cell}, 'arm' first.
    """
    return [
        {"arm": arm, **{column.title: column.cell(found, arm) for column in columns}}
        for arm in found
        if arm not in without
    ]


def mean(title: str, get: results.Get[Any]) -> Column:
    """A column of means over seeds.

    Args:
      title: its head.
      get: what is shown of a measurement.

    Returns:
      A `Column`.
    """
    return Column(title, lambda found, arm: results.mean(found[arm], get))


def total(title: str, get: results.Get[Any]) -> Column:
    """A column of counts of all seeds together.

    Args:
      title: its head.
      get: the count of a measurement.

    Returns:
      A `Column`.
    """
    return Column(title, lambda found, arm: results.total(found[arm], get))


def as_zero(title: str, get: Callable[[Any], Any]) -> Column:
    """A column of means with 0 for what is undefined, and how much that is.

    Args:
      title: its head.
      get: the `evaluation.Summary` of a measurement.

    Returns:
      A `Column`.
    """
    return Column(title, lambda found, arm: results.as_zero(found[arm], get))


def minus(
    title: str,
    reference: str | Callable[[Mapping[str, results.Repeats[Any]], str], str | None],
    get: results.Get[Any],
    *,
    rows: Callable[[Any], np.ndarray] | None = None,
) -> Column:
    """A column of differences to a reference, paired by seed.

    Args:
      title: its head.
      reference: an arm, or (results, arm) -> the arm it is compared with, None for
        none.
      get: what is compared.
      rows: as for `results.difference`.

    Returns:
      A `Column`; a dash where there is no reference.
    """

    def cell(found: Mapping[str, results.Repeats[Any]], arm: str) -> str:
        other = reference if isinstance(reference, str) else reference(found, arm)
        if other not in found or other is None:
            return "-"
        return results.versus(found, arm, other, get, rows=rows)

    return Column(title, cell)


def speed() -> Column:
    """A column of images a second.

    Returns:
      A `Column`.
    """
    return Column(
        "images/s",
        lambda found, arm: results.mean_of([r.images_per_second for r in found[arm]]),
    )


def findings(
    found: results.Results[Any],
    what: str,
    get: results.Get[Any],
    *,
    guided: Sequence[str],
    unguided: str | Callable[[Mapping[str, results.Repeats[Any]], str], str | None],
    control_of: Callable[[Mapping[str, results.Repeats[Any]], str], str | None],
    rows: Callable[[Any], np.ndarray] | None = None,
) -> list[str]:
    """What came out, in a sentence: the best guided arm, and what it is worth.

    Where guidance harms, that is said, and not that some guided arm is the highest.

    Args:
      found: results of all arms.
      what: is compared, in words.
      get: what is compared; higher is better.
      guided: the arms among which the best is named.
      unguided: the arm that all are compared with, or (results, arm) -> that arm.
      control_of: (results, arm) -> the arm guided at random; None for none.
      rows: as for `results.difference`.

    Returns:
      One sentence; none without a guided arm or without the unguided one.
    """
    score = lambda arm: results.defined_mean(results.values(found[arm], get))
    best = max(guided, key=score, default="")
    other = unguided(found, best) if best and callable(unguided) else unguided
    if not best or not isinstance(other, str) or other not in found:
        return []
    control = control_of(found, best)
    against = {
        name: results.versus(found, best, name, get, rows=rows)
        for name in (other, control)
        if name in found and name is not None
    }
    seeds = len(found[best])
    claim = "One seed: no claim." if seeds == 1 else f"Paired over {seeds} seeds."
    value = reporting.format_value(results.mean(found[best], get))
    gain = results.difference(found[best], found[other], get, rows=rows).value
    if gain < 0:
        text = (
            f"{sentence(what)}: no guided arm is above {other}; the nearest, "
            f"{best}, is {-gain:.3f} below, at {value}"
        )
        if seeds == 1:
            del against[other]
    else:
        text = f"{sentence(what)} is highest for {best} among the guided arms: {value}"
    differences = [f"{number} against {name}" for name, number in against.items()]
    if differences:
        text += f", {' and '.join(differences)}"
    return [f"{text}. {claim}"]


def sentence(text: str) -> str:
    """The text with a capital at its beginning; `str.capitalize` makes IoU 'iou'.

    Args:
      text: of any length.

    Returns:
      The text.
    """
    return text[:1].upper() + text[1:]


def write(run: directory.Run, found: results.Results[Any], report: Report) -> None:
    """Writes metrics.json, tables.md, figures and report.html, and prints a summary.

    Where there are texts, texts.txt has them for a terminal.

    Args:
      run: a run of which every arm and seed is finished.
      found: what was measured.
      report: what the experiment says of it.
    """
    drawn = report.drawn or found
    logged = training_figure.training_figure(run, drawn, report.logged)
    figures = {
        **report.figures,
        "training": ("Training", logged),
    }
    pngs = {name: reporting.to_png(figure) for name, (_, figure) in figures.items()}
    for name, png in pngs.items():
        directory.write_bytes(run.path / "figures" / f"{name}.png", png)
    with tensorboard.writer(run, "report") as board:
        for name, (_, figure) in figures.items() if board else ():
            board.add_figure(name, figure, run.config.num_steps, close=False)
    plain = {arm: [records.encode(r)[0] for r in rs] for arm, rs in found.items()}
    files.write_json(run.path / "metrics.json", plain)
    tables = [_marked(name, rows, report) for name, rows in report.tables.items()]
    reporting.write_report(
        run.path / "report.html",
        title=report.title,
        findings=report.findings,
        summary=report.summary,
        tables=tables,
        figures={caption: pngs[name] for name, (caption, _) in figures.items()},
        texts=report.texts,
        config=directory.read_json(run.path / "config.json"),
        undefined={**report.undefined, **undefined.seeds_without(plain)},
    )
    texts = [f"{table.caption}\n\n{reporting.format_table(table)}" for table in tables]
    directory.write_bytes(run.path / "tables.md", "\n\n".join(texts).encode())
    if report.texts:
        marked = [f"{caption}\n\n{marks}" for caption, marks in report.texts.items()]
        directory.write_bytes(run.path / "texts.txt", "\n\n".join(marked).encode())
    where = f"All tables and figures: {run.path / 'report.html'}"
    few = [
        marks._replace(texts=marks.texts[:_PRINTED])
        for marks in list(report.texts.values())[:1]
    ]
    colour = terminal.has_colour(sys.stdout)
    printed = [marks.text(colour=colour) for marks in few]
    print("", *texts[:1], *printed, *report.findings, where, sep="\n\n")


def _marked(caption: str, rows: Rows, report: Report) -> reporting.Table:
    table = reporting.table_of(caption, rows)
    columns = [
        dataclasses.replace(column, best=report.best.get(column.title))
        for column in table.columns
    ]
    return dataclasses.replace(table, columns=columns, apart=report.apart)
