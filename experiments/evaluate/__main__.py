"""`python -m experiments.evaluate`: measures maps and writes a page."""

from experiments.evaluate import experiment

if __name__ == "__main__":
    experiment.main()
