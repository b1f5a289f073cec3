"""Experiments, a folder each; `python -m experiments` lists them."""

import pathlib
import sys


def _refuse_what_is_no_command() -> None:
    """`python -m` of a module that has nothing to run would end without a word."""
    name = sys.orig_argv[sys.orig_argv.index("-m") + 1]
    path = pathlib.Path(__file__).parents[1] / f"{name.replace('.', '/')}.py"
    if path.is_file() and 'if __name__ == "__main__":' not in path.read_text("utf-8"):
        sys.exit(f"{name} is no command; `python -m experiments` lists them.")


# Python sets this name only while it looks for the module that `-m` is to run.
if sys.argv[0] == "-m" and "-m" in sys.orig_argv:
    _refuse_what_is_no_command()
