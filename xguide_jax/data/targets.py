"""Multi-label data: the one class of each image that is explained in this step.

A multi-label image shows several classes, and boxes of each. A guidance term explains
one class an example; explaining another one in every step covers them all in time.
"""

from collections.abc import Mapping

import numpy as np

from xguide_jax.data import batching, seeds


def choose_targets(
    batch: Mapping[str, np.ndarray], indices: np.ndarray, *, seed: int, step: int
) -> batching.HostBatch:
    """A batch with 'targets': of each image one of its classes, at random.

    Uniform over the positive classes of the example, a function of (seed, step, the
    example's index) alone: it depends neither on the rest of the batch nor on how many
    processes share it. Terms then explain 'targets', the task loss goes on reading the
    multi-hot 'labels', and of 'boxes' those count whose 'boxes_class' is the target. A
    'region' would be taken as it is, for whatever target: leave it out, or make it of
    the target's mask.

    An image without a positive class has nothing to explain: its target is 0 and its
    'region_valid' False, so that its weight is 0 in every term that reads an
    annotation. So is that of an image without a box of its target, whose region is
    empty.

    Args:
      batch: with 'labels', multi-hot [B, C] of 0 and 1, e.g. from `make_batch`; with
        'boxes' [B, N, 4], 'boxes_valid' [B, N] and 'boxes_class', int [B, N].
      indices: int [B], the examples of the batch, as `make_batch` takes them.
      seed: with `step`, decides the choice; nothing else.
      step: n >= 0.

    Returns:
      The batch with 'targets', int32 [B], and 'region_valid', bool [B], False where it
      was or where no class is positive.

    Raises:
      ValueError: if 'labels' are not multi-hot, 'boxes' have no class, or `indices` are
        not one an example.

    Source: Rao et al., "Studying How to Efficiently and Effectively Guide Models with
      Explanations", ICCV 2023, and its public code, which draws a positive class an
      image and step and keeps the boxes of that class.

    Example:
      Two photographs, one with a cat (class 0) and a dog (class 2), one with neither::

        dataset = data.Dataset(
            images,                                     # [2, H, W, 3]
            np.array([[1, 0, 1], [0, 0, 0]]),           # multi-hot labels
            ("cat", "cow", "dog"),
            {
                "boxes": boxes,                         # [2, 2, 4] in pixels
                "boxes_valid": np.array([[True, True], [False, False]]),
                "boxes_class": np.array([[0, 2], [0, 0]]),
            })
        data.validate(dataset)

        def batch_at(step):
            rows = data.batch_indices(2, batch_size=2, seed=0, step=step)
            augment = functools.partial(data.transform_together, flip=True)
            batch = data.make_batch(dataset, rows, augment=augment, seed=0, step=step)
            return data.choose_targets(batch, rows, seed=0, step=step)

        def task_loss(output, batch):                   # of all classes, as ever
            losses = optax.sigmoid_binary_cross_entropy(output.logits, batch["labels"])
            return losses.mean(axis=-1)

        cam = functools.partial(
            attributions.signed_grad_cam, score_fn=attributions.target_logit)
        terms = {"energy": guidance.localisation(       # of 'targets', in their boxes
            loss=losses.leaky_energy, explain=guidance.explain(cam, layer="features"))}
        step = training.make_train_step(apply_fn, terms, optimizer, task_loss=task_loss)
    """
    labels, rows = np.asarray(batch["labels"]), np.asarray(indices)
    if labels.ndim != 2 or not np.all((labels == 0) | (labels == 1)):
        raise ValueError(
            f"`labels` of shape {labels.shape} must be multi-hot, [B, C] of 0 and 1; "
            "of labels [B] each is its own target."
        )
    if rows.shape != (len(labels),) or rows.dtype.kind not in "iu":
        raise ValueError(
            f"`indices` ({rows.dtype} {rows.shape}) must be int [{len(labels)}], one "
            "an example."
        )
    if "boxes" in batch and "boxes_class" not in batch:
        raise ValueError("`boxes` of several classes need 'boxes_class' [B, N].")
    targets = np.zeros(len(labels), np.int32)
    for row, index in enumerate(rows.tolist()):
        classes = np.flatnonzero(labels[row])
        if len(classes):
            rng = seeds.generator(seeds.Stream.TARGETS, seed, step, index)
            targets[row] = rng.choice(classes)
    annotated = labels.any(axis=1) & np.asarray(batch.get("region_valid", True), bool)
    return {**batch, "targets": targets, "region_valid": annotated}
