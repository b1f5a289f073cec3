"""The control: as much mass, elsewhere in the same text."""

import numpy as np
import pytest

from xguide_jax import data


def _example():
    """[CLS] four tokens [SEP] five tokens [SEP] and padding."""
    rationale = [0, 1, 0.5, 0, 0.1, 0, 0, 0, 0.25, 1, 0, 0, 0, 0]
    special = np.zeros(14, bool)
    special[[0, 5, 11]] = True
    mask = np.arange(14) < 12
    segments = (mask & (np.arange(14) > 5)).astype(np.int32)
    inputs = {"tokens": np.arange(14), "mask": mask, "segments": segments}
    annotations = {"rationale": np.array(rationale, np.float32), "special": special}
    return inputs, annotations


def _permuted(seed):
    found = data.permute_rationale(np.random.default_rng(seed), *_example())[1]
    return found["rationale"]


@pytest.mark.parametrize("seed", range(5))
def test_each_text_keeps_its_marks_and_with_them_its_mass(seed):
    before, after = _example()[1]["rationale"], _permuted(seed)
    for tokens in (slice(1, 5), slice(6, 11)):
        assert sorted(after[tokens].tolist()) == sorted(before[tokens].tolist())
    assert not after[[0, 5, 11, 12, 13]].any()
    assert after.dtype == np.float32


def test_every_token_of_a_text_gets_a_mark_sooner_or_later():
    drawn = np.stack([_permuted(seed) for seed in range(200)])
    assert (drawn > 0).any(axis=0).tolist() == _real().tolist()
    # Uniform over places: of the first text 1.6 over four tokens, 0.4 each.
    np.testing.assert_allclose(drawn.mean(axis=0)[1:5], 0.4, atol=0.12)


def _real():
    inputs, annotations = _example()
    return inputs["mask"] & ~annotations["special"]


def test_the_example_itself_is_not_changed_and_the_rest_is_kept():
    inputs, annotations = _example()
    rng = np.random.default_rng(0)
    same, found = data.permute_rationale(rng, inputs, {**annotations, "group": 3})
    assert same is inputs
    assert found["group"] == 3
    np.testing.assert_array_equal(annotations["rationale"], _example()[1]["rationale"])


def test_a_batch_permutes_by_seed_step_and_example():
    inputs, annotations = _example()
    several = lambda tree: {k: np.stack([v] * 3) for k, v in tree.items()}
    dataset = data.Dataset(
        several(inputs), np.zeros(3, np.int32), ("a",), several(annotations)
    )

    def rationale(rows, step=0):
        batch = data.make_batch(
            dataset, rows, augment=data.permute_rationale, seed=0, step=step
        )
        return batch["rationale"]

    whole = rationale([0, 1, 2])
    np.testing.assert_array_equal(whole[2:], rationale([2]))
    assert not np.array_equal(whole[0], whole[1])
    assert not np.array_equal(whole, rationale([0, 1, 2], step=1))


def test_what_is_missing_is_named():
    inputs, annotations = _example()
    with pytest.raises(ValueError, match=r"needs \['special'\]; there are"):
        data.permute_rationale(
            np.random.default_rng(0), inputs, {"rationale": annotations["rationale"]}
        )
