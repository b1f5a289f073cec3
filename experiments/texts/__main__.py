"""`experiments.texts` is no command."""

import sys

if __name__ == "__main__":
    sys.exit("experiments.texts is no command; `python -m experiments` lists them.")
