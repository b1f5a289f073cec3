"""`python -m experiments.robust_explanations`: trains, measures and reports."""

from experiments.robust_explanations.experiment import EXPERIMENT
from experiments.running import command

if __name__ == "__main__":
    command.main(EXPERIMENT)
