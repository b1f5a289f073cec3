"""Tokenizers, from a file or of the words of a corpus.

They are those of the package `tokenizers`, since these say of each token which
characters it stands for. Special tokens are called as BERT calls them.
"""

import itertools
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from xguide_jax.data.text import examples, words

if TYPE_CHECKING:
    from tokenizers import Tokenizer
else:
    Tokenizer = Any

PAD, UNK, CLS, SEP, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# How a piece begins that begins a word. Marked the other way round, the inner pieces,
# the package would number them by the order of a hash table, another in each process.
BEGIN = "\u2581"

_SURROGATE = re.compile("[\ud800-\udfff]")


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`, as models are published with.

    Such a file may cut texts and pad them to a length of its own; here it does neither,
    since what is cut away has to be counted. A text that says "[SEP]" is a text about a
    bracket: it is split like any other word and is no special token.

    Args:
      path: the file, or the folder that it lies in.

    Returns:
      A `tokenizers.Tokenizer`.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is no tokenizer, or has no [PAD], [CLS] or [SEP].
      ImportError: without the package `tokenizers`.
    """
    package = _package()
    file = pathlib.Path(path)
    file = file / "tokenizer.json" if file.is_dir() else file
    if not file.is_file():
        raise FileNotFoundError(
            f"there is no {file}; a vocabulary alone does not say how words are split."
        )
    try:
        tokenizer = package.Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises nothing narrower
        raise ValueError(f"{file} is no tokenizer: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    special_ids(tokenizer)
    return tokenizer


def word_tokenizer(corpus: examples.Corpus, *, min_count: int = 1) -> Tokenizer:
    """A tokenizer whose tokens are the lower-cased words of a corpus.

    Words are those of `word_spans`. For small networks that are trained from scratch:
    give it the training part alone, so that a word of the others that it does not hold
    becomes [UNK].

    Args:
      corpus: whose texts are read; explanations are not.
      min_count: how often a word must occur to be kept.

    Returns:
      A `tokenizers.Tokenizer`: [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4, then the
      words, frequent ones first and equally frequent ones by the alphabet.

    Raises:
      ValueError: if `min_count` is less than 1.
      ImportError: without the package `tokenizers`.
    """
    if min_count < 1:
        raise ValueError(f"`min_count` (={min_count}) must be at least 1.")
    texts = itertools.chain.from_iterable((e.text, e.text_b) for e in corpus.examples)
    return of_words(texts, special=SPECIAL, unknown=UNK, min_count=min_count)


def of_words(
    texts: Iterable[str],
    *,
    special: Sequence[str],
    unknown: str,
    min_count: int,
    size: int = 2**31,  # all of them; without it the package stops at 30,000
) -> Tokenizer:
    """A tokenizer whose tokens are special ones and the lower-cased words of texts.

    Args:
      texts: whose `word_spans` are counted.
      special: names of the special tokens, numbered from 0.
      unknown: the one of them that stands for other words.
      min_count: how often a word must occur to be kept.
      size: how many tokens at most, the special ones included.

    Returns:
      A `tokenizers.Tokenizer`, behind the special tokens words by how often they occur
      and then by the alphabet.

    Raises:
      ImportError: without the package `tokenizers`.
    """
    package = _package()
    trainer = package.trainers.WordLevelTrainer(
        vocab_size=size,
        min_frequency=min_count,
        special_tokens=list(special),
        show_progress=False,
    )
    return _trained(package.models.WordLevel(unk_token=unknown), trainer, texts)


def of_pieces(
    texts: Iterable[str],
    *,
    special: Sequence[str],
    unknown: str,
    min_count: int,
    size: int,
) -> Tokenizer:
    """A tokenizer whose tokens are special ones and pieces of lower-cased words.

    Byte-pair encoding: beginning with the characters, the two pieces that most often
    stand side by side within a word become one, until there are `size`. A piece within
    a word begins with `INSIDE`.

    Args:
      texts: whose `word_spans` are counted.
      special: names of the special tokens, numbered from 0.
      unknown: the one of them that stands for characters that no text holds.
      min_count: how often two pieces must stand together to become one.
      size: how many tokens at most, but all characters are kept.

    Returns:
      A `tokenizers.Tokenizer`, behind the special tokens the characters and then the
      pieces in the order in which they were made.

    Raises:
      ImportError: without the package `tokenizers`.

    Source: Sennrich, Haddow, Birch, ACL 2016, section 3.2.
    """
    package = _package()
    trainer = package.trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=min_count,
        special_tokens=list(special),
        show_progress=False,
    )
    model = package.models.BPE(unk_token=unknown, fuse_unk=True)
    begun = package.pre_tokenizers.Metaspace(BEGIN, prepend_scheme="always")
    return _trained(model, trainer, texts, begun)


def special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """The numbers of the special tokens that a batch is put together with.

    Args:
      tokenizer: any.

    Returns:
      {'[PAD]': ..., '[CLS]': ..., '[SEP]': ...}.

    Raises:
      ValueError: naming those that are missing.
    """
    numbers = {name: tokenizer.token_to_id(name) for name in (PAD, CLS, SEP)}
    found = {name: number for name, number in numbers.items() if number is not None}
    if missing := sorted(numbers.keys() - found.keys()):
        raise ValueError(f"`tokenizer` must have the special tokens {missing}.")
    return found


def encodable(text: str) -> str:
    """A text of as many characters, without the halves of pairs that JSON lets through.

    Args:
      text: any.

    Returns:
      The text, lone surrogates replaced by U+FFFD.
    """
    return _SURROGATE.sub("\ufffd", text)


def _trained(
    model: Any, trainer: Any, texts: Iterable[str], *further: Any
) -> Tokenizer:
    """Lower-cased words, split as `word_spans` does and further, as tokens."""
    package = _package()
    tokenizer = package.Tokenizer(model)
    tokenizer.normalizer = package.normalizers.Lowercase()
    marks = package.Regex(words.MARK)
    tokenizer.pre_tokenizer = package.pre_tokenizers.Sequence(
        [
            package.pre_tokenizers.WhitespaceSplit(),
            package.pre_tokenizers.Split(marks, "isolated"),
            *further,
        ]
    )
    tokenizer.train_from_iterator(map(encodable, texts), trainer)
    tokenizer.encode_special_tokens = True
    return tokenizer


def _package() -> ModuleType:
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError(
            "tokenizers are of a package that is not installed: "
            "pip install 'xguide_jax[text]'"
        ) from error
    return tokenizers
