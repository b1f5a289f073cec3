"""Metrics of texts: values by hand, laws, published packages, what is undefined."""

import functools
import itertools
import json
import pathlib

import numpy as np
import pytest

from xguide_jax import metrics
from xguide_jax.metrics.text import meteor

GOLDEN = json.loads(
    (pathlib.Path(__file__).parents[1] / "golden" / "text_metrics.json").read_text()
)
TEXTS = (GOLDEN["candidates"], GOLDEN["references"])
OF_EXAMPLES = {
    "cider_d": metrics.cider_d,
    "meteor_exact": metrics.meteor_exact,
    "rouge_l": metrics.rouge_l,
}
of_examples = pytest.mark.parametrize("metric", OF_EXAMPLES.values(), ids=OF_EXAMPLES)
close = functools.partial(np.testing.assert_allclose, rtol=1e-12)


def of_one(metric, candidate, *references, **options):
    return metric([candidate], [list(references)], **options)[0]


# Words


def test_words_are_lower_case_and_without_punctuation():
    found = metrics.words_of("Don't stop, 2 well-lit rooms! (A 'new' x_1.)")
    assert found == (
        "don't", "stop", "2", "well-lit", "rooms", "a", "new", "x_1",
    )  # fmt: skip
    assert metrics.words_of("don\N{RIGHT SINGLE QUOTATION MARK}t") == ("don't",)
    assert metrics.words_of(" . ") == metrics.words_of("") == ()


def test_given_words_stay_as_they_are():
    assert metrics.words_of(["Two", "words."]) == ("Two", "words.")
    words = [[each.split() for each in texts] for texts in TEXTS[1]]
    candidates = [each.split() for each in TEXTS[0]]
    for metric in OF_EXAMPLES.values():
        close(metric(candidates, words), metric(*TEXTS))


# BLEU


def test_a_word_said_again_matches_no_more_often_than_in_a_reference():
    # The example of the paper: 2 of the 7, as the first reference has two.
    found = metrics.corpus_bleu(
        ["the the the the the the the"],
        [["The cat is on the mat.", "There is a cat on the mat."]],
    )
    close(found.precisions, [2 / 7, 0, 0, 0])
    close(found.scores, [2 / 7, 0, 0, 0])
    assert found.brevity_penalty == 1
    assert found.num_examples == 1


def test_scores_are_geometric_means_of_the_precisions():
    # a b c e f of a b c d: 3 of 5, 2 of 4, 1 of 3, 0 of 2.
    found = metrics.corpus_bleu(["a b c e f"], [["a b c d"]])
    close(found.precisions, [3 / 5, 1 / 2, 1 / 3, 0])
    expected = [3 / 5, (3 / 5 / 2) ** (1 / 2), (3 / 5 / 2 / 3) ** (1 / 3), 0]
    close(found.scores, expected)


def test_short_candidates_are_punished_by_the_length_of_their_references():
    found = metrics.corpus_bleu(["the cat"], [["the cat sat on mats"]])
    penalty = np.exp(1 - 5 / 2)
    close(found.brevity_penalty, penalty)
    close(found.scores, [penalty, penalty, 0, 0])
    # Of references as near as each other in length, 3 and 5, the shorter one counts;
    # of others the nearest, which is not the shortest.
    tied = metrics.corpus_bleu(["a b c d"], [["a b c d e", "a b c"]])
    assert tied.brevity_penalty == 1
    nearest = metrics.corpus_bleu(["a b c d"], [["a b c d e", "a b"]])
    close(nearest.brevity_penalty, np.exp(1 - 5 / 4))


def test_counts_are_summed_before_they_are_divided():
    found = metrics.corpus_bleu(["a b", "c d e f"], [["a b"], ["u v w x"]])
    close(found.precisions[:2], [2 / 6, 1 / 4])  # the means are 1/2 and 1/2


def test_lengths_are_summed_too():
    # 5 words of 3 + 2, though the second is too short by itself.
    found = metrics.corpus_bleu(["a b c d", "e"], [["a b c"], ["e f"]])
    assert found.brevity_penalty == 1


def test_bleu_without_a_run_of_words_is_undefined_where_no_text_has_one():
    found = metrics.corpus_bleu(["a b"], [["a b"]])
    np.testing.assert_array_equal(found.scores, [1, 1, np.nan, np.nan])
    found = metrics.corpus_bleu([""], [["a b"]])
    np.testing.assert_array_equal(found.scores, [0, 0, np.nan, np.nan])
    assert found.brevity_penalty == 0


def test_examples_without_a_reference_are_left_out_of_bleu():
    found = metrics.corpus_bleu(["a b", "c"], [["a b"], []])
    alone = metrics.corpus_bleu(["a b"], [["a b"]])
    assert found.num_examples == alone.num_examples == 1
    np.testing.assert_array_equal(found.scores, alone.scores)
    nothing = metrics.corpus_bleu(["a b"], [["..."]])
    assert nothing.num_examples == 0
    for value in nothing[:3]:
        assert np.all(np.isnan(value))


# ROUGE-L


def test_rouge_of_one_reference_by_hand():
    # In common a b c: P = 3/4, R = 3/5.
    found = of_one(metrics.rouge_l, "a b c d", "a x b c y")
    close(found, 2.44 * (3 / 4) * (3 / 5) / (3 / 5 + 1.44 * 3 / 4))
    # Lin's examples, with β = 1: "the gunman" alone is in one order.
    kill = functools.partial(of_one, metrics.rouge_l, beta=1.0)
    close(kill("police kill the gunman", "police killed the gunman"), 3 / 4)
    close(kill("the gunman kill police", "police killed the gunman"), 1 / 2)


def test_precision_and_recall_are_the_best_of_the_references():
    # P = 2/4 and 3/4, R = 2/2 and 3/6.
    found = of_one(metrics.rouge_l, "a b c d", "a b", "a b c x y z")
    close(found, 2.44 * (3 / 4) / (1 + 1.44 * 3 / 4))


def test_a_larger_beta_asks_for_recall():
    short, long = "a b", "a b c d e f"
    for candidate, reference, better in ((short, long, 0.2), (long, short, 5.0)):
        values = [
            of_one(metrics.rouge_l, candidate, reference, beta=beta)
            for beta in (0.2, 1.0, 5.0)
        ]
        assert values == sorted(values, reverse=better < 1)
        assert values[0] != values[2]


@pytest.mark.parametrize("beta", [0, -1.0, float("nan"), float("inf")])
def test_a_beta_that_is_not_positive_is_refused(beta):
    with pytest.raises(ValueError, match=rf"^`beta` \(={beta}\) must be positive"):
        of_one(metrics.rouge_l, "a", "a", beta=beta)


# CIDEr-D


def test_a_copy_scores_by_the_sizes_that_it_has():
    found = metrics.cider_d(["a b", "c", "d e f g"], [["a b"], ["c"], ["d e f g"]])
    close(found, [10 * 2 / 4, 10 * 1 / 4, 10])


def test_repetition_and_length_cost():
    # c c against c: min(2, 1) · 1 / (2 · 1), one word longer, one size of four.
    found = metrics.cider_d(["c c", "a"], [["c"], ["a"]])
    close(found, [10 / 4 / 2 * np.exp(-1 / 72), 10 / 4])


def test_rare_words_weigh_more():
    # Of three examples x is in two: log 3/2; a in one: log 3. Both texts are a word.
    references = [["a x"], ["b x"], ["b"]]
    rare, common = np.log(3), np.log(3 / 2)
    norm = np.hypot(rare, common)
    for candidate, weight in (("a", rare), ("x", common)):
        found = metrics.cider_d([candidate, "", ""], references)
        close(found, [10 / 4 * np.exp(-1 / 72) * weight / norm, 0, 0])
    # What no reference has weighs as if one had it.
    found = metrics.cider_d(["a q", "", ""], references)
    cosine = rare**2 / (np.hypot(rare, rare) * norm)
    close(found[0], 10 / 4 * cosine)


def test_an_example_counts_once_in_the_document_frequencies():
    once = metrics.cider_d(["a b", "a"], [["a c"], ["b"]])
    twice = metrics.cider_d(["a b", "a"], [["a c", "a c"], ["b", "b"]])
    close(once, twice)
    assert once[0] > 0


def test_references_have_the_mean_of_their_values():
    # Both sets have the same document frequencies.
    first = metrics.cider_d(["a b", "z"], [["a c", "a c", "b d"], ["q"]])[0]
    second = metrics.cider_d(["a b", "z"], [["a c", "b d", "b d"], ["q"]])[0]
    middle = metrics.cider_d(["a b", "z"], [["a c", "b d"], ["q"]])[0]
    close((first + second) / 2, middle)


def test_what_all_examples_have_in_common_weighs_nothing():
    np.testing.assert_array_equal(metrics.cider_d(["a"], [["a"]]), [np.nan])
    found = metrics.cider_d(["a", "a b"], [["a"], ["a b"]])
    close(found, [np.nan, 10 * 2 / 4])


# METEOR


def test_meteor_by_hand():
    # P = 1, R = 3/4, one chunk of 3.
    mean = (3 / 4) / (0.9 + 0.1 * 3 / 4)
    close(of_one(metrics.meteor_exact, "the cat sat", "the cat sat down"),
          mean * (1 - 1 / 2 / 27))  # fmt: skip
    # P = 3/4, R = 1.
    mean = (3 / 4) / (0.9 * 3 / 4 + 0.1)
    close(of_one(metrics.meteor_exact, "the cat sat down", "the cat sat"),
          mean * (1 - 1 / 2 / 27))  # fmt: skip
    # Two chunks of four words; and four, as each word stands by itself.
    close(of_one(metrics.meteor_exact, "a b c d", "c d a b"), 1 - 1 / 2 / 8)
    close(of_one(metrics.meteor_exact, "a b c d", "d c b a"), 1 / 2)


def test_a_repeated_word_is_matched_where_the_run_is_longest():
    # a b is one chunk of 2 words; P = 1/2, R = 1.
    expected = (1 / 2) / (0.9 / 2 + 0.1) * (1 - 1 / 2 / 8)
    for candidate in ("a x a b", "a b x b", "a a b b"):
        close(of_one(metrics.meteor_exact, candidate, "a b"), expected)
    # One of three matches.
    expected = (1 / 3) / (0.9 / 3 + 0.1) / 2
    close(of_one(metrics.meteor_exact, "a a a", "a"), expected)


def test_of_equally_long_runs_the_first_is_taken():
    # a a, then b and a by themselves: 3 chunks, where b a and a a would be 2.
    found = of_one(metrics.meteor_exact, "a a b a", "b a a a")
    close(found, 1 - 1 / 2 * (3 / 4) ** 3)


def test_the_best_reference_counts():
    found = of_one(metrics.meteor_exact, "a b c", "c b", "a b c", "a")
    close(found, of_one(metrics.meteor_exact, "a b c", "a b c"))


def fewest_chunks(words, reference):
    """(matches, chunks) by trying all ways to match as many words as possible."""
    options = [
        [None, *(j for j, other in enumerate(reference) if other == word)]
        for word in words
    ]
    found = []
    for places in itertools.product(*options):
        used = [place for place in places if place is not None]
        if len(set(used)) == len(used):
            chunks = sum(
                place is not None
                and (i == 0 or places[i - 1] != place - 1 or not place)
                for i, place in enumerate(places)
            )
            found.append((-len(used), chunks))
    matches, chunks = min(found)
    return -matches, chunks


def test_all_possible_words_match_in_chunks_nearly_as_few_as_possible():
    generator = np.random.default_rng(0)
    draw = lambda: tuple(generator.choice(list("abc"), generator.integers(1, 6)))
    more = 0
    for _ in range(200):
        words, reference = draw(), draw()
        found = meteor._chunks(words, reference)
        matches, chunks = fewest_chunks(words, reference)
        assert sum(found) == matches
        assert chunks <= len(found) <= chunks + 1
        more += len(found) > chunks
    assert more <= 4


# Diversity and labels


def test_distinct_by_hand():
    assert metrics.distinct_n(["a b a b"], n=1) == 1 / 2
    close(metrics.distinct_n(["a b a b"], n=2), 2 / 3)
    close(metrics.distinct_n(["a b a", "B a c", ""], n=1), 3 / 6)  # of all together
    close(metrics.distinct_n(["a b a", "b a c"], n=2), 3 / 4)
    assert metrics.distinct_n(["a b c"], n=3) == 1
    assert np.isnan(metrics.distinct_n(["a b"], n=3))
    assert np.isnan(metrics.distinct_n([], n=1))


@pytest.mark.parametrize("n", [0, -1, 1.5, True])
def test_n_must_be_a_number_of_words(n):
    with pytest.raises(ValueError, match=rf"^`n` \(={n}\) must be a whole number"):
        metrics.distinct_n(["a"], n=n)


def test_a_label_is_named_by_all_its_words_in_a_run():
    texts = ["A red car.", "a red old car", "seventeen", "the seven", "", "x"]
    labels = ["Red car", "red car", "seven", ["seven"], "x", " "]
    found = metrics.label_mention(texts, labels)
    np.testing.assert_array_equal(found, [1, 0, 0, 1, 0, np.nan])
    assert metrics.label_mention([], []).shape == (0,)


# All of them


def test_values_are_those_of_published_packages():
    for prefix, texts in (("", TEXTS[0]), ("short_", GOLDEN["short_candidates"])):
        found = metrics.corpus_bleu(texts, TEXTS[1])
        close(found.scores, GOLDEN[f"{prefix}bleu"])
        close(found.brevity_penalty, GOLDEN[f"{prefix}bleu_brevity_penalty"])
    assert found.brevity_penalty < 0.5
    close(metrics.corpus_bleu(*TEXTS).precisions, GOLDEN["bleu_precisions"])
    close(metrics.cider_d(*TEXTS), GOLDEN["cider_d"])
    close(metrics.rouge_l(*TEXTS), GOLDEN["rouge_l_beta_1.2"])
    first = [references[:1] for references in TEXTS[1]]
    found = metrics.rouge_l(TEXTS[0], first, beta=1.0)
    close(found, GOLDEN["rouge_l_first_reference_beta_1"])
    texts, references = zip(*GOLDEN["unrepeated"], strict=True)
    found = metrics.meteor_exact(texts, [[each] for each in references])
    close(found, GOLDEN["meteor_exact"])


@of_examples
def test_the_order_of_examples_and_of_references_does_not_count(metric):
    turned = [references[::-1] for references in TEXTS[1]][::-1]
    close(metric(TEXTS[0][::-1], turned)[::-1], metric(*TEXTS))


@of_examples
def test_a_copy_is_best_and_other_words_are_worst(metric):
    copies = [references[0] for references in TEXTS[1]]
    first = [references[:1] for references in TEXTS[1]]
    copied, found = metric(copies, first), metric(TEXTS[0], first)
    assert np.all(copied >= found)
    assert np.all(found >= 0)
    top = {metrics.rouge_l: 1, metrics.cider_d: 10, metrics.meteor_exact: 1}[metric]
    assert np.all(copied <= top * (1 + 1e-12))
    np.testing.assert_array_equal(metric(["unheard words"] * 6, first), np.zeros(6))


@of_examples
def test_nothing_said_is_0_and_nothing_to_compare_with_is_undefined(metric):
    candidates = ["", "c d", "c d", "e"]
    references = [["a b"], [], ["", "..."], ["e"]]
    found = metric(candidates, references)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(np.isnan(found), [False, True, True, False])
    assert found[0] == 0
    # Those without a reference change no other, and a reference without words none.
    close(found[[0, 3]], metric(["", "e"], [["a b", ""], ["e"]]))
    assert metric([], []).shape == (0,)


def test_lists_that_do_not_fit_are_refused():
    for metric in (*OF_EXAMPLES.values(), metrics.corpus_bleu):
        with pytest.raises(ValueError, match=r"^`candidates` must be a list; got the"):
            metric("a b", [["a"]])
        with pytest.raises(ValueError, match=r"^`references` must be a list; got the"):
            metric(["a b"], "a")
        with pytest.raises(ValueError, match=r"^`references`\[1\] must be a list of"):
            metric(["a b", "c"], [["a"], "a b"])
        with pytest.raises(ValueError, match=r"^`references` \(of 1 lists\) must .* 2"):
            metric(["a b", "c"], [["a"]])
        with pytest.raises(ValueError, match=r"^a text must be a string or its words"):
            metric([3], [["a"]])
        with pytest.raises(ValueError, match=r"^a text must be a string or its words"):
            metric(["a"], [[["a", 3]]])
    with pytest.raises(ValueError, match=r"^`candidates` must be a list"):
        metrics.distinct_n("a b", n=1)
    with pytest.raises(ValueError, match=r"^`labels` must be a list"):
        metrics.label_mention(["a"], "a")
    with pytest.raises(ValueError, match=r"^`labels` \(of length 1\) must hold .* 2"):
        metrics.label_mention(["a", "b"], ["a"])
