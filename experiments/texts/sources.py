"""Texts as tokens, by the flags: training, validation, tests and probes of a seed."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from experiments.running import flags
from experiments.texts import corpora
from experiments.texts.options import TextConfig
from xguide_jax import data, models

HEURISTICS = ("lexical_overlap", "subsequence", "constituent")
GOLD = ("entailment", "non-entailment")


class Parts(NamedTuple):
    """The data of one seed.

    Attributes:
      train: what arms are trained on.
      validation: like it; what a choice may see.
      tests: {name: a test set}, the one like training first.
      probes: pairs with 'heuristic' and 'gold', numbers in `HEURISTICS` and `GOLD`, of
        which the labels are 0 or 1: of an entailment or not; None where there are none.
      tokenizer: of the package tokenizers.
      texts: the corpus of the first test, in its order by 'row'.
      counts: {part: what became of its texts as tokens}.
    """

    train: data.Dataset
    validation: data.Dataset
    tests: dict[str, data.Dataset]
    probes: data.Dataset | None
    tokenizer: Any
    texts: data.Corpus
    counts: dict[str, data.TokenCounts]

    @property
    def test(self) -> data.Dataset:
        """The test that is like training."""
        return next(iter(self.tests.values()))


def make_parts(config: TextConfig, seed: int) -> Parts:
    """The data of one seed.

    Args:
      config: the flags.
      seed: of the templates, or of the split.

    Returns:
      `Parts`.

    Raises:
      RefusedError: for more test pairs to explain than there are.
    """
    made = corpora.make_corpora(config, seed)
    if config.model == "minilm":
        tokenizer = data.load_tokenizer(models.packaged_minilm())
    else:
        tokenizer = data.word_tokenizer(made.train)
    tokenise = functools.partial(
        data.tokenise,
        tokenizer=tokenizer,
        max_length=config.max_length,
        mass_per="word",
    )
    counts = {}

    def part(name: str, corpus: data.Corpus, **rest: Any) -> data.Dataset:
        dataset, counts[name] = tokenise(
            corpus, **{"rationale": made.rationale, **rest}
        )
        return dataset

    tests = {name: part(name, corpus) for name, corpus in made.tests.items()}
    first = next(iter(tests.values()))
    flags.check_available(
        "num_evaluated",
        config.num_evaluated,
        available=len(first.labels),
        what="test pairs",
    )
    probes = None
    if made.probes is not None:
        attributes = {"heuristic": HEURISTICS, "gold": GOLD}
        probes = part("probes", made.probes, rationale=(), attributes=attributes)
    return Parts(
        train=part("training", made.train),
        validation=part("validation", made.validation),
        tests=tests,
        probes=probes,
        tokenizer=tokenizer,
        texts=next(iter(made.tests.values())),
        counts=counts,
    )


def cached_parts(config: TextConfig) -> Callable[[int], Parts]:
    """`make_parts`, once for all arms of a seed.

    Args:
      config: the flags.

    Returns:
      seed -> `Parts`; the last seed's are kept.
    """
    return functools.lru_cache(maxsize=1)(functools.partial(make_parts, config))
