"""What terms read of a batch of sequences: what counts, and where the evidence is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import guidance
from xguide_jax.guidance import sequences

MASK = jnp.array([[True, True, True, True], [True, True, True, False]])
SPECIAL = jnp.array([[True, False, False, True], [True, False, False, False]])
COUNTED = np.array([[False, True, True, False], [False, True, True, False]])
RATIONALE = jnp.array([[0.0, 1.0, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0]])


def batch_of(**entries):
    return {"inputs": {"mask": MASK}, "special": SPECIAL, **entries}


def test_neither_padding_nor_special_tokens_count():
    np.testing.assert_array_equal(guidance.counted_of(batch_of()), COUNTED)
    np.testing.assert_array_equal(guidance.counted_of({"inputs": {"mask": MASK}}), MASK)
    only_special = {"inputs": {"tokens": MASK}, "special": SPECIAL}
    np.testing.assert_array_equal(guidance.counted_of(only_special), ~SPECIAL)
    assert guidance.counted_of({"inputs": jnp.ones((2, 4, 3))}) is None
    assert guidance.counted_of({"inputs": {"tokens": MASK}}) is None


def test_texts_are_the_segments_of_what_counts():
    segments = jnp.array([[0, 0, 1, 1], [0, 0, 0, 0]])
    batch = batch_of()
    batch["inputs"] = {"mask": MASK, "segments": segments}
    np.testing.assert_array_equal(
        sequences.texts_of(batch, (2, 4)), [[-1, 0, 1, -1], [-1, 0, 0, -1]]
    )
    np.testing.assert_array_equal(
        sequences.texts_of(batch_of(), (2, 4)), np.where(COUNTED, 0, -1)
    )
    array = {"inputs": jnp.ones((2, 4, 3))}
    np.testing.assert_array_equal(sequences.texts_of(array, (2, 4)), np.zeros((2, 4)))


@pytest.mark.parametrize("read", [guidance.evidence_of, guidance.marks_of])
def test_a_rationale_is_read_as_it_is_and_an_empty_one_is_none(read):
    evidence, valid = read(batch_of(rationale=RATIONALE), "rationale")
    np.testing.assert_array_equal(evidence, RATIONALE)
    np.testing.assert_array_equal(valid, [True, False])
    nobody = batch_of(rationale=RATIONALE, rationale_valid=jnp.array([False, True]))
    evidence, valid = read(nobody, "rationale")
    np.testing.assert_array_equal(evidence, np.zeros((2, 4)))
    np.testing.assert_array_equal(valid, [False, False])


@pytest.mark.parametrize("dtype", [bool, jnp.int32, jnp.float32])
def test_marks_where_nothing_counts_are_none(dtype):
    everywhere = batch_of(rationale=jnp.ones((2, 4), dtype))
    evidence, valid = guidance.evidence_of(everywhere, "rationale")
    np.testing.assert_array_equal(evidence, COUNTED)
    assert evidence.dtype == jnp.float32
    np.testing.assert_array_equal(valid, [True, True])
    uncounted = batch_of(rationale=jnp.where(COUNTED, 0.0, 1.0))
    _, valid = guidance.evidence_of(uncounted, "rationale")
    np.testing.assert_array_equal(valid, [False, False])


def test_evidence_may_be_by_cell():
    region = jnp.ones((2, 4, 3))
    evidence, valid = guidance.evidence_of(batch_of(region=region), "region")
    np.testing.assert_array_equal(evidence, np.repeat(COUNTED[..., None], 3, axis=2))
    np.testing.assert_array_equal(valid, [True, True])
    valid = guidance.evidence_of(
        batch_of(region=region, region_valid=jnp.array([1, 0])), "region"
    )[1]
    np.testing.assert_array_equal(valid, [True, False])


def test_marks_may_be_of_any_size_and_evidence_a_share():
    batch = batch_of(rationale=3 * RATIONALE)
    np.testing.assert_array_equal(
        guidance.marks_of(batch, "rationale")[0], 3 * RATIONALE
    )
    message = r"^`batch\['rationale'\]`\[0, 1\] \(=3\.0\) must lie in \[0, 1\]"
    with pytest.raises(ValueError, match=message):
        guidance.evidence_of(batch, "rationale")
    negative = batch_of(rationale=-RATIONALE)
    with pytest.raises(ValueError, match=r"\(=-1\.0\) must be finite and at"):
        guidance.marks_of(negative, "rationale")


@pytest.mark.parametrize("value", [-1.0, float("nan"), 2.0])
def test_inside_jit_a_row_that_is_refused_is_nan_and_counts(value):
    batch = batch_of(rationale=jnp.ones((2, 4)).at[0, 1].set(value))
    read = jax.jit(lambda batch: guidance.evidence_of(batch, "rationale"))
    evidence, valid = read(batch)
    assert np.all(np.isnan(evidence[0]))
    np.testing.assert_array_equal(evidence[1], COUNTED[1])
    np.testing.assert_array_equal(valid, [True, True])
    # Nobody reads what is padding.
    beside = batch_of(rationale=jnp.ones((2, 4)).at[1, 3].set(value))
    np.testing.assert_array_equal(read(beside)[0], COUNTED)


def test_a_batch_without_the_entry_is_told_what_it_has():
    message = r"^a batch needs 'rationale' here; it has \['inputs', 'special'\]\.$"
    with pytest.raises(ValueError, match=message):
        guidance.evidence_of(batch_of(), "rationale")


def test_evidence_of_another_length_is_refused_with_both_shapes():
    batch = batch_of(rationale=jnp.ones((2, 5)))
    message = r"batch\['rationale'\] of shape \(2, 5\).*\[B, T\] = \(2, 4\)"
    with pytest.raises(ValueError, match=message):
        guidance.evidence_of(batch, "rationale")
    with pytest.raises(AssertionError, match="rank"):
        guidance.marks_of(batch_of(rationale=jnp.ones((2, 4, 3))), "rationale")
    with pytest.raises(AssertionError, match="type"):
        guidance.counted_of({"inputs": {"mask": jnp.ones((2, 4))}})
