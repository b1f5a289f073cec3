"""`python -m experiments.saliency_guided_series`: trains, measures and reports."""

from experiments.running import command
from experiments.saliency_guided_series.experiment import EXPERIMENT

if __name__ == "__main__":
    command.main(EXPERIMENT)
