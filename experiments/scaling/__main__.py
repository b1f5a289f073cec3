"""`experiments.scaling` is no command."""

import sys

if __name__ == "__main__":
    sys.exit("experiments.scaling is no command; `python -m experiments` lists them.")
