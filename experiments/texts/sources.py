"""Corpora by the name of a flag, as tokens: training, validation, and several tests."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from experiments.running import flags
from xguide_jax import data, models

HEURISTICS = ("lexical_overlap", "subsequence", "constituent")
GOLD = ("entailment", "non-entailment")
# By model; a pretrained network forgets at the rate that one from scratch needs.
_RATES = {"small": 2e-3, "minilm": 1e-4}
_FEVER_LENGTH = 128
# What the marks of a corpus are, in a summary.
MARKED = {
    "templated": "the words that the templates know to decide",
    "esnli": "the words that two of three explanations mention; nobody highlighted any",
    "fever": "the sentences that people marked as evidence",
}
# Of the templated pairs; the files of the others say how many there are.
_NUM_VALIDATION, _NUM_TEST, _NUM_PROBES = 600, 900, 1200


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
        _folder(config)
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
    corpora = {"templated": _templated, "esnli": _esnli, "fever": _fever}
    made = corpora[config.dataset](config, seed)
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


class _Corpora(NamedTuple):
    train: data.Corpus
    validation: data.Corpus
    tests: Mapping[str, data.Corpus]
    probes: data.Corpus | None
    rationale: Sequence[data.MarkFn]


def _templated(config: TextConfig, seed: int) -> _Corpora:
    """Every part has pairs of its own: seeds that no other part or repetition has."""
    part = lambda number: 8 * seed + number
    pairs = functools.partial(
        data.templated_pairs,
        artefact_rate=config.artefact_rate,
        counterexample_rate=config.counterexample_rate,
    )
    agrees = functools.partial(pairs, artefact="agrees")
    test = functools.partial(pairs, _NUM_TEST, seed=part(2))
    return _Corpora(
        train=agrees(config.num_train, seed=part(0)),
        validation=agrees(_NUM_VALIDATION, seed=part(1)),
        tests={
            "in distribution": agrees(_NUM_TEST, seed=part(2)),
            "no artefact": test(artefact="none"),
            "artefact flipped": test(artefact="flipped"),
        },
        probes=data.templated_probes(_NUM_PROBES, seed=part(3)),
        rationale=(data.highlighted,),
    )


def _esnli(config: TextConfig, seed: int) -> _Corpora:
    """Trained on the published validation set, since the training set is not there."""
    folder = _folder(config) / "esnli_explanations"
    read = functools.partial(data.read_esnli_explanations, at_least=2)
    # Three pairs share a premise as a rule, and would tell of each other.
    train, validation = _split(
        read(folder / "esnli_dev.jsonl.gz"), seed, by=lambda pair: pair.text
    )
    return _Corpora(
        train=_first(train, config.num_train),
        validation=validation,
        tests={
            "in distribution": read(folder / "esnli_test.jsonl.gz"),
            **({"SNLI-hard": data.read_snli(config.hard)} if config.hard else {}),
        },
        probes=data.read_hans(config.hans) if config.hans else None,
        rationale=(data.highlighted,),
    )


def _fever(config: TextConfig, seed: int) -> _Corpora:
    read = lambda evidence_first: data.read_fever(
        _folder(config) / "eraser_fever",
        split="val",
        select=data.sentences_within(
            config.max_length // 2, evidence_first=evidence_first
        ),
    )
    # Only who trains knows the evidence; the claims of both readings are the same.
    by_document = functools.partial(
        _split, seed=seed, by=lambda claim: claim.attributes["document"]
    )
    rest, validation = by_document(read(False))
    known, _ = by_document(read(True))
    train, _ = by_document(known, share=0.25)
    _, test = by_document(rest, share=0.25)
    return _Corpora(
        train=_first(train, config.num_train),
        validation=validation,
        tests={"in distribution": test},
        probes=None,
        rationale=(data.highlighted,),
    )


def _split(
    corpus: data.Corpus,
    seed: int,
    *,
    by: Callable[[data.TextExample], str],
    share: float = 0.1,
) -> tuple[data.Corpus, data.Corpus]:
    """All but a share of a corpus, and that share; no group is in both."""
    groups = [by(example) for example in corpus.examples]
    order = data.generator(data.Stream.SPLIT, seed).permutation(sorted(set(groups)))
    held_out = set(order[: round(share * len(order))].tolist())
    pairs = list(zip(corpus.examples, groups, strict=True))
    kept = [example for example, group in pairs if group not in held_out]
    held = tuple(example for example, group in pairs if group in held_out)
    # In an order of its own: a file may have its classes one after another.
    shuffled = data.generator(data.Stream.SPLIT, seed).permutation(len(kept))
    rest = tuple(kept[row] for row in shuffled)
    return corpus._replace(examples=rest), corpus._replace(examples=held)


def _first(corpus: data.Corpus, count: int) -> data.Corpus:
    return corpus._replace(examples=corpus.examples[:count])


def _folder(config: TextConfig) -> pathlib.Path:
    folder = config.data_dir or os.environ.get("XGUIDE_DATA")
    if not folder:
        raise ValueError(
            f"--dataset {config.dataset} needs --data-dir or $XGUIDE_DATA."
        )
    return pathlib.Path(folder)
