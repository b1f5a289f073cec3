"""`experiments.digits` is no command."""

import sys

if __name__ == "__main__":
    sys.exit("experiments.digits is no command; `python -m experiments` lists them.")
