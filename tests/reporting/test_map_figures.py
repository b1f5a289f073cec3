"""Pictures of maps: one scale for all, and nothing drawn that is not there."""

import warnings

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from xguide_jax import reporting


def _images(num_images=2, channels=1):
    return np.random.default_rng(0).random((num_images, 6, 5, channels)) * 3 - 1


def _grid(maps, **keywords):
    images = _images(len(next(iter(maps.values()))))
    labels = [f"label {i}" for i in range(len(images))]
    return reporting.saliency_grid(images, maps, labels=labels, **keywords)


def _cells(figure, num_rows=2):
    """The image axes, [rows, columns]; the colour bar is the last axis."""
    return np.array(figure.axes[:-1]).reshape(num_rows, -1)


def test_all_maps_share_one_symmetric_scale_with_its_end_printed():
    maps = {"unguided": np.full((2, 6, 5), 0.5), "guided": np.full((2, 6, 5), -2.0)}
    figure = _grid(maps)
    for axis in _cells(figure)[:, 1:].ravel():
        assert axis.images[0].get_clim() == (-2.0, 2.0)
    ticks = [tick.get_text() for tick in figure.axes[-1].get_yticklabels()]
    assert ticks == ["\u22122", "0", "2"]


def test_cells_hold_the_map_of_their_row_and_arm():
    maps = {
        arm: np.random.default_rng(i).normal(size=(2, 6, 5))
        for i, arm in enumerate(("first", "second"))
    }
    cells = _cells(_grid(maps))
    for row in range(2):
        for column, values in enumerate(maps.values(), start=1):
            shown = np.asarray(cells[row, column].images[0].get_array())
            np.testing.assert_array_equal(shown, values[row])


def test_titles_labels_and_captions_are_where_they_belong():
    captions = {"guided": ["pred 3", "pred 5"]}
    maps = {"unguided": np.ones((2, 6, 5)), "guided": np.ones((2, 6, 5))}
    figure = _grid(maps, captions=captions, title="gradients")
    cells = _cells(figure)
    assert [axis.get_title() for axis in cells[0]] == ["input", "unguided", "guided"]
    assert [axis.get_ylabel() for axis in cells[:, 0]] == ["label 0", "label 1"]
    assert [axis.get_xlabel() for axis in cells[1]] == ["", "", "pred 5"]
    assert figure.get_suptitle() == "gradients"


def test_inputs_are_shown_on_one_range():
    figure = _grid({"arm": np.ones((2, 6, 5))})
    shown = np.stack([axis.images[0].get_array() for axis in _cells(figure)[:, 0]])
    images = _images()[..., 0]
    expected = (images - images.min()) / (images.max() - images.min())
    np.testing.assert_allclose(shown, expected)


def test_saturation_is_asked_for_and_said():
    values = np.zeros((1, 6, 5))
    values.ravel()[:10] = np.arange(1, 11)  # |a|: twenty 0s, then 1 .. 10
    exact = _grid({"arm": values})
    assert exact.axes[1].images[0].get_clim() == (-10.0, 10.0)
    assert exact.axes[-1].get_ylabel() == "attribution"
    # Of 30 values, the quantile at 24/29 is the 25th: 5.
    cut = _grid({"arm": values}, quantile=24 / 29)
    np.testing.assert_allclose(cut.axes[1].images[0].get_clim(), (-5.0, 5.0))
    assert cut.axes[-1].get_ylabel() == "attribution, values beyond saturate"
    # A quantile of 0 is no scale; the largest value is.
    sparse = _grid({"arm": values}, quantile=0.1)
    assert sparse.axes[1].images[0].get_clim() == (-10.0, 10.0)


def test_blank_and_undefined_maps_are_left_white_with_a_note():
    values = np.ones((3, 6, 5))
    values[0], values[1] = 0, np.nan
    values[2, 0, 0] = np.inf
    cells = _cells(_grid({"arm": values}), num_rows=3)
    notes = [[text.get_text() for text in axis.texts] for axis in cells[:, 1]]
    assert notes == [["blank map"], ["undefined map"], []]
    for axis in cells[:2, 1]:
        (image,) = axis.images
        np.testing.assert_allclose(image.to_rgba(image.get_array())[..., :3], 1.0)
    masked = cells[2, 1].images[0].get_array().mask
    assert np.argwhere(masked).tolist() == [[0, 0]]


def test_a_figure_without_any_attribution_is_drawn_all_the_same():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reporting.to_png(_grid({"arm": np.zeros((2, 6, 5))}), dpi=40)
        reporting.to_png(_grid({"arm": np.full((2, 6, 5), np.nan)}), dpi=40)


def _outline(axis):
    (lines,) = (c for c in axis.collections if isinstance(c, LineCollection))
    return {tuple(map(tuple, segment)) for segment in lines.get_segments()}


def test_regions_are_outlined_along_the_edges_of_their_pixels():
    regions = np.zeros((2, 6, 5))
    regions[0, 1, 2] = 1  # its centre is x = 2, y = 1
    cells = _cells(_grid({"arm": np.ones((2, 6, 5))}, regions=regions))
    square = {
        ((1.5, 0.5), (2.5, 0.5)),
        ((1.5, 1.5), (2.5, 1.5)),
        ((1.5, 0.5), (1.5, 1.5)),
        ((2.5, 0.5), (2.5, 1.5)),
    }
    assert _outline(cells[0, 0]) == _outline(cells[0, 1]) == square
    assert _outline(cells[1, 1]) == set()


def test_a_region_at_the_border_is_closed():
    figure = reporting.overlay(
        _images()[0], np.ones((6, 5)), region=np.ones((6, 5), bool)
    )
    assert len(_outline(figure.axes[0])) == 2 * (6 + 5)


def test_an_overlay_shades_the_colours_of_the_scale_by_the_image():
    image = np.zeros((6, 5, 3))
    image[0, 0] = 1.0
    values = np.zeros((6, 5))
    values[0, 0], values[0, 1] = 2.0, -2.0
    figure = reporting.overlay(image, values, title="guided")
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert shown[0, 0, 0] > 2 * shown[0, 0, 2]  # red
    assert shown[0, 1, 2] > 2 * shown[0, 1, 0]  # blue
    # Nothing attributed on black: the middle of the scale, times 0.75.
    np.testing.assert_allclose(
        shown[3, 3], 0.75 * shown[3, 3] / shown[3, 3].max(), atol=0.03
    )
    assert figure.axes[0].get_title() == "guided"


def test_an_overlay_takes_the_scale_of_its_companions():
    figure = reporting.overlay(_images()[0], np.ones((6, 5)), limit=4.0)
    assert figure.axes[-1].get_ylim() == (-4.0, 4.0)
    cut = reporting.overlay(_images()[0], np.full((6, 5), 9.0), limit=4.0)
    assert cut.axes[-1].get_ylabel() == "attribution, values beyond saturate"


@pytest.mark.parametrize(
    ("value", "note"), [(0.0, "blank map"), (np.nan, "undefined map"), (1.0, "")]
)
def test_an_overlay_without_a_map_says_so(value, note):
    figure = reporting.overlay(_images(1, 3)[0], np.full((6, 5), value))
    assert figure.axes[0].get_xlabel() == note


def test_text_is_shown_as_it_is_and_never_parsed():
    name = "$\\frac{1}$ \x1b[31m"  # as a formula, this raises
    figure = _grid({name: np.ones((2, 6, 5))}, title=name)
    # Folded at the space, since it is wider than a map.
    assert _cells(figure)[0, 1].get_title() == "$\\frac{1}$\n\\x1b[31m"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing glyph warns
        assert reporting.to_png(figure, dpi=40).startswith(b"\x89PNG")


def test_equal_figures_are_equal_files():
    maps = {"arm": np.ones((2, 6, 5))}
    first, again = (reporting.to_png(_grid(maps), dpi=40) for _ in range(2))
    assert first == again


def test_what_does_not_fit_together_is_refused():
    images, values = _images(), {"arm": np.ones((2, 6, 5))}
    draw = reporting.saliency_grid
    with pytest.raises(ValueError, match="`maps` holds no map"):
        draw(images, {}, labels=["a", "b"])
    with pytest.raises(ValueError, match=r"maps of 'arm' have shape \(2, 5, 6\)"):
        draw(images, {"arm": np.ones((2, 5, 6))}, labels=["a", "b"])
    with pytest.raises(ValueError, match="`labels` has 1 texts for 2 images"):
        draw(images, values, labels=["a"])
    with pytest.raises(ValueError, match=r"are not \[H, W, 1 or 3\]"):
        draw(images[..., 0], values, labels=["a", "b"])
    with pytest.raises(ValueError, match=r"`quantile` \(=0\) must lie in \(0, 1\]"):
        draw(images, values, labels=["a", "b"], quantile=0)
    with pytest.raises(ValueError, match=r"`limit` \(=0.0\) must be positive"):
        reporting.overlay(images[0], np.ones((6, 5)), limit=0.0)


def test_long_names_of_arms_are_folded_above_their_column():
    image = np.zeros((1, 4, 4, 1))
    figure = reporting.saliency_grid(
        image,
        {
            "region_consistency=5@strokes": np.ones((1, 4, 4)),
            "short": -np.ones((1, 4, 4)),
        },
        labels=["a"],
    )
    titles = [axis.get_title() for axis in figure.axes[:3]]
    assert titles == ["input", "region_\nconsistency=\n5@strokes", "short"]


def test_a_name_of_any_script_and_length_stays_within_its_figure():
    name = "a_very_long_class_name_" * 6
    maps = {"a": np.ones((2, 6, 5)), name: np.ones((2, 6, 5))}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing glyph warns
        figure = reporting.saliency_grid(
            _images(), maps, labels=[name, "\u732b"], title=name
        )
        reporting.to_png(figure, dpi=100)
    right, top = figure.get_size_inches() * figure.dpi
    texts = [axis.title for axis in figure.axes[:3]] + [figure._suptitle]
    texts += [axis.yaxis.label for axis in figure.axes]
    for text in texts:
        box = text.get_window_extent()
        assert -1 <= box.x0 <= box.x1 <= right + 1
        assert -1 <= box.y0 <= box.y1 <= top + 1
    assert figure.axes[3].get_ylabel() == "\\u732b"
    assert "no installed font" in figure.get_suptitle()
    assert figure.axes[0].get_window_extent().height > 80  # of 110 a row
