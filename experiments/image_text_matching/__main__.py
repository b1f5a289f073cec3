"""`python -m experiments.image_text_matching`: trains, measures and reports."""

from experiments.image_text_matching.experiment import EXPERIMENT
from experiments.running import command

if __name__ == "__main__":
    command.main(EXPERIMENT)
