"""Corpora by the name of a flag: training, validation, tests and probes of a seed."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from experiments.texts.options import TextConfig, folder_of
from xguide_jax import data

# Of the templated pairs; the files of the others say how many there are.
_NUM_VALIDATION, _NUM_TEST, _NUM_PROBES = 600, 900, 1200


class Corpora(NamedTuple):
    """The texts of one seed, before they are tokens.

    Attributes:
      train: what arms are trained on.
      validation: like it.
      tests: {name: a test set}, the one like training first.
      probes: pairs that heuristics get wrong; None where there are none.
      rationale: what is marked, as `data.tokenise` takes it.
    """

    train: data.Corpus
    validation: data.Corpus
    tests: Mapping[str, data.Corpus]
    probes: data.Corpus | None
    rationale: Sequence[data.MarkFn]


def make_corpora(config: TextConfig, seed: int) -> Corpora:
    """The texts of one seed.

    Args:
      config: the flags.
      seed: of the templates, or of the split.

    Returns:
      `Corpora`.
    """
    known = {"templated": _templated, "esnli": _esnli, "fever": _fever}
    return known[config.dataset](config, seed)


def _templated(config: TextConfig, seed: int) -> Corpora:
    """Every part has pairs of its own: seeds that no other part or repetition has."""
    part = lambda number: 8 * seed + number
    pairs = functools.partial(
        data.templated_pairs,
        artefact_rate=config.artefact_rate,
        counterexample_rate=config.counterexample_rate,
    )
    agrees = functools.partial(pairs, artefact="agrees")
    test = functools.partial(pairs, _NUM_TEST, seed=part(2))
    return Corpora(
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


def _esnli(config: TextConfig, seed: int) -> Corpora:
    """Trained on the published validation set, since the training set is not there."""
    folder = folder_of(config) / "esnli_explanations"
    read = functools.partial(data.read_esnli_explanations, at_least=2)
    # Three pairs share a premise as a rule, and would tell of each other.
    train, validation = _split(
        read(folder / "esnli_dev.jsonl.gz"), seed, by=lambda pair: pair.text
    )
    return Corpora(
        train=_first(train, config.num_train),
        validation=validation,
        tests={
            "in distribution": read(folder / "esnli_test.jsonl.gz"),
            **({"SNLI-hard": data.read_snli(config.hard)} if config.hard else {}),
        },
        probes=data.read_hans(config.hans) if config.hans else None,
        rationale=(data.highlighted,),
    )


def _fever(config: TextConfig, seed: int) -> Corpora:
    read = lambda evidence_first: data.read_fever(
        folder_of(config) / "eraser_fever",
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
    return Corpora(
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
