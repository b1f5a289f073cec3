"""Robust explanation supervision at a tiny size."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.digits import sources, textured
from experiments.robust_explanations import annotating, columns, measuring, terms
from experiments.robust_explanations.experiment import EXPERIMENT, Config
from experiments.running import arms, feeding, loop, results
from xguide_jax import data

pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.fixture(scope="module")
def train():
    source = data.take(data.digits(), np.arange(0, 5000, 50))
    return textured.make_parts(source, rho=0.9, seed=3).train


def test_the_true_mask_is_the_digit_with_a_margin_of_two(train):
    masks = annotating.true_masks(train)
    strokes = train.annotations["strokes"]
    assert (masks >= strokes).all()
    row, y, x = np.argwhere(strokes)[0]
    assert masks[row, max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3].all()
    far = data.corrupt_masks(
        np.random.default_rng(0), strokes.astype(np.uint8), dilate=0
    ).region
    assert masks.sum() > far.sum()
    grown = np.zeros_like(strokes)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            moved = np.roll(strokes, (dy, dx), axis=(1, 2))
            moved[:, : max(dy, 0)] = False
            moved[:, 48 + min(dy, 0) :] = False
            moved[:, :, : max(dx, 0)] = False
            moved[:, :, 48 + min(dx, 0) :] = False
            grown |= moved
    np.testing.assert_array_equal(masks, grown)


def test_only_the_images_given_to_the_annotator_carry_signs(train):
    marked, given = annotating.annotate(train, "none", count=12, seed=0)
    signs = marked.annotations["annotations"]
    assert len(given) == 12
    true = annotating.true_masks(train)
    np.testing.assert_array_equal(signs[given], np.where(true[given], 1, -1))
    assert not np.delete(signs, given, axis=0).any()


def test_noise_changes_masks_and_withholds_some(train):
    exact, given = annotating.annotate(train, "none", count=40, seed=0)
    noisy, same = annotating.annotate(train, "strong", count=40, seed=0)
    np.testing.assert_array_equal(given, same)
    exact, noisy = (part.annotations["annotations"][given] for part in (exact, noisy))
    withheld = ~noisy.any(axis=(1, 2))
    assert 4 <= withheld.sum() <= 20  # 30 % of 40
    assert (noisy[~withheld] != exact[~withheld]).any(axis=(1, 2)).all()
    other, _ = annotating.annotate(train, "other", count=40, seed=0)
    np.testing.assert_array_equal(
        other.annotations["annotations"][given], np.roll(exact, 1, axis=0)
    )


def test_every_batch_holds_its_share_of_annotated_images(train):
    marked, given = annotating.annotate(train, "none", count=8, seed=0)
    batch_at = feeding.batches_with_a_share(
        marked, given, num_chosen=4, batch_size=16, seed=0
    )
    seen = set()
    for step in range(4):
        batch = batch_at(step)
        assert batch["inputs"].shape == (16, 48, 48, 1)
        assert batch["annotations"][:4].any(axis=(1, 2)).all()
        seen |= {image.tobytes() for image in batch["inputs"][:4]}
    assert len(seen) == 8  # each of them every second step


@pytest.mark.thorough  # two networks are trained, explained and drawn
def test_runs_and_reports(tmp_path, monkeypatch):
    few = data.take(data.digits(), np.arange(0, 5000, 10))
    monkeypatch.setattr(sources, "load", lambda name, folder: few)
    names = ("gradia@none", "res_learned@none")
    config = Config(
        run_dir=tmp_path,
        arms=names,
        num_steps=4,
        batch_size=16,
        log_every=2,
        save_every=2,
        num_evaluated=16,
        num_points=2,
        num_devices=2,
    )
    loop.run_experiment(EXPERIMENT, config)
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    assert set(numbers) == set(names)
    for (result,) in numbers.values():
        measured = result["measured"]
        assert 0 <= measured["agreement"]["iou"]["summary"]["mean_or_zero"] <= 1
        assert 0 <= measured["accuracies"]["group_balanced"] <= 1
    report = (tmp_path / "report.html").read_text()
    assert "minus GRADIA at the same noise" in report


def test_names_of_arms():
    parse = lambda text: arms.read_arm(text, terms.GRAMMAR)
    assert parse("unguided") == ("unguided", "unguided", None, None)
    assert parse("gradia@strong")[1:] == ("gradia", 1.0, "strong")
    assert parse("res_gaussian@none").weight == 0.1  # of the pilot
    assert parse("res_gaussian=3@other")[1:] == ("res_gaussian", 3.0, "other")
    assert all(parse(arm) for arm in terms.ARMS)


@pytest.mark.parametrize("arm", ["res@none", "gradia", "gradia@loud", "unguided@none"])
def test_an_unknown_arm_is_refused(arm, tmp_path):
    config = Config(run_dir=tmp_path, arms=(arm,))
    with pytest.raises(ValueError, match=f"`arms` holds '{arm}'; "):
        loop.run_experiment(EXPERIMENT, config)
    assert not list(tmp_path.iterdir())


def test_the_control_of_an_arm_has_its_term_and_its_weight():
    names = ("unguided", "gradia@none", "gradia=16@strong", "gradia@other",
             "gradia=16.0@other", "haics@none", "haics=2@other")  # fmt: skip
    found = {
        n: [results.Result(arms.read_arm(n, terms.GRAMMAR), 0, 1, 0.0, None)]
        for n in names
    }
    control = lambda arm: columns.control_of(found, arm)
    assert control("gradia@none") == control("gradia@other") == "gradia@other"
    assert control("gradia=16@strong") == "gradia=16.0@other"
    assert control("haics@none") is None  # its weight is 3
    assert control("unguided") is None


def test_agreement_by_hand():
    mask = jnp.array([[[1, 1], [0, 0]]]) > 0
    cam = jnp.array([[[1.0, 0.0], [0.75, 0.25]]])
    # Above 0.5 are one cell inside and one outside; half of the mass 2 lies inside.
    measured = measuring.agreement(cam, mask)
    expected = {
        "iou": 1 / 3,
        "precision": 1 / 2,
        "recall": 1 / 2,
        "f1": 1 / 2,
        "energy": 0.5,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(measured[name], [value], err_msg=name)
