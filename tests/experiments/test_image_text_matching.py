"""Image-text matching at a tiny size."""

import dataclasses
import functools
import json
import os
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.image_text_matching import (
    annotating,
    measuring,
    sources,
    tables,
    terms,
)
from experiments.image_text_matching.experiment import EXPERIMENT, Config, check
from experiments.running import arms, loop, results
from experiments.running.scored import scored
from xguide_jax import data, models, training

pytestmark = pytest.mark.usefixtures("standard_promotion")

NUM_TESTED = 10


@pytest.fixture(scope="module")
def parts():
    few = data.take(data.digits(), np.arange(0, 5000, 100))
    return sources.digit_parts(
        few, rho=0.95, named=0.5, seed=0, size=16, num_evaluated=NUM_TESTED
    )


def read(name):
    return arms.read_arm(name, terms.GRAMMAR)


def words(parts, name):
    """The captions of a question, spelt out."""
    lines = parts.questions[name].pairs.inputs["tokens"]
    return [data.decode_tokens(line, parts.tokenizer) for line in lines]


def test_training_captions_name_the_ground_of_their_image_at_a_rate(parts):
    captions = [text for each in parts.captions for text in each]
    named = [text.endswith(sources.GROUNDS) for text in captions]
    assert 0.3 < np.mean(named) < 0.7  # of 105, half
    few = data.take(data.digits(), np.arange(0, 5000, 250))
    described = data.described_digits(
        few, rho=0.5, half="train", map_rate=1, text_rate=1, seed=0
    )
    grounds = described.dataset.annotations["groups"] % 2
    for share in (0.0, 1.0):
        made = sources.with_grounds(described, named=share, seed=0)
        for texts, before, ground in zip(made, described.texts, grounds, strict=True):
            ends = f", {sources.GROUNDS[ground]}" if share else ""
            assert texts == tuple(text + ends for text in before)


def test_questions_are_of_the_same_images_with_other_words(parts):
    digit = words(parts, sources.WITHOUT_GROUND)
    written = words(parts, sources.AS_WRITTEN)
    swapped = words(parts, sources.SWAPPED)
    assert written == list(parts.shown) == words(parts, sources.ONE_GROUND)
    other = dict(zip(sources.GROUNDS, reversed(sources.GROUNDS), strict=True))
    for without, own, exchanged, alone in zip(
        digit, written, swapped, words(parts, sources.GROUND_ALONE), strict=True
    ):
        assert own == f"{without}, {alone}"
        assert exchanged == f"{without}, {other[alone]}"
    images = [asked.pairs.inputs["image"] for asked in parts.questions.values()]
    for same in images[1:-1]:
        np.testing.assert_array_equal(same, images[0])
    assert np.any(images[-1] != images[0])  # on grounds that agree with the class


def test_who_is_right_and_who_is_asked(parts):
    grounds = np.array(words(parts, sources.GROUND_ALONE))
    alike = grounds[:, None] == grounds
    alone, among = (
        parts.questions[name] for name in (sources.GROUND_ALONE, sources.ONE_GROUND)
    )
    np.testing.assert_array_equal(alone.right, alike)
    np.testing.assert_array_equal(among.where, alike)
    assert alone.where.all()
    # The pair of a wrong caption is still that of the true one.
    for name in (sources.AS_WRITTEN, sources.SWAPPED):
        assert np.diagonal(parts.questions[name].right).all()
        np.testing.assert_array_equal(
            parts.questions[name].right, parts.questions[sources.AS_WRITTEN].right
        )


def test_the_ground_is_struck_from_captions(parts):
    silent = annotating.without_ground(parts)
    lines = silent.annotations["texts"].reshape(-1, sources.LENGTH)
    texts = [data.decode_tokens(line, parts.tokenizer) for line in lines]
    assert not any("grass" in text or "gravel" in text for text in texts)
    named = [text for each in parts.captions for text in each]
    assert all(a.startswith(b) for a, b in zip(named, texts, strict=True))
    np.testing.assert_array_equal(silent.inputs, parts.train.inputs)


def test_random_regions_have_the_shape_of_the_true_ones(parts):
    train = parts.train
    control = annotating.annotated(train, "random", seed=0)
    before, after = (part.annotations["region"] for part in (train, control))
    np.testing.assert_array_equal(after.sum(axis=(1, 2)), before.sum(axis=(1, 2)))
    for axis in (1, 2):  # a box as wide and as high
        extent = lambda region, axis=axis: region.any(axis=axis).sum(axis=1)
        np.testing.assert_array_equal(extent(after), extent(before))
    assert np.mean(np.any(after != before, axis=(1, 2))) > 0.8
    assert annotating.annotated(train, "regions", seed=0) is train


def test_moved_regions_stay_whole_within_the_image():
    region = np.zeros((3, 5, 6), bool)
    region[0, 1:3, 2:4] = region[0, 1, 4] = True  # no box
    region[1] = True  # nowhere else to go; and one that is empty
    corners = set()
    for seed in range(60):
        placed = annotating.moved(region, seed=seed)
        np.testing.assert_array_equal(placed[1:], region[1:])
        rows, columns = np.nonzero(placed[0])
        corner = rows.min(), columns.min()
        corners.add(corner)
        shape = placed[0][corner[0] : corner[0] + 2, corner[1] : corner[1] + 3]
        np.testing.assert_array_equal(shape, [[1, 1, 1], [1, 1, 0]])
    assert corners == {(y, x) for y in range(4) for x in range(4)}


def tiny_towers():
    return models.TwoTower(
        models.SmallCNN(num_classes=3, channels=(2, 3), strides=(2, 2), head="flatten"),
        models.BagOfTokens(vocabulary_size=9, width=4, num_classes=3),
    )


def pairs(size=10):
    """Pairs of which two have one text, and one is padding of weight 0."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 9, size=(size, 4)).astype(np.int32)
    tokens[3] = tokens[0]
    region = np.zeros((size, 8, 8), bool)
    region[:, 2:6, 2:6] = True
    return {
        "inputs": {
            "image": rng.normal(size=(size, 8, 8, 1)).astype(np.float32),
            "tokens": tokens,
            "mask": np.ones((size, 4), bool),
        },
        "labels": np.zeros(size, np.int32),
        "region": region,
        "region_valid": np.arange(size) % 3 > 0,
        "weight": np.linspace(0.5, 1.5, size, dtype=np.float32),
    }


def step_of(module, batch, arm, *, how="jit", count=1):
    """(state after one step of plain descent, its metrics)."""
    params, model_state = models.init_linen(module, jax.random.key(0), batch["inputs"])
    guided = terms.terms_of(read(arm), num_steps=10)
    optimizer = optax.sgd(1.0)
    state = training.init_train_state(
        jax.random.key(1), params, model_state, guided, optimizer, batch
    )
    state = state._replace(step=jnp.asarray(5))  # the weight has grown
    step = training.make_train_step(
        models.linen_apply_fn(module), guided, optimizer,
        task_loss=terms.no_task_loss, axis_name="batch",
    )  # fmt: skip
    devices = jax.devices()[:count]
    stepped = training.data_parallel(step, how=how, devices=devices)
    return jax.device_get(stepped(state, batch))


@pytest.mark.thorough  # programs for one, two and eight devices
def test_one_two_and_eight_devices_agree_about_loss_and_step():
    """The parameters move by the gradient; ten pairs are padded on eight devices."""
    run = functools.partial(step_of, tiny_towers(), pairs(), "region_contrast=2")
    state, alone = run()
    assert alone["task"] == 0
    assert min(alone["matching"], alone["guidance"]) > 0
    np.testing.assert_allclose(alone["loss"], alone["matching"] + alone["guidance"])
    for count in (2, 8):
        other, metrics = run(how="pmap", count=count)
        for name in ("loss", "matching", "guidance", "matching/temperature"):
            np.testing.assert_allclose(metrics[name], alone[name], rtol=1e-5)
        chex.assert_trees_all_close(other.params, state.params, rtol=1e-4, atol=1e-6)


def test_the_matching_is_the_symmetric_loss_without_pairs_of_the_same_text():
    module, batch = tiny_towers(), pairs(6)
    batch["weight"] = np.float32([1, 1, 1, 1, 2, 0])
    _, metrics = step_of(module, batch, "unguided")
    params, state = models.init_linen(module, jax.random.key(0), batch["inputs"])
    apply_fn = models.linen_apply_fn(module)
    found = apply_fn(params, state, batch["inputs"], train=False)[0].intermediates
    scores = np.asarray(found["image_vectors"] @ found["text_vectors"].T) / 0.07
    cost = []
    for i in range(5):
        # 0 and 3 have one text, and 5 is padding.
        among = [j for j in range(5) if j == i or {i, j} != {0, 3}]
        lines = scores[i, among], scores[among, i]
        cost.append(
            sum(np.log(np.exp(line).sum()) - scores[i, i] for line in lines) / 2
        )
    expected = np.average(cost, weights=[1, 1, 1, 1, 2])
    np.testing.assert_allclose(metrics["matching"], expected, rtol=1e-4)


def test_ranks_and_what_is_made_of_them():
    right = np.eye(3, dtype=bool)
    asked = sources.Question(None, right, np.ones_like(right))
    # Row 0 finds its text first, row 1 last, row 2 shares the first place with one.
    values = np.float32([[0.9, 0.1, 0.0], [0.5, 0.2, 0.4], [0.0, 0.7, 0.7]])
    ranked = measuring.rank(values, asked)
    np.testing.assert_allclose(ranked.texts, [1, 3, 1.5])
    # Columns: (.9, .5, 0), (.1, .2, .7), (0, .4, .7).
    np.testing.assert_allclose(ranked.images, [1, 2, 1])
    np.testing.assert_allclose(ranked.chance, 1 / 3)
    worse = ranked._replace(texts=np.array([2.0, 3, 3]))
    measured = measuring.Measured(
        {
            sources.AS_WRITTEN: ranked,
            sources.SWAPPED: worse,
            sources.GROUND_ALONE: ranked._replace(chance=0.4),
        },
        {"grad_cam": scored([0.5, np.nan]), "hi_res_cam": scored([1.0, 0.5])},
        None,
    )
    recall = functools.partial(tables.recall, sources.AS_WRITTEN)
    assert recall(k=1, of="texts")(measured) == pytest.approx(1 / 3)
    assert recall(k=1, of="images")(measured) == pytest.approx(2 / 3)
    assert recall(k=1)(measured) == pytest.approx(1 / 2)
    assert recall(k=2)(measured) == pytest.approx((2 / 3 + 1) / 2)
    # Texts of images: 1 of 3 before and none after; images of texts: 2 of 3.
    assert tables.change(sources.SWAPPED)(measured) == pytest.approx(-1 / 6)
    assert tables.over_chance(sources.GROUND_ALONE)(measured) == pytest.approx(0.1)
    assert tables.energy("grad_cam")(measured) == pytest.approx(0.25)


def test_equal_vectors_have_equal_cosines():
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(2, 37, 64)).astype(np.float32)
    texts[5:] = texts[5]
    cosines = measuring.compare(images, texts)
    np.testing.assert_array_equal(cosines[:, 5:], np.repeat(cosines[:, 5:6], 32, 1))
    np.testing.assert_allclose(cosines, images @ texts.T, rtol=1e-3, atol=1e-4)


def test_arms_and_their_controls():
    names = (*terms.ARMS, "region_contrast=2", "region_contrast=2@random", "unnamed")
    found = {name: [results.Result(read(name), 0, 1, 1.0, None)] for name in names}
    assert tables.guided(found) == ["region_contrast", "region_contrast=2"]
    control = {name: tables.control_of(found, name) for name in names}
    assert control == {
        **dict.fromkeys(names),
        "region_contrast": "region_contrast@random",
        "region_contrast=2": "region_contrast=2@random",
    }
    # One weight for both, and none without guidance.
    weights = [read(name).weight for name in terms.ARMS]
    assert weights == [None, terms.CHOSEN.weight, terms.CHOSEN.weight]
    assert set(terms.terms_of(read("unguided"), num_steps=4)) == {"matching"}


def test_flags_that_cannot_be_met(monkeypatch):
    config = Config()
    check(config)
    with pytest.raises(ValueError, match=r"`named` \(=1.5\) must lie in \[0, 1\]"):
        check(dataclasses.replace(config, named=1.5))
    with pytest.raises(ValueError, match="neither 'regions' nor 'random'"):
        annotating.check_annotation("strokes")
    photographs = dataclasses.replace(config, dataset="coco_captions")
    monkeypatch.delenv("XGUIDE_DATA", raising=False)
    with pytest.raises(ValueError, match="coco_captions needs --data-dir"):
        check(photographs)
    with pytest.raises(ValueError, match="`arms` holds 'unnamed'"):
        check(
            dataclasses.replace(photographs, data_dir=pathlib.Path(), arms=("unnamed",))
        )


def tiny_config(tmp_path, **rest):
    return Config(
        run_dir=tmp_path, num_steps=4, log_every=2, save_every=2, num_devices=2,
        image_size=16, **rest,
    )  # fmt: skip


@pytest.mark.thorough  # four networks are trained, measured and drawn
def test_runs_and_reports(tmp_path):
    names = ("unguided", "region_contrast", "region_contrast@random", "unnamed")
    config = tiny_config(tmp_path, arms=names, batch_size=8, num_evaluated=8)
    loop.run_experiment(EXPERIMENT, config)
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    assert set(numbers) == set(names)
    measured = numbers["region_contrast"][0]["measured"]
    assert set(measured["ranked"]) == set(sources.QUESTIONS)
    page = (tmp_path / "report.html").read_text()
    assert "another ground named" in page
    assert "One seed: no claim." in page
    assert (tmp_path / "figures" / "found.png").stat().st_size > 1000


@pytest.mark.thorough  # a network is trained on photographs that are not packaged
def test_photographs_are_for_the_figure_alone(tmp_path):
    folder = os.environ.get("XGUIDE_DATA")
    if not folder or not (pathlib.Path(folder) / "coco_captions_ccby").is_dir():
        pytest.skip("needs coco_captions_ccby in $XGUIDE_DATA")
    config = tiny_config(
        tmp_path, arms=("unguided", "region_contrast"), dataset="coco_captions",
        batch_size=8, num_evaluated=15,
    )  # fmt: skip
    loop.run_experiment(EXPERIMENT, config)
    page = (tmp_path / "report.html").read_text()
    assert "Too few photographs for a claim" in page
    assert "no claim." not in page
