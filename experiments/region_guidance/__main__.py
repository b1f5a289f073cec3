"""`python -m experiments.region_guidance`: trains, measures and reports."""

from experiments.region_guidance.experiment import EXPERIMENT
from experiments.running import command

if __name__ == "__main__":
    command.main(EXPERIMENT)
