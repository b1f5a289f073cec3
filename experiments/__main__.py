"""The list of experiments: question, cost and command of each."""

import importlib
import pathlib

from experiments.running import listing


def listed() -> list[listing.Entry]:
    """Every folder beside this file that holds an `experiment.py`.

    Returns:
      The experiments, by name.
    """
    here = pathlib.Path(__file__).parent
    names = sorted(path.parent.name for path in here.glob("*/experiment.py"))
    return [
        importlib.import_module(f"experiments.{name}.experiment").EXPERIMENT
        for name in names
    ]


def main() -> None:
    """Prints the list."""
    for experiment in listed():
        print(f"{experiment.name}\n  {experiment.question}\n  {experiment.cost}")
        print(f"  python -m experiments.{experiment.name}\n")


if __name__ == "__main__":
    main()
