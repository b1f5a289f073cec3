"""What a text is to the metrics of texts: its words, in order."""

import re
from collections import Counter
from collections.abc import Sequence

Text = str | Sequence[str]
Words = tuple[str, ...]

_WORD = re.compile(r"\w+(?:['-]\w+)*")


def words_of(text: Text) -> Words:
    """The words of a text, as every metric of texts takes them.

    A string is put in lower case; a word is a run of letters, digits and underscores,
    with apostrophes (straight or curved, which are one) and hyphens where they stand
    inside it. All else, punctuation too, only parts words. A sequence of words is taken
    as it is: for another tokenisation, give words. The tool of the COCO captions (Penn
    Treebank) drops punctuation as well and splits "don't" in two.

    Args:
      text: a string, or its words.

    Returns:
      the words, in order. "Don't stop, 2 well-lit rooms!" gives don't, stop, 2,
      well-lit and rooms.

    Raises:
      ValueError: if it is neither a string nor a sequence of strings.
    """
    if isinstance(text, str):
        plain = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
        return tuple(_WORD.findall(plain))
    if not isinstance(text, Sequence) or not all(isinstance(w, str) for w in text):
        raise ValueError(f"a text must be a string or its words; got {text!r}.")
    return tuple(text)


def ngrams(words: Words, size: int) -> Counter[Words]:
    """How often each run of `size` words stands in a text.

    Args:
      words: the text.
      size: at least 1.

    Returns:
      their counts; empty for a text of fewer words.
    """
    starts = range(len(words) - size + 1)
    return Counter(words[start : start + size] for start in starts)


def candidates_and_references(
    candidates: Sequence[Text], references: Sequence[Sequence[Text]]
) -> tuple[list[Words], list[list[Words]]]:
    """The words of each candidate and of its references; those without a word go.

    Args:
      candidates: N texts.
      references: N lists of texts, of any lengths.

    Returns:
      N texts, and N lists of texts, which may be empty.

    Raises:
      ValueError: if there are not as many lists of references as candidates, or one is
        a text where a list of texts must be.
    """
    for name, value in (("candidates", candidates), ("references", references)):
        if isinstance(value, str):
            raise ValueError(f"`{name}` must be a list; got the text {value!r}.")
    if len(candidates) != len(references):
        raise ValueError(
            f"`references` (of {len(references)} lists) must hold one list for each of "
            f"the {len(candidates)} `candidates`."
        )
    for number, texts in enumerate(references):
        if isinstance(texts, str):
            raise ValueError(
                f"`references`[{number}] must be a list of texts; got the text "
                f"{texts!r}."
            )
    found = [[words_of(text) for text in texts] for texts in references]
    return (
        [words_of(text) for text in candidates],
        [[words for words in texts if words] for texts in found],
    )
