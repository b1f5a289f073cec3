"""`python -m experiments.attention_supervision`: trains, measures and reports."""

from experiments.attention_supervision.experiment import EXPERIMENT
from experiments.running import command

if __name__ == "__main__":
    command.main(EXPERIMENT)
