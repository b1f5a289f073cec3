"""Runs the experiment."""

from experiments.guide_photographs import experiment
from experiments.running import command

if __name__ == "__main__":
    command.main(experiment.EXPERIMENT)
