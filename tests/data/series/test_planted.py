"""Series with planted evidence: layouts by hand, moments of the processes."""

import numpy as np
import pytest

from xguide_jax import data
from xguide_jax.data.series import layouts, processes

RNG = np.random.default_rng


def planted(**changes):
    arguments = {
        "layout": "middle", "process": "gaussian", "seed": 0, "irregular": False,
    }  # fmt: skip
    return data.planted_series(changes.pop("count", 6), **{**arguments, **changes})


def block(cells):
    """(first step, first feature, steps, features) of a block that is full."""
    steps, features = np.flatnonzero(cells.any(1)), np.flatnonzero(cells.any(0))
    assert cells.sum() == len(steps) * len(features)
    np.testing.assert_array_equal(np.diff(steps), 1)
    np.testing.assert_array_equal(np.diff(features), 1)
    return steps[0], features[0], len(steps), len(features)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("middle", (10, 10, 30, 30)),
        ("small_middle", (18, 18, 14, 14)),
        ("rare_time", (22, 5, 6, 40)),
        ("rare_feature", (5, 22, 40, 6)),
    ],
)
def test_a_fixed_layout_is_one_block(layout, expected):
    region = planted(layout=layout).annotations["region"]
    assert {block(cells != 0) for cells in region} == {expected}


@pytest.mark.parametrize(
    ("layout", "size"),
    [
        ("moving_middle", (30, 30)),
        ("moving_small_middle", (15, 15)),
        ("moving_rare_time", (6, 40)),
        ("moving_rare_feature", (40, 6)),
    ],
)
def test_a_moving_layout_reaches_every_place(layout, size):
    chosen, rng = layouts.LAYOUTS[layout], RNG(0)
    found = [
        block(layouts.planted_cells(rng, chosen, 1, (50, 50))) for _ in range(1000)
    ]
    assert {place[2:] for place in found} == {size}
    for axis in range(2):
        starts = {place[axis] for place in found}
        assert starts == set(range(50 - size[axis] + 1))


@pytest.mark.parametrize(("axis", "name"), [(0, "time"), (1, "feature")])
def test_a_positional_layout_tells_the_class_by_its_place(axis, name):
    dataset = planted(layout=f"positional_{name}", count=40)
    places = [block(cells != 0) for cells in dataset.annotations["region"]]
    assert {place[2:] for place in places} == {(20, 20)}
    for label, start in ((0, 29), (1, 1)):
        chosen = [
            p for p, of in zip(places, dataset.labels, strict=True) if of == label
        ]
        assert {place[axis] for place in chosen} == {start}
        assert len({place[1 - axis] for place in chosen}) > 5


def test_there_are_ten_layouts_and_seven_processes_all_told_apart():
    assert len(layouts.LAYOUTS) == 10
    assert len(processes.PROCESSES) == 7
    for layout in layouts.LAYOUTS:
        for process in processes.PROCESSES:
            dataset = planted(
                layout=layout, process=process, irregular=True, num_steps=10,
                num_features=15, count=2,
            )  # fmt: skip
            data.validate(dataset)
            assert dataset.inputs["series"].shape == (2, 10, 15)
            assert dataset.inputs["mask"].all()


@pytest.mark.parametrize("process", ["gaussian", "ar", "harmonic"])
def test_the_block_is_shifted_by_the_class_and_nothing_else(process):
    """Of one seed, another layout has other cells but the same values below."""
    one = planted(process=process)
    other = planted(process=process, layout="rare_time")
    difference = one.inputs["series"] - other.inputs["series"]
    signs = np.where(one.labels == 1, 1.0, -1.0)[:, None, None]
    shifts = one.annotations["region"] - other.annotations["region"]
    np.testing.assert_allclose(difference, signs * shifts, atol=1e-5)
    positional = planted(process=process, layout="positional_time")
    below = one.inputs["series"] - signs * one.annotations["region"]
    shift = positional.inputs["series"] - below
    np.testing.assert_allclose(shift, positional.annotations["region"], atol=1e-5)


def test_it_is_a_function_of_the_seed_whatever_the_number():
    few, many, other = planted(), planted(count=8), planted(seed=1)
    np.testing.assert_array_equal(few.inputs["series"], many.inputs["series"][:6])
    assert not np.allclose(few.inputs["series"], other.inputs["series"])
    cells = lambda dataset: dataset.annotations["region"]
    one, another = (
        planted(layout="moving_middle", process=process) for process in ("ar", "narma")
    )
    np.testing.assert_array_equal(cells(one), cells(another))
    assert many.labels.tolist() == [0, 1] * 4


def path(name, *, count=20_000, num_steps=8, spacing=0.4):
    times = np.arange(num_steps) * spacing
    return processes.PROCESSES[name](RNG(0), times, count)


def autocovariance(values, lag):
    """From the third step to that so many behind it, over all paths."""
    return (
        np.mean(values[2] * values[2 + lag]) - values[2].mean() * values[2 + lag].mean()
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gaussian", [1.0, 0.0, 0.0]),
        # 0.25 / 0.19, times 0.9 a step.
        ("ar", [1.31579, 1.18421, 1.06579]),
        # 1e-4 times 0.9^0.4 a step.
        ("car", [1e-4, 0.958732e-4, 0.919166e-4]),
        # (1 + √3 d) exp(−√3 d) at 0, 0.4 and 0.8.
        ("gaussian_process", [1.0, 0.846717, 0.596964]),
        # E A² sin² and E A E A sin sin, A ~ N(1, 1/4), at t = 0.8 and lags of 0.4.
        ("pseudo_periodic", None),
    ],
)
def test_moments_and_autocovariances(name, expected):
    values = path(name)
    if expected is None:
        sines = np.sin(4 * np.pi * np.array([0.8, 1.2, 1.6]))
        np.testing.assert_allclose(values[2:5].mean(1), sines, atol=0.02)
        expected = [0.25 * sines[0] ** 2, 0.0, 0.0]
        tolerance = 0.02
    else:
        assert abs(values.mean()) < 0.02 * np.sqrt(expected[0])
        tolerance = 0.04 * expected[0]
    found = [autocovariance(values, lag) for lag in range(3)]
    np.testing.assert_allclose(found, expected, atol=tolerance)


def test_a_harmonic_is_the_sine_of_its_times():
    values = path("harmonic", count=2, spacing=0.125)
    np.testing.assert_allclose(values.T, [[0, 1, 0, -1, 0, 1, 0, -1]] * 2, atol=1e-12)


def test_steps_of_a_narma_by_hand():
    """y₁ = 1.5 u₀ u₉ + 0.1 from y = 0; y₂ sees y₁ in both of its sums."""
    values = path("narma", count=1, num_steps=3)[:, 0]
    u = RNG(0).uniform(0, 0.5, (13, 1))[:, 0]
    first = 1.5 * u[0] * u[9] + 0.1
    second = 0.3 * first + 0.05 * first * first + 1.5 * u[1] * u[10] + 0.1
    third = 0.3 * second + 0.05 * second * (first + second) + 1.5 * u[2] * u[11] + 0.1
    np.testing.assert_allclose(values, [first, second, third], rtol=1e-12)


def test_no_narma_diverges_and_each_keeps_to_its_formula():
    """What a step adds to its past is 1.5 u u' + 0.1, in [0.1, 0.475)."""
    values = path("narma", count=2_000, num_steps=1_000)  # nine are drawn again
    assert values.max() < 14
    sums = sum(values[9 - lag : 999 - lag] for lag in range(10))
    added = values[10:] - values[9:-1] * (0.3 + 0.05 * sums)
    assert added.min() > 0.1 - 1e-9
    assert added.max() < 0.475 + 1e-9


def test_times_are_regular_or_drawn_one_in_a_cell():
    regular = processes.sample_times(RNG(0), 5, irregular=False)
    np.testing.assert_allclose(regular, [0, 4, 8, 12, 16])
    drawn = processes.sample_times(RNG(0), 50, irregular=True)
    assert np.all(np.diff(drawn) > 0)
    assert 0 <= drawn.min() < drawn.max() < 20
    cells = np.floor(drawn / 0.2)
    assert len(set(cells)) == 50
    assert np.std(np.diff(drawn)) > 0.1


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"count": 0}, r"`num_series` \(=0\) must be at least 1"),
        ({"layout": "top"}, r"`layout` \(='top'\) must be one of"),
        ({"process": "box"}, r"`process` \(='box'\) must be one of"),
        (
            {"layout": "rare_time", "num_steps": 2},
            r"`shape` \(=\(2, 50\)\) is too small",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(changes, error):
    with pytest.raises(ValueError, match=error):
        planted(**changes)
