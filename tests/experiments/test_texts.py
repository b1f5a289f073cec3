"""What the experiments on texts share: parts, encoders, judging, showing."""

import dataclasses
import json
import os
import pathlib

import jax
import numpy as np
import pytest

from experiments.running import flags
from experiments.texts import (
    corpora,
    explaining,
    judging,
    networks,
    options,
    showing,
    sources,
)
from xguide_jax import data, models

CONFIG = options.TextConfig(num_train=64, num_evaluated=8, batch_size=8)


@pytest.fixture(scope="module")
def parts():
    return sources.make_parts(CONFIG, 0)


@pytest.fixture(scope="module")
def network(parts):
    return networks.make_network(CONFIG, parts, pooling="class_token", seed=0)


def test_every_part_has_pairs_of_its_own_and_every_seed_too(parts):
    other = sources.make_parts(CONFIG, 1)
    texts = {
        name: {row.tobytes() for row in part.inputs["tokens"]}
        for name, part in {
            "train": parts.train, "validation": parts.validation, "test": parts.test,
            "next seed": other.train,
        }.items()
    }  # fmt: skip
    for name, one in texts.items():
        for others in (texts[n] for n in texts if n != name):
            assert len(one & others) < 0.1 * len(one), name


def test_tests_differ_in_the_cue_alone(parts):
    first, clean, flipped = parts.tests.values()
    for test in (clean, flipped):
        np.testing.assert_array_equal(test.labels, first.labels)
    # A cue is one more token.
    lengths = [t.inputs["mask"].sum(axis=1) for t in (first, clean, flipped)]
    assert (lengths[2] - lengths[1] == 1).all()
    assert (lengths[0] >= lengths[1]).all()


def test_the_vocabulary_is_of_the_training_part_and_knows_the_rest(parts):
    unknown = parts.tokenizer.token_to_id("[UNK]")
    assert not (parts.train.inputs["tokens"] == unknown).any()
    whole = sources.make_parts(dataclasses.replace(CONFIG, num_train=3000), 0)
    for test in (*whole.tests.values(), whole.probes):
        assert not (test.inputs["tokens"] == unknown).any()


def test_probes_have_every_heuristic_with_both_answers(parts):
    known = parts.probes.annotations
    cells = set(zip(known["heuristic"], known["gold"], strict=True))
    assert cells == {(h, g) for h in range(3) for g in range(2)}
    np.testing.assert_array_equal(parts.probes.labels, known["gold"])


def test_minilm_is_held_but_for_its_top_and_its_states_are_stored(parts):
    pytest.importorskip("tokenizers")
    try:
        models.packaged_minilm()
    except ImportError as error:
        pytest.skip(str(error))
    config = dataclasses.replace(CONFIG, model="minilm", num_train=8, batch_size=4)
    small = sources.make_parts(config, 0)
    network = networks.make_network(config, small, pooling="class_token", seed=0)
    few = data.take(small.train, np.arange(4))
    stored = networks.with_states(config, few, network)
    assert stored.inputs["hidden_3"].shape == (4, 32, 384)
    problem = networks.make_problem(config, stored, network, seed=0)
    rest = (network.params, network.model_state)
    whole, _ = network.apply_fn(*rest, few.inputs, train=False)
    short, _ = problem.apply_fn(*rest, stored.inputs, train=False)
    np.testing.assert_allclose(short.logits, whole.logits, atol=0.02)  # float16
    names = {path[0].key for path, _ in jax.tree.leaves_with_path(network.params)}
    assert names == {"layer_4", "layer_5", "classifier"}


def test_a_small_network_is_trained_whole(parts, network):
    assert networks.with_states(CONFIG, parts.train, network) is parts.train
    assert not network.model_state


def test_maps_are_of_tokens_and_leave_padding_out(parts, network):
    few = data.take(parts.test, np.arange(4))
    explain = explaining.make_explain(
        network, layer=network.last_attention, num_points=2, batch_size=4
    )

    class State:
        params = {"model": network.params}  # noqa: RUF012
        model_state = network.model_state

    maps = explain(State, few)
    assert maps.keys() == explaining.NAMES.keys()
    for name, values in maps.items():
        assert values.shape == few.inputs["mask"].shape, name
        assert not values[~few.inputs["mask"]].any(), name
    np.testing.assert_allclose(maps["attention"].sum(axis=1), 1, atol=1e-5)
    found = judging.plausibility(maps, few)
    assert 0 < found["attention"].auprc.summary.mean <= 1


def test_plausibility_by_hand():
    marks = np.array([[0, 1, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0]], np.float32)
    texts = data.Dataset(
        inputs={"mask": np.array([[1] * 5 + [0], [1] * 5 + [0]], bool)},
        labels=np.zeros(2, np.int32),
        class_names=("one",),
        annotations={
            "rationale": marks,
            "rationale_valid": np.array([True, False]),
            "special": np.array([[1, 0, 0, 0, 1, 0]] * 2, bool),
        },
    )
    # Of the tokens 1, 2 and 3 the marked ones stand first and last in this order.
    maps = {"one": np.array([[9.0, -3.0, 2.0, 1.0, 9.0, 9.0]] * 2, np.float32)}
    found = judging.plausibility(maps, texts)["one"]
    # The second text has no marks, and is no failure of the map.
    np.testing.assert_allclose(found.auprc.rows, [(1 + 2 / 3) / 2], rtol=1e-6)
    np.testing.assert_allclose(found.rank.rows, [1 / 2])
    np.testing.assert_allclose(found.mass.rows, [4 / 6], rtol=1e-6)
    texts.annotations["rationale_valid"][:] = False
    assert judging.plausibility(maps, texts) == {}


def test_shown_words_have_the_sum_of_their_tokens(parts):
    few = data.take(parts.test, np.arange(2))
    maps = {"one": np.ones(few.inputs["mask"].shape, np.float32)}
    shown = showing.shown(few, parts, maps, few.labels)
    assert shown.scores["one"][0] == [1.0] * len(shown.words[0])
    assert "".join(shown.words[0]).replace("\n", " ").split() == (
        f"{parts.texts.examples[0].text} {parts.texts.examples[0].text_b}".split()
    )
    assert shown.predicted == shown.titles
    marked = [w.strip() for w, m in zip(shown.words[0], shown.marked[0]) if m]  # noqa: B905
    example = parts.texts.examples[0]
    assert marked == [
        *(example.text[a:b] for a, b in example.evidence),
        *(example.text_b[a:b] for a, b in example.evidence_b),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.0}, "`learning_rate`"),
        ({"max_length": 4}, "`max_length`"),
        ({"num_train": 4}, "`num_train`"),
        ({"artefact_rate": 1.5}, "`artefact_rate`"),
        (
            {"dataset": "fever", "data_dir": pathlib.Path(), "max_length": 127},
            "`max_length` .=127. must be at least 128",
        ),
        ({"dataset": "esnli"}, "--dataset esnli needs --data-dir"),
        ({"hard": pathlib.Path("x")}, "--hard .=x. goes with --dataset esnli"),
        (
            {"hans": pathlib.Path("x"), "dataset": "esnli", "data_dir": pathlib.Path()},
            "--hans .=x. must be a file",
        ),
    ],
)
def test_flags_that_cannot_be_met_are_refused(change, message, monkeypatch):
    monkeypatch.delenv("XGUIDE_DATA", raising=False)
    with pytest.raises(ValueError, match=message):
        options.check(dataclasses.replace(CONFIG, **change))


@pytest.mark.skipif("XGUIDE_DATA" not in os.environ, reason="needs XGUIDE_DATA")
def test_more_tests_beside_esnli_are_read_from_files(tmp_path):
    pair = {"pairID": "1", "sentence1": "A man.", "sentence2": "A dog."}
    hard = {**pair, "gold_label": "contradiction"}
    (tmp_path / "hard.jsonl").write_text(json.dumps(hard))
    kind = {"heuristic": "subsequence", "subcase": "sn_x", "gold_label": "entailment"}
    (tmp_path / "hans.jsonl").write_text(json.dumps({**pair, **kind}))
    config = dataclasses.replace(
        CONFIG, dataset="esnli", hard=tmp_path / "hard.jsonl",
        hans=tmp_path / "hans.jsonl",
    )  # fmt: skip
    options.check(config)
    parts = sources.make_parts(config, 0)
    assert list(parts.tests) == ["in distribution", "SNLI-hard"]
    assert parts.tests["SNLI-hard"].class_names == parts.train.class_names
    assert parts.train.class_names[parts.tests["SNLI-hard"].labels[0]] == (
        "contradiction"
    )
    assert parts.probes.annotations["heuristic"].tolist() == [1]
    assert parts.probes.labels.tolist() == [0]
    marked = parts.train.annotations["rationale_valid"]
    assert marked.mean() > 0.5


@pytest.mark.skipif("XGUIDE_DATA" not in os.environ, reason="needs XGUIDE_DATA")
def test_claims_of_fever_share_no_article_and_training_knows_the_evidence():
    folder = pathlib.Path(os.environ["XGUIDE_DATA"])
    config = dataclasses.replace(CONFIG, dataset="fever", data_dir=folder)
    made = corpora._fever(config, 0)
    parts = [made.train, made.validation, *made.tests.values()]
    articles = [{e.attributes["document"] for e in p.examples} for p in parts]
    for number, one in enumerate(articles):
        assert one
        assert not one & set().union(*articles[:number])
    kept = lambda p: np.mean([e.attributes["evidence_kept"] == "all" for e in p])
    whole = corpora._fever(dataclasses.replace(config, num_train=10_000), 0)
    assert kept(whole.train.examples) > kept(parts[2].examples) + 0.05
    dataset = sources.make_parts(config, 0).train
    assert dataset.annotations["rationale_valid"].mean() > 0.3


@pytest.mark.skipif("XGUIDE_DATA" not in os.environ, reason="needs XGUIDE_DATA")
def test_pairs_of_esnli_with_one_premise_are_in_one_part():
    folder = pathlib.Path(os.environ["XGUIDE_DATA"])
    config = dataclasses.replace(CONFIG, dataset="esnli", data_dir=folder)
    made = corpora._esnli(dataclasses.replace(config, num_train=10_000), 0)
    train, held = (
        {e.text for e in part.examples} for part in (made.train, made.validation)
    )
    assert train
    assert held
    assert not train & held


@pytest.mark.parametrize(("model", "rate"), [("small", 2e-3), ("minilm", 1e-4)])
def test_the_rate_is_that_of_the_model_unless_it_is_given(model, rate):
    config = dataclasses.replace(CONFIG, model=model)
    assert options.learning_rate(config) == rate
    config = dataclasses.replace(config, learning_rate=0.5)
    assert options.learning_rate(config) == 0.5


def test_more_test_pairs_than_there_are_is_refused():
    with pytest.raises(flags.RefusedError, match="`num_evaluated`"):
        sources.make_parts(dataclasses.replace(CONFIG, num_evaluated=901), 0)
