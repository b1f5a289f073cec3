"""Lists the benchmarks.

Command: python -m experiments.benchmarks
"""

import ast
import pathlib

from experiments import benchmarks


def main() -> None:
    """Prints each benchmark's command under its first line."""
    benchmarks.begin(__doc__)
    for name in (*benchmarks.NAMES, "race"):
        # Read and not imported: jax alone takes a second.
        place = pathlib.Path(__file__).with_name(name)
        file = place / "__main__.py" if place.is_dir() else place.with_suffix(".py")
        doc = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
        print(f"{doc.splitlines()[0]}\n    python -m experiments.benchmarks.{name}")


if __name__ == "__main__":
    main()
