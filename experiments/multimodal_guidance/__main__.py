"""`python -m experiments.multimodal_guidance`: trains, measures and reports."""

from experiments.multimodal_guidance.experiment import EXPERIMENT
from experiments.running import command

if __name__ == "__main__":
    command.main(EXPERIMENT)
