"""[CLS] a [SEP] b [SEP]: where each token of an example stands, and what is cut."""

from collections.abc import Mapping, Sequence

import numpy as np

from xguide_jax.data.text import alignment, vocabulary


def lay_out(
    texts: Sequence[alignment.Pieces],
    marks: Sequence[np.ndarray],
    *,
    special_ids: Mapping[str, int],
    length: int,
) -> dict[str, np.ndarray]:
    """The arrays [T] of one example.

    Args:
      texts: the tokens of one text or two.
      marks: float32, one for each token of each.
      special_ids: of [PAD], [CLS] and [SEP].
      length: T; what does not fit is cut from the end of the longer text.

    Returns:
      'tokens', 'mask', 'segments', 'rationale', 'special' and 'words'.
    """
    kept = kept_of([len(text.ids) for text in texts], length)
    first, *rest = [count + 1 for count in kept]  # with the [SEP] behind them
    num_tokens = 1 + first + sum(rest)
    special = np.zeros(length, bool)
    special[[0, *np.cumsum([first, *rest])]] = True
    mask = np.arange(length) < num_tokens
    inside = mask & ~special

    def line(parts: Sequence[np.ndarray], fill: int, dtype: type) -> np.ndarray:
        values: np.ndarray = np.full(length, fill, dtype)
        cut = [part[:count] for part, count in zip(parts, kept, strict=True)]
        values[inside] = np.concatenate(cut)
        return values

    tokens = line([text.ids for text in texts], special_ids[vocabulary.PAD], np.int32)
    tokens[special] = special_ids[vocabulary.SEP]
    tokens[0] = special_ids[vocabulary.CLS]
    return {
        "tokens": tokens,
        "mask": mask,
        "segments": (mask & (np.arange(length) > first)).astype(np.int32),
        "rationale": line(marks, 0, np.float32),
        "special": special,
        "words": line([text.words for text in texts], -1, np.int32),
    }


def kept_of(lengths: Sequence[int], length: int) -> tuple[int, ...]:
    """How many tokens of each text are kept, as the package `tokenizers` cuts pairs.

    Args:
      lengths: of one text or two, without special tokens.
      length: T >= the special tokens and a token of each text.

    Returns:
      One number a text: of the longer text what the other leaves, or half of the room
      each where both are longer than that, the odd one to the longer.
    """
    room = length - 1 - len(lengths)
    if len(lengths) == 1:
        return (min(lengths[0], room),)
    if sum(lengths) <= room:
        return tuple(lengths)
    short = min(*lengths, room // 2)
    longer_first = lengths[0] > lengths[1]
    return (room - short, short) if longer_first else (short, room - short)
