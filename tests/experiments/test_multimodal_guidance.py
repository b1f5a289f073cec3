"""Multimodal guidance at a tiny size."""

import dataclasses
import json
import types

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.multimodal_guidance import sources, tables, telling, terms
from experiments.multimodal_guidance.experiment import EXPERIMENT, Config, check
from experiments.running import arms, loop, results
from experiments.running.scored import scored
from xguide_jax import data
from xguide_jax.types import ModelOutput

pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.fixture(scope="module")
def parts():
    few = data.take(data.digits(), np.arange(0, 5000, 100))
    return sources.make_parts(few, rho=0.95, seed=0, size=16)


def read(name):
    return arms.read_arm(name, terms.GRAMMAR)


def test_all_parts_share_the_words_of_the_training_part(parts):
    for part in parts.digits:
        known = part.annotations
        assert known["texts"].shape == (len(part.labels), 3, sources.LENGTH)
        assert known["texts_valid"].all()
        assert known["region"].shape == (len(part.labels), 16, 16)
    train = parts.digits.train
    assert not np.any(train.annotations["texts"] == data.UNK_ID)
    line = parts.digits.balanced.annotations["texts"][0, 0]
    said = data.decode_tokens(line, parts.tokenizer)
    assert said == parts.references[0][0]


def test_an_arm_sees_its_share_of_the_maps_and_all_texts(parts):
    train = parts.digits.train
    few, more = (sources.annotated(train, how, seed=0) for how in ("10", "50"))
    shares = [part.annotations["region_valid"].mean() for part in (few, more)]
    np.testing.assert_allclose(shares, [0.1, 0.5], atol=1 / len(train.labels))
    assert not np.any(
        few.annotations["region_valid"] & ~more.annotations["region_valid"]
    )
    without = ~few.annotations["region_valid"]
    assert not few.annotations["region"][without].any()
    assert few.annotations["texts_valid"].all()
    # What is measured, and the true maps of all images, are not for training.
    assert set(few.annotations) == {
        "region", "region_valid", "texts", "texts_mask", "texts_valid",
    }  # fmt: skip


def test_controls_are_those_of_other_images(parts):
    train = parts.digits.train
    maps = sources.annotated(train, "100-shuffled-maps", seed=0).annotations
    texts = sources.annotated(train, "100-shuffled-texts", seed=0).annotations
    known = train.annotations
    differ = lambda a, b: np.any(a != b, axis=tuple(range(1, a.ndim))).mean()
    assert differ(maps["region"], known["region"]) > 0.8
    assert differ(maps["texts"], known["texts"]) == 0
    assert differ(texts["region"], known["region"]) == 0
    assert differ(texts["texts"], known["texts"]) > 0.8
    # The same maps and texts, at other images.
    assert maps["region"].sum() == known["region"].sum()
    np.testing.assert_array_equal(
        np.sort(texts["texts"].sum(axis=(1, 2))), np.sort(known["texts"].sum((1, 2)))
    )


@pytest.mark.parametrize("how", ["boxes", "101", "-1", "10-shuffled", "10-"])
def test_an_unknown_annotation_is_refused(how):
    with pytest.raises(ValueError, match="the percentage of images with a map"):
        sources.check_annotation(how)


def test_a_prior_of_no_map_is_refused():
    config = dataclasses.replace(Config(), arms=("distributed@0",))
    with pytest.raises(ValueError, match="`arms` holds 'distributed@0'"):
        check(config)
    check(dataclasses.replace(Config(), arms=("distributed@0.5", "grounded@0")))


def test_arms_and_those_they_are_compared_with():
    assert all(read(arm) for arm in terms.ARMS)
    assert terms.telling_of(read("grounded@10")) == "grounding"
    assert terms.telling_of(read("text@0")) == "text"
    assert terms.telling_of(read("visual@10")) is None
    assert terms.telling_of(read("unguided")) is None
    names = ("unguided", "visual@10", "visual@10-shuffled-maps", "grounded@10")
    names += ("grounded@0", "grounded@0-shuffled-texts", "both@50")
    found = {name: [results.Result(read(name), 0, 1, 1.0, None)] for name in names}
    without = {name: tables.without_texts(found, name) for name in names}
    assert without == {
        **dict.fromkeys(names),
        "grounded@10": "visual@10",
        "grounded@0": "unguided",
        "grounded@0-shuffled-texts": "unguided",
    }
    control = {name: tables.control_of(found, name) for name in names}
    assert control == {
        **dict.fromkeys(names),
        "visual@10": "visual@10-shuffled-maps",
        "grounded@0": "grounded@0-shuffled-texts",
    }


def test_the_grounding_gap_is_what_the_own_map_saves():
    empty = scored([0.0])
    told = telling.Told(
        0.0, empty, empty, empty, 0.0, empty,
        cost=scored([1.0, 2.0]), cost_shuffled=scored([1.5, 1.75]),
        cost_uniform=empty, texts=[],
    )  # fmt: skip
    np.testing.assert_allclose(telling.gap(told).rows, [0.5, -0.25])


@pytest.mark.thorough  # two networks are trained with a decoder, and write
def test_runs_and_reports(tmp_path):
    names = ("unguided", "distributed@50")
    config = Config(
        run_dir=tmp_path, arms=names, num_steps=4, batch_size=8, log_every=2,
        save_every=2, num_evaluated=8, num_points=2, num_devices=2, image_size=16,
    )  # fmt: skip
    loop.run_experiment(EXPERIMENT, config)
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    assert set(numbers) == set(names)
    assert numbers["unguided"][0]["measured"]["told"] is None
    told = numbers["distributed@50"][0]["measured"]["told"]
    assert len(told["texts"]) == 8
    costs = [told[name]["summary"]["mean"] for name in ("cost", "cost_uniform")]
    assert costs[0] != costs[1]  # the map is read
    page = (tmp_path / "report.html").read_text()
    assert "Grounding gap" in page
    assert "How much of a text hangs on the map" in page


def test_resized_parts_keep_what_is_no_map(parts):
    for part in parts.digits:
        assert part.inputs.shape[1:] == (16, 16, 1)
        groups = part.annotations["groups"]
        # Groups are class and texture, and follow their images.
        np.testing.assert_array_equal(groups // 2, part.labels)
    agrees = lambda part: np.mean(part.annotations["groups"] % 2 == part.labels)
    assert agrees(parts.digits.train) > 0.8 > agrees(parts.digits.balanced)


def test_a_text_is_told_from_the_map_of_the_predicted_class():
    features = jnp.arange(8.0).reshape(1, 2, 2, 2)

    def apply_fn(params, model_state, inputs, *, train, overrides=None, **rest):
        layer = (overrides or {}).get("features", inputs)
        logits = jnp.mean(layer, axis=(1, 2)) * jnp.array([1.0, params])
        return ModelOutput(logits, {"features": layer}), model_state

    look = telling.make_look(apply_fn)
    for slope, predicted in ((5.0, 1), (-5.0, 0)):
        state = types.SimpleNamespace(params={"model": slope}, model_state={})
        seen = look(state, features)
        assert seen.predicted.tolist() == [predicted]
        # Of the logit minus the mean of both: half of each weight, the other's minus.
        weights = np.array([1.0, -slope]) / 8 * (1 if predicted == 0 else -1)
        np.testing.assert_allclose(seen.maps, (features * weights).sum(-1), rtol=1e-6)
        np.testing.assert_array_equal(seen.features, features)
