"""A corpus as a data set: tokens, and on each the mark of what is evidence.

A text is [CLS] a [SEP], a pair [CLS] a [SEP] b [SEP]. What a token stands for is known
by the tokenizer's own offsets, never by counting characters, so that unknown words,
accents and pieces of words stay in their place.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from xguide_jax.data import datasets
from xguide_jax.data.text import alignment, examples, layout, rationales, vocabulary

# How much mass a marked word has, before the marks of an example are normalised.
MassPer = Literal["piece", "word"]

# What a batch holds besides attributes.
_NAMES = frozenset(
    ("inputs", "labels", "rationale", "rationale_valid", "special", "words", "row")
)


class TokenCounts(NamedTuple):
    """What became of a corpus on its way into tokens.

    Attributes:
      empty: examples left out, since a text of theirs has no token.
      truncated: examples of which tokens were cut away.
      cut: tokens that were cut away.
      cut_marks: those of them that were evidence.
      unknown: tokens that are [UNK], before any was cut.
      annotated: examples with evidence, whose 'rationale_valid' is True.
      unmatched: examples that somebody marked or explained, though no token that is
        left is evidence.
    """

    empty: int
    truncated: int
    cut: int
    cut_marks: int
    unknown: int
    annotated: int
    unmatched: int


def tokenise(
    corpus: examples.Corpus,
    tokenizer: vocabulary.Tokenizer,
    *,
    max_length: int,
    rationale: Sequence[rationales.MarkFn],
    mass_per: MassPer,
    attributes: Mapping[str, Sequence[str]] | None = None,
) -> tuple[datasets.Dataset, TokenCounts]:
    """The data set of a corpus, T = `max_length` tokens an example.

    A mark function marks a token 1 if it stands for a character of its spans.
    'rationale' is the average of those functions that mark a token of the example at
    all, so that a token has 1/2 where one of two marks it; it is not normalised, which
    is left to the loss. With `mass_per` 'word' each of the n pieces of a word has 1/n
    of that. An example of which no token is marked is not annotated: its
    'rationale_valid' is False, and a loss on its rationale has weight 0.

    Where there are too many tokens the longer of two texts is cut first, at its end.

    Args:
      corpus: texts or pairs of texts; in a corpus with pairs an example without a
        second text is an empty one.
      tokenizer: as of `load_tokenizer` or `word_tokenizer`; it neither cuts nor pads.
      max_length: T, [CLS] and [SEP] included.
      rationale: what is evidence: `(explained_words,)`, `(highlighted,)`, both, or one
        for each annotator; () where it does not matter.
      mass_per: 'piece', as published, where a word of three pieces has three times the
        mass; or 'word'.
      attributes: {name: its values} of `TextExample.attributes` to keep, each as an
        int32 [N], the place among the values, -1 for examples that have none. The
        values are given, so that all parts of a corpus number them alike.

    Returns:
      (data set, what became of the corpus). The inputs are 'tokens' int32 [N, T],
      'mask' bool [N, T], False on padding, and 'segments' int32 [N, T], 1 on the second
      text with its [SEP]. The annotations are 'rationale' float32 [N, T], 0 on special
      tokens and padding, 'rationale_valid' bool [N], 'special' bool [N, T], True on
      [CLS] and [SEP], 'words' int32 [N, T], the place of a token's word among the
      `word_spans` of its text, -1 on special tokens and padding, and 'row' int32 [N],
      the place of an example in the corpus.

    Raises:
      ValueError: if the tokenizer cuts, pads or lacks special tokens; if `max_length`
        leaves no room for a token of each text; if a span lies outside its text or an
        attribute has another value, naming the example; if an attribute has the name of
        something else in a batch; or if no example has tokens.

    Source: Stacey, Belinkov, Rei, "Supervising Model Attention with Human Explanations
      for Robust Natural Language Inference", AAAI 2022, by their public code, but for
      two things: offsets stand in place of counted characters, and examples are known
      by their place, not by their text, of which two alike with different explanations
      would share one rationale.
    """
    attributes = attributes or {}
    if taken := sorted(attributes.keys() & _NAMES):
        raise ValueError(f"`attributes` must not be called {taken}: a batch has those.")
    pairs = any(example.text_b for example in corpus.examples)
    _check(tokenizer, max_length, mass_per, pairs=pairs)
    special_ids = vocabulary.special_ids(tokenizer)
    encoded = alignment.encode(corpus.examples, tokenizer, pairs=pairs)
    rows, counted = [], []
    for row, (example, texts) in enumerate(zip(corpus.examples, encoded, strict=True)):
        if not all(len(text.ids) for text in texts):
            continue
        marks = _marks(example, texts, rationale, mass_per)
        arrays = layout.lay_out(
            texts, marks, special_ids=special_ids, length=max_length
        )
        counted.append(_counted(example, texts, marks, arrays, tokenizer))
        numbers = {"labels": example.label, "row": row}
        numbers |= {k: _code(example, k, values) for k, values in attributes.items()}
        rows.append(arrays | {k: np.int32(v) for k, v in numbers.items()})
    if not rows:
        raise ValueError(f"none of the {len(corpus.examples)} examples has tokens.")
    stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    inputs = {name: stacked.pop(name) for name in ("tokens", "mask", "segments")}
    labels = stacked.pop("labels")
    stacked["rationale_valid"] = stacked["rationale"].any(axis=1)
    empty = len(corpus.examples) - len(rows)
    counts = TokenCounts(empty, *np.sum(counted, axis=0).tolist())
    return datasets.Dataset(inputs, labels, corpus.class_names, stacked), counts


def _marks(
    example: examples.TextExample,
    texts: Sequence[alignment.Pieces],
    rationale: Sequence[rationales.MarkFn],
    mass_per: MassPer,
) -> list[np.ndarray]:
    """The mark of each token of each text, float32, before anything is cut."""
    total = [np.zeros(len(text.ids), np.float32) for text in texts]
    num_marking = 0
    for mark in rationale:
        spans = mark(example)
        _check_inside(example, spans)
        found = [alignment.marked(*each) for each in zip(texts, spans, strict=False)]
        num_marking += any(each.any() for each in found)
        total = [each + new for each, new in zip(total, found, strict=True)]
    if mass_per == "word":
        pieces = [np.bincount(text.words)[text.words] for text in texts]
        total = [each / count for each, count in zip(total, pieces, strict=True)]
    return [(each / max(num_marking, 1)).astype(np.float32) for each in total]


def _counted(
    example: examples.TextExample,
    texts: Sequence[alignment.Pieces],
    marks: Sequence[np.ndarray],
    arrays: Mapping[str, np.ndarray],
    tokenizer: vocabulary.Tokenizer,
) -> tuple[int, ...]:
    """What one example adds to `TokenCounts`, all of it but `empty`."""
    ids, before = np.concatenate([text.ids for text in texts]), np.concatenate(marks)
    cut = len(ids) - int(np.sum(arrays["words"] >= 0))
    num_marked = int(np.count_nonzero(arrays["rationale"]))
    unknown = int(np.sum(ids == tokenizer.token_to_id(vocabulary.UNK)))
    said = any(rationales.highlighted(example)) or bool(example.explanations)
    return (
        cut > 0,
        cut,
        int(np.count_nonzero(before)) - num_marked,
        unknown,
        num_marked > 0,
        said and not num_marked,
    )


def _code(example: examples.TextExample, name: str, values: Sequence[str]) -> int:
    if name not in example.attributes:
        return -1
    if example.attributes[name] not in values:
        raise ValueError(
            f"example {example.id!r} has {name} {example.attributes[name]!r}, which is "
            f"none of `attributes[{name!r}]` (={tuple(values)})."
        )
    return list(values).index(example.attributes[name])


def _check(
    tokenizer: vocabulary.Tokenizer, max_length: int, mass_per: str, *, pairs: bool
) -> None:
    if tokenizer.truncation is not None or tokenizer.padding is not None:
        raise ValueError(
            "`tokenizer` must neither cut nor pad, since what is cut is counted: call "
            "its `no_truncation()` and `no_padding()`, as `load_tokenizer` does."
        )
    least = 5 if pairs else 3
    if max_length < least:
        raise ValueError(
            f"`max_length` (={max_length}) must be at least {least}: the special "
            "tokens, and a token of each text."
        )
    if mass_per not in ("piece", "word"):
        raise ValueError(f"`mass_per` (={mass_per!r}) must be 'piece' or 'word'.")


def _check_inside(example: examples.TextExample, marks: rationales.Marks) -> None:
    for name, spans in marks._asdict().items():
        length = len(getattr(example, name))
        for start, end in spans:
            if not 0 <= start < end <= length:
                raise ValueError(
                    f"span ({start}, {end}) of {name!r} of example {example.id!r} must "
                    f"lie inside its {length} characters and hold one."
                )
