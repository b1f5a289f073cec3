"""`python -m experiments.attribution_baselines`: trains, explains, judges, reports."""

from experiments.attribution_baselines.experiment import EXPERIMENT
from experiments.running import command

if __name__ == "__main__":
    command.main(EXPERIMENT)
