"""Lines, bands and the numbers in their legends."""

import functools
import io
import warnings

import numpy as np
import pytest
from matplotlib.text import Text

from xguide_jax import evaluation, reporting

_FRACTIONS = np.array([0.0, 0.5, 1.0])


def _legend(figure):
    (legend,) = figure.legends
    return [text.get_text().replace("\n", " ") for text in legend.get_texts()]


def _bands(axis):
    """(low, high) at each x of every band."""
    bands = []
    for band in axis.collections:
        points = band.get_paths()[0].vertices
        xs = np.unique(points[:, 0])
        bands.append(
            [
                (points[points[:, 0] == x, 1].min(), points[points[:, 0] == x, 1].max())
                for x in xs
            ]
        )
    return bands


def test_lines_are_means_and_bands_are_t_intervals():
    rows = np.array([[1.0, 0.6, 0.0], [0.8, 0.2, 0.2]])
    figure = reporting.curves({"guided": rows}, fractions=_FRACTIONS)
    axis = figure.axes[0]
    np.testing.assert_allclose(axis.lines[0].get_ydata(), [0.9, 0.4, 0.1])
    low, high = evaluation.t_interval(rows)
    np.testing.assert_allclose(_bands(axis)[0], np.stack([low, high], axis=-1))


def test_areas_by_hand():
    # Row 1: (1 + .6)/2 * .5 + (.6 + 0)/2 * .5 = 0.55; row 2: .25 + .1 = 0.35. Mean
    # 0.45, s = 0.1414, half width 12.706 * 0.1414 / sqrt(2) = 1.2706.
    rows = np.array([[1.0, 0.6, 0.0], [0.8, 0.2, 0.2]])
    figure = reporting.curves({"guided": rows}, fractions=_FRACTIONS)
    assert _legend(figure) == ["guided: 0.450 [-0.821, 1.721] (2 seeds)"]


def test_the_area_of_a_constant_curve_is_its_height_whatever_the_span():
    figure = reporting.curves({"a": np.full(3, 0.7)}, fractions=_FRACTIONS / 4)
    assert _legend(figure) == ["a: 0.700 (one seed, no interval)"]


def test_every_arm_has_its_own_control_dashed_in_its_colour():
    figure = reporting.curves(
        {"a": np.ones((2, 3)), "b": np.ones((2, 3)), "c": np.ones((2, 3))},
        fractions=_FRACTIONS,
        controls={"b": np.array([[1.0, 0.5, 0], [0.6, 0.5, 0]]), "a": np.zeros(3)},
    )
    lines = figure.axes[0].lines
    assert [line.get_linestyle() for line in lines] == ["--", "-", "--", "-", "-"]
    np.testing.assert_allclose(lines[2].get_ydata(), [0.8, 0.5, 0.0])
    assert lines[0].get_color() == lines[1].get_color()
    assert lines[2].get_color() == lines[3].get_color() != lines[1].get_color()
    texts = _legend(figure)
    assert len(texts) == 3
    assert texts[0].endswith("random order 0.000")
    # (.8 + .5)/2 * .5 + (.5 + 0)/2 * .5 = .45
    assert texts[1].endswith("random order 0.450")
    assert "random" not in texts[2]


def test_a_control_of_no_arm_is_refused():
    with pytest.raises(ValueError, match=r"`controls` holds \['b'\], which"):
        reporting.curves({"a": np.ones(3)}, fractions=_FRACTIONS, controls={"b": 1})


def test_undefined_rows_are_left_out_and_counted():
    rows = np.ones((4, 3))
    rows[1, 2] = rows[3, 0] = np.nan
    figure = reporting.curves({"a": rows}, fractions=_FRACTIONS)
    assert _legend(figure) == ["a: 1.000 [1.000, 1.000] (2 seeds), 2 undefined"]
    nothing = reporting.curves({"a": np.full((3, 3), np.nan)}, fractions=_FRACTIONS)
    assert _legend(nothing) == ["a: undefined, 3 undefined"]
    assert reporting.to_png(nothing, dpi=40)


def test_a_random_order_is_that_of_the_rows_that_are_shown():
    rows, chance = np.ones((3, 3)), np.zeros((3, 3))
    rows[1, 2] = np.nan
    chance[1], chance[2] = 100, 0.5
    figure = reporting.curves({"a": rows}, fractions=_FRACTIONS, controls={"a": chance})
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), 0.25)
    (text,) = _legend(figure)
    assert text.endswith("(2 seeds), 1 undefined; random order 0.250")
    # And the other way round.
    rows[1], chance[1] = 100, np.nan
    figure = reporting.curves({"a": rows}, fractions=_FRACTIONS, controls={"a": chance})
    (text,) = _legend(figure)
    assert text == (
        "a: 1.000 [1.000, 1.000] (2 seeds), 1 undefined; random order 0.250"
    )


def test_one_row_of_a_random_order_serves_every_seed():
    chance = np.stack([np.full(3, np.nan), np.full(3, 0.5)])
    figure = reporting.curves(
        {"a": np.ones((3, 3)), "b": np.ones((3, 3))},
        fractions=_FRACTIONS,
        controls={"a": chance, "b": np.full(3, np.nan)},
    )
    a, b = _legend(figure)
    assert a.endswith("(3 seeds); random order 0.500 (1 undefined)")
    assert b.endswith("(3 seeds); random order undefined")
    assert reporting.to_png(figure, dpi=40)


def test_no_legend_says_nan():
    rows = np.ones((3, 3))
    rows[0] = np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = reporting.curves({"a": rows}, fractions=_FRACTIONS)
        reporting.to_png(figure, dpi=40)
    assert _legend(figure) == ["a: inf [no interval] (3 seeds)"]


def test_another_interval_is_used_for_bands_and_areas():
    rows = np.random.default_rng(0).random((50, 3))
    interval_fn = functools.partial(evaluation.bootstrap_interval, seed=3)
    figure = reporting.curves(
        {"a": rows},
        fractions=_FRACTIONS,
        interval_fn=interval_fn,
        repetition="example",
    )
    expected = np.stack(interval_fn(rows), axis=-1)
    np.testing.assert_allclose(_bands(figure.axes[0])[0], expected)
    areas = (rows[:, :1] + 2 * rows[:, 1:2] + rows[:, 2:]) / 4
    low, high = (bound[0] for bound in interval_fn(areas))
    assert f"[{low:.3f}, {high:.3f}] (50 examples)" in _legend(figure)[0]


def test_axes_are_labelled():
    figure = reporting.curves(
        {"a": np.ones(3)}, fractions=_FRACTIONS, y_label="accuracy", title="Removal"
    )
    axis = figure.axes[0]
    assert axis.get_xlabel() == "fraction of features removed"
    assert axis.get_ylabel() == "accuracy"
    assert axis.get_title() == "Removal"


def test_a_curve_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"'a' has shape \(1, 4\); \[R, 3\] is needed"):
        reporting.curves({"a": np.ones(4)}, fractions=_FRACTIONS)


def test_training_has_a_panel_for_each_metric_and_one_legend():
    steps = np.array([0, 10, 20])
    figure = reporting.training_curves(
        {
            "unguided": {"loss": np.array([3.0, 2.0, 1.0])},
            "guided": {"loss": np.ones((2, 3)), "energy": np.array([0.1, np.nan, 0.3])},
        },
        steps=steps,
        labels={"loss": "task loss (nats)"},
    )
    assert [axis.get_ylabel() for axis in figure.axes] == ["task loss (nats)", "energy"]
    loss, energy = figure.axes
    assert loss.lines[0].get_ydata().tolist() == [3, 2, 1]
    assert len(_bands(loss)) == 1  # one seed has no band
    assert _legend(figure) == ["unguided", "guided"]
    # An arm keeps its colour where another one is missing.
    assert energy.lines[0].get_color() == loss.lines[1].get_color()
    # What is undefined is a gap.
    assert np.isnan(energy.lines[0].get_ydata()).tolist() == [False, True, False]


@pytest.mark.parametrize("num_metrics", [1, 2, 3, 4, 5])
def test_training_leaves_no_empty_panel(num_metrics):
    series = {f"metric {i}": np.arange(3.0) for i in range(num_metrics)}
    figure = reporting.training_curves({"guided": series}, steps=np.arange(3))
    assert len(figure.axes) == num_metrics


def test_training_refuses_what_it_cannot_draw():
    with pytest.raises(ValueError, match="`metrics` holds no metric"):
        reporting.training_curves({"guided": {}}, steps=np.arange(3))
    with pytest.raises(ValueError, match=r"'loss of guided' has shape \(1, 2\)"):
        reporting.training_curves({"guided": {"loss": np.ones(2)}}, steps=np.arange(3))


LONG = "a_name_of_an_arm_that_is_longer_than_any_legend=0.5@strokes_of_a_pen_" * 3


def texts_outside(figure):
    """The texts that run out of a figure as it is drawn."""
    figure.savefig(io.BytesIO(), dpi=figure.dpi)  # lays the figure out
    width, height = figure.bbox.size
    boxes = {
        text.get_text(): text.get_window_extent()
        for text in figure.findobj(Text)
        if len(text.get_text()) > 10  # ticks may lie beyond an axis, undrawn
    }
    return [
        text
        for text, box in boxes.items()
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1
    ]


def test_long_names_are_folded_and_stay_in_the_figure():
    rows = np.random.default_rng(0).random((3, 5))
    fractions = np.linspace(0, 1, 5)
    names = {"title": LONG, "x_label": LONG}
    figures = [
        reporting.curves(
            {LONG: rows, "b": rows}, fractions=fractions, y_label=LONG, **names
        ),
        reporting.training_curves(
            {LONG: {LONG: rows}, "b": {"loss": rows}}, steps=np.arange(5), **names
        ),
        reporting.tradeoff(
            {LONG: rows[:, :2], "b": rows[:, 2:4]}, y_label="y", **names
        ),
    ]
    for figure in figures:
        assert not texts_outside(figure)
        # Folded, not shrunk: the curves keep most of the figure's width.
        panel = figure.axes[0].get_position()
        assert panel.width * figure.get_figwidth() > 1.5
