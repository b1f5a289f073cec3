"""The flags of the experiments on texts, and which of them are refused."""

import dataclasses
import os
import pathlib
from typing import Literal

from experiments.running import flags
from xguide_jax import models

# By model; a pretrained network forgets at the rate that one from scratch needs.
_RATES = {"small": 2e-3, "minilm": 1e-4}
_FEVER_LENGTH = 128
# What the marks of a corpus are, in a summary.
MARKED = {
    "templated": "the words that the templates know to decide",
    "esnli": "the words that two of three explanations mention; nobody highlighted any",
    "fever": "the sentences that people marked as evidence",
}


@dataclasses.dataclass(frozen=True)
class TextConfig(flags.RunConfig):
    """Flags of the experiments on texts."""

    dataset: Literal["templated", "esnli", "fever"] = "templated"
    """templated: inference pairs made here; esnli, fever: files in --data-dir."""
    model: Literal["small", "minilm"] = "small"
    """small: two layers, from scratch; minilm: MiniLM, which a package holds, of which
    the top two layers are trained."""
    data_dir: pathlib.Path | None = None
    """Folder of data sets; $XGUIDE_DATA if left out."""
    hard: pathlib.Path | None = None
    """Beside esnli, a file as SNLI has them that is one more test: SNLI-hard."""
    hans: pathlib.Path | None = None
    """Beside esnli, the file of HANS, whose heuristics are probed."""
    learning_rate: float | None = None
    """Of Adam; 2e-3 for small and 1e-4 for minilm if left out."""
    max_length: int = 32
    """Tokens a text or pair; longer ones are cut, and counted."""
    num_train: int = 6000
    """Training pairs at most."""
    num_evaluated: int = 256
    """Test pairs that are explained."""
    artefact_rate: float = 0.9
    """How often the cue of a templated training pair is that of its class."""
    counterexample_rate: float = 0.1
    """How many templated training pairs, of those without a contradiction, contradict
    a heuristic of the probes; with none, words of the probes are unknown."""


def check(config: TextConfig) -> None:
    """Refuses flags that cannot be met.

    Args:
      config: the flags.

    Raises:
      ValueError: naming the flag, its value and the rule.
    """
    rate = learning_rate(config)
    if not 0 < rate < float("inf"):
        raise ValueError(f"`learning_rate` (={rate}) must be positive and finite.")
    flags.check_at_least(config, max_length=8, num_evaluated=1)
    flags.check_at_least(config, num_train=config.batch_size)
    flags.check_fractions(config, "artefact_rate", "counterexample_rate")
    if config.dataset != "templated":
        folder_of(config)
    if config.dataset == "fever" and config.max_length < _FEVER_LENGTH:
        raise ValueError(
            f"`max_length` (={config.max_length}) must be at least {_FEVER_LENGTH} "
            "with --dataset fever: of shorter texts most marks are cut off."
        )
    for name in ("hard", "hans"):
        path = getattr(config, name)
        if path and config.dataset != "esnli":
            raise ValueError(f"--{name} (={path}) goes with --dataset esnli alone.")
        if path and not path.is_file():
            raise ValueError(f"--{name} (={path}) must be a file.")
    if config.model == "minilm":
        models.packaged_minilm()


def learning_rate(config: TextConfig) -> float:
    """The rate of Adam.

    Args:
      config: the flags.

    Returns:
      As the flag says, or that of the model.
    """
    given = config.learning_rate
    return _RATES[config.model] if given is None else given


def folder_of(config: TextConfig) -> pathlib.Path:
    """The folder of data sets.

    Args:
      config: the flags.

    Returns:
      Its path.

    Raises:
      ValueError: if neither the flag nor $XGUIDE_DATA says where it is.
    """
    folder = config.data_dir or os.environ.get("XGUIDE_DATA")
    if not folder:
        raise ValueError(
            f"--dataset {config.dataset} needs --data-dir or $XGUIDE_DATA."
        )
    return pathlib.Path(folder)
