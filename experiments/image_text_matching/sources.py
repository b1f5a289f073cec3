"""Images and captions of one seed: what is matched, and what is asked in the test.

Digits on photographs of grass and gravel, each with three texts made of what is
measured of the digit. Here the texts are captions, which name the ground as well:
"high, as the digit has two holes, thick strokes, a wide shape and a place at the upper
left, on grass". What is asked in the test are the same pairs with other words in the
captions.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.digits import textured
from xguide_jax import data

# [BOS], the longest caption of either source, and [EOS].
LENGTH = 40
QUESTIONS = (
    "as written", "without the ground", "the ground alone", "another ground named",
    "among one ground", "as written, correlated",
)  # fmt: skip
AS_WRITTEN, WITHOUT_GROUND, GROUND_ALONE, SWAPPED, ONE_GROUND, CORRELATED = QUESTIONS
GROUNDS = ("on grass", "on gravel")


class Question(NamedTuple):
    """Pairs in which partners are looked for.

    Attributes:
      pairs: a caption an image: inputs {'image', 'tokens', 'mask'}, 'region'.
      right: bool [N, N], whose captions are those of the pair, where they are true.
      where: bool [N, N], the candidates that there are.
    """

    pairs: data.Dataset
    right: np.ndarray
    where: np.ndarray


class Parts(NamedTuple):
    """The parts of one seed.

    Attributes:
      train: images with 'region', 'region_valid', 'texts', 'texts_mask', 'texts_valid'.
      captions: of the training images, whose vocabulary the tokenizer has.
      tokenizer: of the words of the training part.
      questions: {name: of the test part}.
      shown: a caption an image of the test, as people read it.
    """

    train: data.Dataset
    captions: tuple[tuple[str, ...], ...]
    tokenizer: Any
    questions: dict[str, Question]
    shown: tuple[str, ...]


def digit_parts(
    source: data.Dataset,
    *,
    rho: float,
    named: float,
    seed: int,
    size: int,
    num_evaluated: int,
) -> Parts:
    """Digits with captions that name the ground.

    Args:
      source: digits.
      rho: how often ground and class agree in training.
      named: the share of training captions that name the ground; all of the test do.
      seed: of split, grounds, places and captions.
      size: pixels a side; the images are made with 48.
      num_evaluated: N, the first pairs of the test.

    Returns:
      `Parts`: 70 % of the digits are for training, 20 % for the test, at the same
      places on grounds that say nothing of the class, and, for one question, on those
      that agree with it at 0.95.
    """
    train, _, test = data.split(source, seed=seed, fractions=(0.7, 0.1, 0.2))
    test = data.take(test, np.arange(min(num_evaluated, len(test.labels))))
    describe = functools.partial(
        data.described_digits, map_rate=1.0, text_rate=1.0, seed=2 * seed
    )
    learned = describe(train, rho=rho, half="train")
    captions = with_grounds(learned, named=named, seed=seed)
    tokenizer = data.reference_tokenizer(captions)
    part = lambda correlation: describe(test, rho=correlation, half="test")
    return Parts(
        with_texts(_resized(learned.dataset, size), captions, tokenizer),
        captions, tokenizer,
        *_asked(part(0.5), part(textured.CORRELATION), tokenizer, size=size),
    )  # fmt: skip


def photograph_parts(
    described: data.Described, *, seed: int, num_evaluated: int
) -> Parts:
    """Photographs with the captions of people, and people as regions.

    Args:
      described: of `data.coco_captions`.
      seed: of the split.
      num_evaluated: N, the first pairs of the test.

    Returns:
      `Parts`: 70 % of the photographs are for training. The one question is as written.
    """
    train, test = data.split_images(described, seed=seed, fractions=(0.7, 0.3))
    count = min(num_evaluated, len(test.ids))
    test = data.take_described(test, np.arange(count))
    tokenizer = data.reference_tokenizer(train.texts)
    written = [texts[0] for texts in test.texts]
    asked = _question(test.dataset, written, written, tokenizer=tokenizer)
    return Parts(
        with_texts(train.dataset, train.texts, tokenizer),
        train.texts, tokenizer, {AS_WRITTEN: asked}, tuple(written),
    )  # fmt: skip


def with_grounds(
    described: data.Described, *, named: float, seed: int
) -> tuple[tuple[str, ...], ...]:
    """The texts of described digits with the ground of their image.

    Args:
      described: with 'groups', 2 * class + ground.
      named: the share of texts that name it, of each image by itself.
      seed: of which do.

    Returns:
      Of each image its captions.
    """
    ground = described.dataset.annotations["groups"] % 2
    rng = data.generator(data.Stream.CONTROL, seed)
    draws = rng.random((len(ground), max(map(len, described.texts), default=0)))
    return tuple(
        tuple(
            _named([text], [place])[0] if draw < named else text
            for text, draw in zip(texts, row, strict=True)
        )
        for texts, place, row in zip(described.texts, ground, draws, strict=True)
    )


def with_texts(
    images: data.Dataset, captions: Sequence[Sequence[str]], tokenizer: Any
) -> data.Dataset:
    """Images with their regions and captions, and no more.

    Args:
      images: with 'region' and 'region_valid'.
      captions: of each image its texts.
      tokenizer: of the seed.

    Returns:
      The images with 'texts', 'texts_mask' and 'texts_valid' as well.
    """
    tokens, mask = _encoded(captions, tokenizer)
    known = images.annotations
    return images._replace(
        annotations={
            "region": known["region"],
            "region_valid": known["region_valid"],
            "texts": tokens,
            "texts_mask": mask,
            "texts_valid": mask.any(axis=-1),
        }
    )


def batches(
    described_at: Callable[[int], Mapping[str, Any]],
) -> Callable[[int], Mapping[str, Any]]:
    """Batches whose captions are an input.

    Args:
      described_at: of `feeding.described_batches`.

    Returns:
      step -> a batch with inputs {'image', 'tokens', 'mask'}.
    """

    def batch_at(step: int) -> Mapping[str, Any]:
        batch = dict(described_at(step))
        tokens, mask = batch.pop("text"), batch.pop("text_mask")
        image = batch.pop("inputs")
        return {**batch, "inputs": {"image": image, "tokens": tokens, "mask": mask}}

    return batch_at


def _asked(
    balanced: data.Described, correlated: data.Described, tokenizer: Any, *, size: int
) -> tuple[dict[str, Question], tuple[str, ...]]:
    """All questions, and the captions as they are written."""
    images, others = (_resized(part.dataset, size) for part in (balanced, correlated))
    digit = [texts[0] for texts in balanced.texts]
    ground, other = (part.annotations["groups"] % 2 for part in (images, others))
    written, alone = _named(digit, ground), [GROUNDS[number] for number in ground]
    ask = functools.partial(_question, tokenizer=tokenizer)
    # The digits are the same: their captions differ in the ground alone.
    agreeing = _named(digit, other)
    return {
        AS_WRITTEN: ask(images, written, written),
        WITHOUT_GROUND: ask(images, digit, digit),
        GROUND_ALONE: ask(images, alone, alone),
        SWAPPED: ask(images, _named(digit, 1 - ground), written),
        ONE_GROUND: ask(images, written, written, ground[:, None] == ground),
        CORRELATED: ask(others, agreeing, agreeing),
    }, tuple(written)


def _question(
    images: data.Dataset,
    said: Sequence[str],
    true: Sequence[str],
    where: np.ndarray | None = None,
    *,
    tokenizer: Any,
) -> Question:
    tokens, mask = _encoded([[text] for text in said], tokenizer)
    inputs = {"image": images.inputs, "tokens": tokens[:, 0], "mask": mask[:, 0]}
    names = np.array(true)
    right = names[:, None] == names
    where = np.ones_like(right) if where is None else where
    return Question(images._replace(inputs=inputs), right, where)


def _encoded(
    captions: Sequence[Sequence[str]], tokenizer: Any
) -> tuple[np.ndarray, np.ndarray]:
    arrays, _ = data.encode_texts(captions, tokenizer, length=LENGTH)
    return arrays["texts"], arrays["texts_mask"]


def _named(texts: Sequence[str], grounds: Sequence[int] | np.ndarray) -> list[str]:
    return [f"{t}, {GROUNDS[g]}" for t, g in zip(texts, grounds, strict=True)]


def _resized(dataset: data.Dataset, size: int) -> data.Dataset:
    maps = {name: dataset.annotations[name] for name in ("region",)}
    small = textured.resized(dataset._replace(annotations=maps), size)
    return small._replace(annotations={**dataset.annotations, **small.annotations})
