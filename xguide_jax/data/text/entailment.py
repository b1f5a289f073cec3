"""Entailment or not: how a model of three classes is scored in two."""

from collections.abc import Sequence

import numpy as np

# What the pairs of HANS and of `templated_probes` are labelled with.
TWO_CLASSES = ("entailment", "non-entailment")


def entailment_or_not(logits: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Predictions in the classes 'entailment' and 'non-entailment', 0 and 1.

    The class with the greatest logit is taken first, and then neutral and contradiction
    are one. Their probabilities are never added: p = (0.4, 0.3, 0.3) is entailment.

    Args:
      logits: [B, C], or any scores whose greatest is the prediction.
      class_names: C names, 'entailment' among them.

    Returns:
      int32 [B].

    Raises:
      ValueError: if `logits` are not [B, C] with a class for each name, or none of
        the classes is 'entailment'.

    Source: McCoy, Pavlick, Linzen, ACL 2019, and the instructions of its repository.
    """
    scores = np.asarray(logits)
    if scores.ndim != 2 or scores.shape[1] != len(class_names):
        raise ValueError(
            f"`logits` {scores.shape} must be [B, {len(class_names)}], a column for "
            f"each of {tuple(class_names)}."
        )
    if TWO_CLASSES[0] not in class_names:
        raise ValueError(
            f"`class_names` (={tuple(class_names)}) must contain 'entailment'."
        )
    entailed = np.argmax(scores, axis=-1) == list(class_names).index(TWO_CLASSES[0])
    return np.where(entailed, 0, 1).astype(np.int32)
