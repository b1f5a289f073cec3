"""Texts as the tokens that a decoder is trained on, several references an image.

Position 0 is [BOS], then come words and [EOS], and padding is 0. Their numbers are
fixed, since decoders start and stop by them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from xguide_jax.data import batching, datasets, seeds
from xguide_jax.data.image_text import described as describing
from xguide_jax.data.text import vocabulary

PAD_ID, BOS_ID, EOS_ID, UNK_ID = range(4)

_SPECIAL = (vocabulary.PAD, "[BOS]", "[EOS]", vocabulary.UNK)
_CLOSING = frozenset(".,!?:;)]")
_KEYS = ("texts", "texts_mask", "texts_valid")


class ReferenceCounts(NamedTuple):
    """What became of texts on their way into tokens.

    Attributes:
      texts: those that have a token, valid ones.
      empty: those that have none, and are not valid.
      without: images without a valid text.
      truncated: texts that are too long, whose end was cut away.
      cut: words that were cut away.
      unknown: words that are [UNK], before any was cut.
    """

    texts: int
    empty: int
    without: int
    truncated: int
    cut: int
    unknown: int


def reference_tokenizer(
    texts: Iterable[Sequence[str]],
    *,
    max_size: int = 4096,
    min_count: int = 1,
    pieces: bool = False,
) -> vocabulary.Tokenizer:
    """A tokenizer of the words that a decoder may write, or of pieces of them.

    Words are those of `word_spans` in lower case. Give it the texts of the training
    part alone, so that a word that only the others hold becomes [UNK]; of pieces it can
    be put together.

    Args:
      texts: of each image its texts.
      max_size: of the vocabulary, at least 5; rarer words give way.
      min_count: how often a word must occur to be kept.
      pieces: whether to split words into pieces by byte-pair encoding: for a vocabulary
        that is smaller than the number of words. A text then has more tokens.

    Returns:
      A `tokenizers.Tokenizer`: [PAD] 0, [BOS] 1, [EOS] 2, [UNK] 3, then the words,
      frequent ones first and equally frequent ones by the alphabet; or characters, then
      pieces in the order in which they were made.

    Raises:
      ValueError: if `max_size` holds no word, or `min_count` is less than 1.
      ImportError: without the package `tokenizers`.
    """
    for name, value, least in (("max_size", max_size, 5), ("min_count", min_count, 1)):
        if value < least:
            raise ValueError(f"`{name}` (={value}) must be at least {least}.")
    make = vocabulary.of_pieces if pieces else vocabulary.of_words
    return make(
        (text for each in texts for text in each),
        special=_SPECIAL,
        unknown=vocabulary.UNK,
        min_count=min_count,
        size=max_size,
    )


def encode_texts(
    texts: Sequence[Sequence[str]],
    tokenizer: vocabulary.Tokenizer,
    *,
    length: int,
) -> tuple[dict[str, np.ndarray], ReferenceCounts]:
    """The references of N images as arrays, R the most that an image has, at least 1.

    A text that is too long is cut after L - 1 words and has no [EOS], for it did not
    end there. An image of fewer than R texts, or of none, has rows of padding that are
    not valid; they are no texts to be learned.

    Args:
      texts: of each image its texts, () for none.
      tokenizer: of `reference_tokenizer`.
      length: L, the tokens of a text with [BOS] and [EOS]; at least 3.

    Returns:
      ({'texts': int32 [N, R, L], 'texts_mask': bool [N, R, L], True on [BOS], words and
      [EOS], 'texts_valid': bool [N, R]}, what became of the texts).

    Raises:
      ValueError: if `length` holds no word, the tokenizer has other special tokens, or
        the texts of an image are one string.
    """
    _check_tokenizer(tokenizer)
    if length < 3:
        raise ValueError(f"`length` (={length}) must be at least 3: [BOS] word [EOS].")
    lines: list[list[np.ndarray]] = []
    for row, each in enumerate(texts):
        if isinstance(each, str):  # of which each letter would be a text
            raise ValueError(f"`texts` in row {row} must be texts, not {each[:40]!r}.")
        encoded = (tokenizer.encode(vocabulary.encodable(text)).ids for text in each)
        lines.append([np.array([BOS_ID, *ids, EOS_ID], np.int32) for ids in encoded])
    most = max((len(each) for each in lines), default=0)
    tokens = np.full((len(lines), max(most, 1), length), PAD_ID, np.int32)
    sizes = np.zeros(tokens.shape[:2], int)
    for row, found in enumerate(lines):
        for place, line in enumerate(found):
            sizes[row, place] = len(line) if len(line) > 2 else 0
            kept = line[: min(sizes[row, place], length)]
            tokens[row, place, : len(kept)] = kept
    mask = np.arange(length) < sizes[..., None]
    arrays = {"texts": tokens, "texts_mask": mask, "texts_valid": sizes > 0}
    unknown = sum(int(np.sum(line == UNK_ID)) for each in lines for line in each)
    return arrays, _counted(lines, sizes, length=length, unknown=unknown)


def encode_described(
    described: describing.Described, tokenizer: vocabulary.Tokenizer, *, length: int
) -> tuple[datasets.Dataset, ReferenceCounts]:
    """The data set of described images, with their texts among its annotations.

    Args:
      described: N images.
      tokenizer: as for `encode_texts`.
      length: L, as for `encode_texts`.

    Returns:
      (the data set with 'texts', 'texts_mask' and 'texts_valid', what became of the
      texts).

    Raises:
      ValueError: as `encode_texts`.
    """
    arrays, counts = encode_texts(described.texts, tokenizer, length=length)
    dataset = described.dataset
    annotations = {**dataset.annotations, **arrays}
    return dataset._replace(annotations=annotations), counts


def decode_tokens(ids: np.ndarray, tokenizer: vocabulary.Tokenizer) -> str:
    """The text that tokens spell, up to the first [EOS].

    [BOS] and padding are left out; a word that is not known reads [UNK]. Marks that
    close stand by the word before them, so that encoding the text gives its tokens
    again.

    Args:
      ids: int [L].
      tokenizer: of `reference_tokenizer`.

    Returns:
      The words in lower case with blanks between, '' for none.

    Raises:
      ValueError: if `ids` are not one line of tokens of the vocabulary.
    """
    _check_tokenizer(tokenizer)
    line = np.asarray(ids)
    size = tokenizer.get_vocab_size()
    if line.ndim != 1 or line.dtype.kind not in "iu":
        raise ValueError(f"`ids` ({line.dtype} {line.shape}) must be int [L].")
    if np.any((line < 0) | (line >= size)):
        raise ValueError(f"`ids` must lie in 0 .. {size - 1}, not reach {line.max()}.")
    ends = np.flatnonzero(line == EOS_ID)
    line = line[: ends[0]] if len(ends) else line
    text = ""
    for word in _words(line[(line != PAD_ID) & (line != BOS_ID)], tokenizer):
        text += word if word in _CLOSING or not text else f" {word}"
    return text


def choose_texts(
    batch: Mapping[str, np.ndarray], indices: np.ndarray, *, seed: int, step: int
) -> batching.HostBatch:
    """A batch with 'text': of each image one of its references, at random.

    Uniform over the valid references of the example, a function of (seed, step, the
    example's index) alone: it depends neither on the rest of the batch nor on how many
    processes share it. An image without a valid reference has padding and is not valid:
    its weight is 0 in every term that reads a text.

    Args:
      batch: with 'texts' [B, R, L], 'texts_mask' [B, R, L] and 'texts_valid' [B, R],
        e.g. from `make_batch` of what `encode_described` returns.
      indices: int [B], the examples of the batch, as `make_batch` takes them.
      seed: with `step`, decides the choice; nothing else.
      step: n >= 0.

    Returns:
      The batch with 'text', int32 [B, L], 'text_mask', bool [B, L], and 'text_valid',
      bool [B].

    Raises:
      ValueError: if the batch has no texts, or `indices` are not one an example.
    """
    if missing := sorted(set(_KEYS) - batch.keys()):
        raise ValueError(f"a batch needs {missing}; it has {sorted(batch)}.")
    tokens, mask, valid = (np.asarray(batch[key]) for key in _KEYS)
    rows = np.asarray(indices)
    if rows.shape != (len(tokens),) or rows.dtype.kind not in "iu":
        raise ValueError(
            f"`indices` ({rows.dtype} {rows.shape}) must be int [{len(tokens)}], one "
            "an example."
        )
    chosen = np.zeros(len(tokens), int)
    for row, index in enumerate(rows.tolist()):
        references = np.flatnonzero(valid[row])
        if len(references):
            rng = seeds.generator(seeds.Stream.TEXTS, seed, step, index)
            chosen[row] = rng.choice(references)
    each = np.arange(len(tokens))
    known = valid[each, chosen].astype(bool)
    return {
        **batch,
        "text": np.where(known[:, None], tokens[each, chosen], PAD_ID).astype(np.int32),
        "text_mask": mask[each, chosen] & known[:, None],
        "text_valid": known,
    }


def _counted(
    lines: Sequence[Sequence[np.ndarray]],
    sizes: np.ndarray,
    *,
    length: int,
    unknown: int,
) -> ReferenceCounts:
    # Of a text that is too long, [EOS] is cut away besides words.
    over = np.maximum(sizes - length, 0)
    return ReferenceCounts(
        texts=int(np.sum(sizes > 0)),
        empty=sum(len(each) for each in lines) - int(np.sum(sizes > 0)),
        without=int(np.sum(~np.any(sizes > 0, axis=1))),
        truncated=int(np.sum(over > 0)),
        cut=int(np.sum(np.maximum(over - 1, 0))),
        unknown=unknown,
    )


def _words(line: np.ndarray, tokenizer: vocabulary.Tokenizer) -> list[str]:
    """The words that tokens are, or that they are pieces of."""
    tokens = [str(tokenizer.id_to_token(number)) for number in line.tolist()]
    # As a character, it is in each vocabulary of pieces.
    if tokenizer.token_to_id(vocabulary.BEGIN) is None:
        return tokens
    return [word for word in "".join(tokens).split(vocabulary.BEGIN) if word]


def _check_tokenizer(tokenizer: vocabulary.Tokenizer) -> None:
    found = tuple(tokenizer.token_to_id(name) for name in _SPECIAL)
    if found != (PAD_ID, BOS_ID, EOS_ID, UNK_ID):
        raise ValueError(
            f"`tokenizer` must number {_SPECIAL} from 0, as `reference_tokenizer` "
            f"does, not {found}."
        )
