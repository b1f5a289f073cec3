"""`experiments.running` is no command."""

import sys

if __name__ == "__main__":
    sys.exit("experiments.running is no command; `python -m experiments` lists them.")
