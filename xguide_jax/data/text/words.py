"""What a word is: a run of characters between blanks and thirteen punctuation marks.

Apostrophes and hyphens belong to their word. All of it is about characters, so that
words can be found again in anybody's tokens by their offsets.
"""

import re

from xguide_jax.data.text import examples

# Lists of Stacey, Belinkov, Rei, "Supervising Model Attention with Human Explanations
# for Robust Natural Language Inference", AAAI 2022, as their public code has them.
# "not" and "no" are none of them.
PUNCTUATION = frozenset('.,!?:;)(><[]"')
_STOP_WORDS = """
their i a is are it be by for and its an the if of to in on all at so too his her there
just they do what with get as or has than
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())

MARK = f"[{re.escape(''.join(sorted(PUNCTUATION)))}]"
_WORD_OR_MARK = re.compile(rf"(?:(?!{MARK})\S)+|{MARK}")


def word_spans(text: str) -> tuple[examples.Span, ...]:
    """Where the words of a text stand, each punctuation mark as a word of its own.

    Args:
      text: any.

    Returns:
      Spans of characters, in order, apart from each other; together they hold every
      character that is no blank. "Don't stop." gives Don't, stop and the full stop.
    """
    return tuple(match.span() for match in _WORD_OR_MARK.finditer(text))
