"""Decoding: by hand, against the search of all texts, and with and without a cache."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import models

BEGIN, END, LENGTH = 1, 2, 6
MODULE = models.TextDecoder(
    vocabulary_size=6, num_layers=2, num_heads=2, width=8, hidden_width=8,
    num_positions=12,
)  # fmt: skip
HEAD = models.linen_text_head(MODULE)
WHOLE = HEAD._replace(begin=None)  # `apply` alone, as of anybody's model
# p(column | row): 3 is likelier than 4 to begin with, and 4 is surer how to go on.
CHAIN = np.zeros((6, 6))
CHAIN[BEGIN, 3:5] = 0.6, 0.4
CHAIN[3, [END, 5]] = 0.45, 0.55
CHAIN[4, END] = 1
CHAIN[5, [END, 5]] = 0.9, 0.1


def chain(probabilities):
    """A head of which each token depends on the last one alone; it needs no prefix."""
    table = jnp.log(jnp.maximum(jnp.asarray(probabilities, jnp.float32), 1e-30))

    def apply(params, prefix, tokens, mask):
        del prefix, mask
        return params[tokens]

    return (
        models.TextHead(lambda key: table, apply, width=2),
        table,
        jnp.zeros((2, 0, 2)),
    )


@functools.cache
def network():
    """Weights that are sure of themselves, and prefixes of five rows."""
    params = HEAD.init(jax.random.key(3))
    table = params["word_embeddings"]["embedding"]
    params["word_embeddings"]["embedding"] = 2 * table
    return params, 3 * jax.random.normal(jax.random.key(1), (5, 4, 8))


def greedy(head=HEAD, prefix=None, length=LENGTH):
    params, own = network()
    return models.greedy_decode(
        head, params, own if prefix is None else prefix, length=length
    )


def beam(num_beams, length_penalty, head=HEAD, prefix=None, length=LENGTH):
    params, own = network()
    return models.beam_decode(
        head, params, own if prefix is None else prefix,
        length=length, num_beams=num_beams, length_penalty=length_penalty,
    )  # fmt: skip


def assert_same(one, other):
    np.testing.assert_array_equal(one.tokens, other.tokens)
    np.testing.assert_array_equal(one.mask, other.mask)
    np.testing.assert_allclose(one.log_probability, other.log_probability, atol=1e-5)


@functools.cache
def all_texts(length):
    """Every text of at most so many places: tokens, mask, the number of predictions."""
    texts = []
    for count in range(length):
        for words in itertools.product((3, 4, 5), repeat=count):
            ended = (BEGIN, *words) if count == length - 1 else (BEGIN, *words, END)
            texts.append(ended + (0,) * (length - len(ended)))
    tokens = np.array(texts, np.int32)
    return tokens, tokens != 0, (tokens != 0).sum(axis=1) - 1


def log_probabilities(prefix, tokens, mask):
    """Of texts [N, L] after one prefix [P, D], teacher-forced: float [N]."""
    params, _ = network()
    prefix = jnp.broadcast_to(prefix, (len(tokens), *prefix.shape))
    logits = jax.jit(HEAD.apply)(params, prefix, jnp.asarray(tokens), jnp.asarray(mask))
    log_p = np.asarray(jax.nn.log_softmax(logits))[:, :-1]
    said = np.take_along_axis(log_p, tokens[:, 1:, None], axis=2)[..., 0]
    return (said * mask[:, 1:]).sum(axis=1)


def test_greedy_by_hand():
    """3 (0.6), then 5 (0.55), then the end (0.9), and padding behind it."""
    head, params, prefix = chain(CHAIN)
    texts = models.greedy_decode(head, params, prefix, length=6)
    np.testing.assert_array_equal(texts.tokens, [[1, 3, 5, 2, 0, 0]] * 2)
    np.testing.assert_array_equal(texts.mask, [[True] * 4 + [False] * 2] * 2)
    expected = np.log(0.6 * 0.55 * 0.9)
    np.testing.assert_allclose(texts.log_probability, expected, rtol=1e-6)
    cut = models.greedy_decode(head, params, prefix, length=3)
    np.testing.assert_array_equal(cut.tokens, [[1, 3, 5]] * 2)
    np.testing.assert_allclose(cut.log_probability, np.log(0.6 * 0.55), rtol=1e-6)


@pytest.mark.parametrize(
    ("length_penalty", "text", "probability"),
    # log 0.4 = -0.92 is above log 0.297 = -1.21; but -0.92 / 2 below -1.21 / 3. Up to
    # an exponent of 0.69 the shorter one wins; with one token less counted up to 0.41.
    [
        (0.0, [1, 4, 2, 0, 0, 0], 0.4),
        (0.55, [1, 4, 2, 0, 0, 0], 0.4),
        (1.0, [1, 3, 5, 2, 0, 0], 0.297),
    ],
)
def test_a_beam_by_hand(length_penalty, text, probability):
    head, params, prefix = chain(CHAIN)
    texts = models.beam_decode(
        head, params, prefix, length=6, num_beams=2, length_penalty=length_penalty
    )
    np.testing.assert_array_equal(texts.tokens, [text] * 2)
    np.testing.assert_allclose(texts.log_probability, np.log(probability), rtol=1e-6)


def test_padding_and_the_first_token_are_never_said():
    """However likely they are: 0.9 of what follows each token."""
    likely = 0.1 * CHAIN
    likely[:, 0], likely[:, BEGIN] = 0.5, 0.4
    head, params, prefix = chain(likely)
    expected = np.log(0.6 * 0.55 * 0.9 * 0.1**3)
    for texts in (
        models.greedy_decode(head, params, prefix, length=5),
        models.beam_decode(
            head, params, prefix, length=5, num_beams=1, length_penalty=0.0
        ),
    ):
        np.testing.assert_array_equal(texts.tokens, [[1, 3, 5, 2, 0]] * 2)
        np.testing.assert_allclose(texts.log_probability, expected, rtol=1e-5)


def test_ids_of_another_vocabulary():
    """The same chain with 0 to end a text, 5 to begin one and 2 for padding."""
    order = np.array([2, 5, 0, 3, 4, 1])  # the new id of each
    moved = np.zeros((6, 6))
    moved[np.ix_(order, order)] = CHAIN
    head, params, prefix = chain(moved)
    ids = models.TokenIds(pad=2, begin=5, end=0)
    texts = models.greedy_decode(head, params, prefix, length=6, ids=ids)
    np.testing.assert_array_equal(texts.tokens, [[5, 3, 1, 0, 2, 2]] * 2)
    assert texts.mask.sum(axis=1).tolist() == [4, 4]


def test_texts_of_the_network_are_of_several_lengths():
    """Or the tests below would not see an end, or a text that is cut."""
    lengths = greedy().mask.sum(axis=1)
    assert len(set(lengths.tolist())) > 2


def test_a_cache_changes_nothing():
    assert_same(greedy(), greedy(WHOLE))
    assert_same(beam(3, 0.7), beam(3, 0.7, WHOLE))
    none = network()[1][:, :0]
    assert_same(greedy(prefix=none), greedy(WHOLE, prefix=none))


def test_a_beam_of_one_is_greedy():
    for length_penalty in (0.0, 1.0):
        assert_same(beam(1, length_penalty), greedy())


@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 2.0])
def test_a_wide_beam_is_the_search_of_all_texts(length_penalty):
    """27 texts of three words that are cut, and 13 that end: a beam of 40 has all."""
    tokens, mask, counts = all_texts(4)
    assert len(tokens) == 40
    texts = beam(40, length_penalty, length=4)
    for row, prefix in enumerate(network()[1]):
        log_p = log_probabilities(prefix, tokens, mask)
        best = np.argmax(log_p / counts**length_penalty)
        np.testing.assert_array_equal(texts.tokens[row], tokens[best])
        np.testing.assert_allclose(texts.log_probability[row], log_p[best], atol=1e-5)


def test_the_search_of_all_texts_tells_the_penalties_and_greedy_apart():
    """Else the test above would pass whatever they do."""
    found = [np.asarray(beam(40, a, length=4).tokens) for a in (0.0, 0.7, 2.0)]
    found.append(np.asarray(greedy(length=4).tokens))
    assert (found[0] != found[2]).any()
    assert (found[0] != found[3]).any()


def test_a_text_has_the_log_probability_that_is_said():
    for texts in (greedy(), beam(3, 0.7)):
        for row, prefix in enumerate(network()[1]):
            tokens, mask = (np.asarray(x[row : row + 1]) for x in texts[:2])
            log_p = log_probabilities(prefix, tokens, mask)
            np.testing.assert_allclose(texts.log_probability[row], log_p[0], atol=1e-5)


def test_no_row_depends_on_another():
    """Rows 2 to 4 end elsewhere when they are those of row 0, or large."""
    prefix = network()[1]
    for decode in (greedy, functools.partial(beam, 3, 0.7)):
        texts = decode()
        for others in (prefix[:1], 9 * prefix[2:]):
            others = jnp.broadcast_to(others, (3, 4, 8))
            changed = decode(prefix=jnp.concatenate([prefix[:2], others]))
            first = jax.tree.map(lambda leaf: leaf[:2], (changed, texts))
            jax.tree.map(np.testing.assert_array_equal, *first)


def test_a_greedy_text_does_not_depend_on_the_room_behind_its_end():
    texts, longer = greedy(), greedy(length=8)
    np.testing.assert_array_equal(longer.tokens[:, :6], texts.tokens)
    ended = np.asarray(texts.tokens == END).any(axis=1)
    assert 0 < ended.sum() < 5
    assert (np.asarray(longer.tokens)[ended, 6:] == 0).all()
    np.testing.assert_array_equal(longer.mask, longer.tokens != 0)


def test_programs_are_lowered_elsewhere():
    _, prefix = network()
    for decode in (greedy, functools.partial(beam, 2, 1.0)):
        program = jax.jit(lambda prefix, decode=decode: decode(prefix=prefix))
        exported = jax.export.export(program, platforms=("tpu", "cuda"))(prefix)
        assert exported.platforms == ("tpu", "cuda")
        assert "while" in exported.mlir_module()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"length": 1}, r"`length` \(=1\) must be at least 2"),
        ({"num_beams": 0}, r"`num_beams` \(=0\) must be at least 1"),
        ({"length_penalty": -0.5}, r"`length_penalty` \(=-0.5\) must be at least 0"),
        ({"length_penalty": np.nan}, r"`length_penalty` \(=nan\) must be at least 0"),
        ({"length": 9}, r"of 4 and a text of 9 are more places than `num_positions`"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, error):
    params, prefix = network()
    given = {"length": 4, "num_beams": 2, "length_penalty": 1.0, **change}
    with pytest.raises(ValueError, match=error):
        models.beam_decode(HEAD, params, prefix, **given)
    if "length" in change:
        with pytest.raises(ValueError, match=error):
            models.greedy_decode(HEAD, params, prefix, **change)


def test_a_prefix_of_another_width_is_refused():
    params, prefix = network()
    with pytest.raises(AssertionError, match="shape"):
        models.greedy_decode(HEAD, params, prefix[..., :4], length=4)
