"""Multi-label data from the loader to the evaluation: one class an image and step."""

import functools

import chex
import jax
import numpy as np
import optax
import pytest

from xguide_jax import attributions, data, guidance, losses, models, ops, training

SIGMOID = {
    "score_fn": attributions.sigmoid_logit,
    "consistency": losses.bernoulli_consistency,
}
ZEROS = functools.partial(ops.constant_fill, value=0.0)
CAM = functools.partial(attributions.grad_cam, score_fn=attributions.sigmoid_logit)
TERMS = {
    "energy": guidance.localisation(
        loss=losses.leaky_energy, explain=guidance.explain(CAM, layer="features")
    ),
    "reasons": guidance.right_for_right_reasons(
        explain=guidance.explain(
            functools.partial(
                attributions.input_gradient,
                score_fn=attributions.sigmoid_sum_log_probabilities,
            )
        )
    ),
    "saliency": guidance.saliency_guided(
        mask_fraction=0.5, fill=ZEROS, rank_fn=ops.signed_channel_mean, **SIGMOID
    ),
    "consistency": guidance.region_consistency(
        fill=ZEROS, consistency=losses.bernoulli_consistency
    ),
}


def coloured_squares(num_images=12, seed=0):
    """Red in the left half, green in the right, blue on neither: any of the three.

    The last image shows nothing, and the one before has no box of what it shows.
    """
    rng = np.random.default_rng(seed)
    labels = np.stack([np.arange(num_images) >> bit & 1 for bit in range(3)], axis=1)
    labels[-1] = 0
    images = rng.normal(scale=0.1, size=(num_images, 8, 8, 3)).astype(np.float32)
    boxes = np.tile(np.float32([[0, 0, 4, 8], [4, 0, 8, 8]]), (num_images, 1, 1))
    for c in (0, 1):
        left = 4 * c
        images[..., left : left + 4, c] += 2 * labels[:, c, None, None]
    images[..., 2] += labels[:, 2, None, None]
    valid = labels[:, :2].astype(bool)
    valid[-2] = False
    annotations = {
        "boxes": boxes,
        "boxes_valid": valid,
        "boxes_class": np.tile([0, 1], (num_images, 1)),
    }
    return data.Dataset(images, labels, ("red", "green", "blue"), annotations)


DATASET = coloured_squares()


def batch_at(step):
    rows = data.batch_indices(12, batch_size=12, seed=0, step=step)
    augment = functools.partial(data.transform_together, flip=True)
    batch = data.make_batch(DATASET, rows, augment=augment, seed=0, step=step)
    return data.choose_targets(batch, rows, seed=0, step=step)


def counted(batch):
    """How many images have a box of their target, read off the batch by hand."""
    own = batch["boxes_class"] == batch["targets"][:, None]
    return int(np.sum(np.any(own & batch["boxes_valid"], axis=1)))


@pytest.fixture(scope="module")
def trained(standard_promotion):
    """(the network, the state before and after 30 steps, the records)."""
    data.validate(DATASET)
    module = models.SmallCNN(num_classes=3)
    params, model_state = models.init_linen(
        module, jax.random.key(0), DATASET.inputs[:1]
    )
    apply_fn, optimizer = models.linen_apply_fn(module), optax.adam(1e-2)
    begin = training.init_train_state(
        jax.random.key(1), params, model_state, TERMS, optimizer, batch_at(0)
    )
    step = training.make_train_step(
        apply_fn, TERMS, optimizer, task_loss=training.sigmoid_cross_entropy
    )
    records = []
    state = training.fit(
        jax.jit(step), begin, batch_at, num_steps=30, log_every=1,
        on_log=records.append,
    )  # fmt: skip
    return apply_fn, begin, state, records


def test_every_term_counts_the_images_with_a_box_of_their_target(trained):
    _, _, state, records = trained
    batches = [batch_at(n) for n in range(len(records))]
    for batch in batches[:3]:
        data.validate_batch(batch, num_classes=3)
    expected = [counted(batch) for batch in batches]
    assert min(expected) < max(expected) < 12  # another class in every step
    for name in ("energy", "reasons", "consistency"):
        assert [record[f"{name}/annotated"] for record in records] == expected
    assert [record["saliency/annotated"] for record in records] == [12] * 30
    assert all(record["nonfinite"] == 0 for record in records)
    assert all(records[0][name] > 0 for name in TERMS)
    chex.assert_tree_all_finite(state.params)


def test_a_term_sees_the_box_of_the_target_and_not_that_of_another_class(trained):
    apply_fn, begin, _, _ = trained
    batch = batch_at(0)
    row = next(n for n in range(12) if batch["labels"][n, :2].all())
    one = {name: leaf[row : row + 1] for name, leaf in batch.items()}
    one["boxes_valid"] = np.array([[True, True]])
    one["region_valid"] = np.array([True])

    def energy(**changes):
        loss, _ = training.guidance_loss(
            apply_fn, {"energy": TERMS["energy"]}, begin.params, begin.model_state,
            {}, {**one, **changes}, key=jax.random.key(0), step=0,
        )  # fmt: skip
        return float(loss)

    for target in (0, 1):
        alone = np.array([[target == 0, target == 1]])
        targets = np.array([target], np.int32)
        own = energy(targets=targets)
        assert own == energy(targets=targets, boxes_valid=alone) > 0
        # As 'region' it is the same, and the other's is not.
        assert own != energy(targets=targets, boxes_class=np.array([[1, 0]]))
    assert energy(targets=np.array([2], np.int32)) == 0.0  # blue has no box


def test_the_evaluation_counts_each_label(trained):
    apply_fn, begin, state, _ = trained
    evaluate = jax.jit(
        training.make_eval_step(
            apply_fn, task_loss=training.sigmoid_cross_entropy,
            correct=training.sigmoid_correct,
        )
    )  # fmt: skip
    (batch,) = data.eval_batches(DATASET, batch_size=12)
    before, after = evaluate(begin, batch), evaluate(state, batch)
    output, _ = apply_fn(
        state.params["model"], state.model_state, batch["inputs"], train=False
    )
    right = (np.asarray(output.logits) > 0) == (batch["labels"] > 0)
    np.testing.assert_allclose(after["accuracy"], right.mean(), rtol=1e-6)
    assert after["accuracy"] > before["accuracy"]
    assert after["loss"] < before["loss"]
