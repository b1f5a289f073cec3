"""How many photographs there are, and what was left out, kept for reports."""

import pathlib
from typing import NamedTuple

import numpy as np

from experiments.guide_photographs.photographs import Photographs
from experiments.running import directory
from xguide_jax import files

_NAME = "photographs.json"
Row = dict[str, object]


class Counted(NamedTuple):
    """What a report says of the photographs.

    Attributes:
      classes: a row for each class, and one for all.
      problems: a row for each image or object that was left out.
      class_names: of the labels.
      group_names: of the groups; () where the table says none.
    """

    classes: list[Row]
    problems: list[Row]
    class_names: tuple[str, ...]
    group_names: tuple[str, ...]


def keep(run_dir: pathlib.Path, found: Photographs) -> None:
    """Writes down what `read` returns.

    Args:
      run_dir: of the run.
      found: all photographs.
    """
    outlined = found.regions.any(axis=(1, 2))
    area = found.regions.mean(axis=(1, 2))
    rows: list[Row] = []
    for name, chosen in [
        *((name, found.labels == n) for n, name in enumerate(found.class_names)),
        ("all", np.ones(len(found.labels), bool)),
    ]:
        with_region = chosen & outlined
        row: Row = {"class": name, "photographs": int(chosen.sum())}
        row |= {"with a region": int(with_region.sum())}
        row |= {"objects": int(found.boxes_valid[chosen].sum())}
        share = float(np.median(area[with_region])) if with_region.any() else None
        row |= {"region, median share of the picture": share}
        for number, group in enumerate(found.group_names):
            row |= {f"group {group}": int((chosen & (found.groups == number)).sum())}
        rows.append(row)
    problems = [
        {"file": p.file, "place": p.place, "what is wrong": p.what}
        for p in found.problems
    ]
    if found.num_clipped:
        what = (
            f"{found.num_clipped} boxes reached beyond their photographs and were cut"
        )
        problems.append({"file": "all", "place": "boxes", "what is wrong": what})
    files.write_json(
        run_dir / _NAME,
        {
            "classes": rows,
            "problems": problems,
            "class_names": list(found.class_names),
            "group_names": list(found.group_names),
        },
    )


def read(run_dir: pathlib.Path) -> Counted:
    """What `keep` has written.

    Args:
      run_dir: of a run whose photographs were read.

    Returns:
      The counts.
    """
    plain = directory.read_json(run_dir / _NAME)
    return Counted(
        plain["classes"],
        plain["problems"],
        tuple(plain["class_names"]),
        tuple(plain["group_names"]),
    )
