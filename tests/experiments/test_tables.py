"""Results over seeds: what is undefined is said, dropped on both sides, and counted."""

import numpy as np
import pytest

from experiments import (
    common,
    region_data,
    region_report,
    removal,
    robust_report,
    saliency_guided_report,
    tables,
)
from xguide_jax import evaluation, reporting

NAN = np.nan


def of_seeds(**arms):
    """{arm: numbers} as results with the one number 'x'."""
    return {
        arm: [({"x": value}, {}) for value in values] for arm, values in arms.items()
    }


def with_rows(rows):
    """{arm: rows of each seed} as results with 'x', its mean, and its rows."""
    return {
        arm: [
            ({"x": region_mean(row)}, {"rows/x": np.array(row, float)}) for row in seeds
        ]
        for arm, seeds in rows.items()
    }


def region_mean(row):
    row = np.array(row, float)
    return float(np.nanmean(row)) if not np.isnan(row).all() else NAN


def test_a_mean_says_of_how_many_seeds_it_is():
    results = of_seeds(a=[0.5, NAN, 0.25, NAN, 0.75], b=[0.5, 1.0], c=[NAN, NAN])
    assert tables.mean(results, "a", "x") == "0.5 (3 of 5 seeds)"
    assert tables.mean(results, "b", "x") == 0.75
    assert np.isnan(tables.mean(results, "c", "x"))
    assert tables.mean(of_seeds(a=[np.inf, 1.0]), "a", "x") == np.inf


def test_one_seed_without_a_number_is_undefined_and_not_nan():
    results = of_seeds(a=[NAN], b=[0.5], c=[0.75])
    assert tables.versus(results, "a", "b", "x") == "undefined"
    assert tables.versus(results, "c", "b", "x") == "+0.250"
    assert tables.versus(results, "b", "b", "x") == "reference"


def test_a_comparison_of_three_of_five_seeds_says_so():
    results = of_seeds(a=[1, NAN, 2, 3, 4], b=[0, 0, 0, 0, NAN])
    text = tables.versus(results, "a", "b", "x")
    assert text == "+2.000 [-0.484, +4.484] (3 of 5 seeds)"


def test_a_comparison_of_arms_leaves_an_image_out_of_both():
    # 'a' has no answer on its hard image, on which 'b' is bad.
    results = with_rows({"a": [[NAN, 0.75, 0.5]], "b": [[0.0, 1.0, 0.5]]})
    # (.75 - 1 + .5 - .5) / 2; the means, .625 - .5, would say the opposite.
    assert tables.versus(results, "a", "b", "x") == "-0.125"
    assert tables.versus(results, "b", "a", "x") == "+0.125"
    nothing = with_rows({"a": [[NAN, 0.75]], "b": [[0.5, NAN]]})
    assert tables.versus(nothing, "a", "b", "x") == "undefined"
    # Where all is defined it is the difference of what was measured.
    results = with_rows({"a": [[0.25, 0.75]], "b": [[0.0, 1.0]]})
    results["a"][0][0]["x"] = 0.625
    assert tables.versus(results, "a", "b", "x") == "+0.125"


def test_a_report_lists_the_numbers_that_a_seed_has_not(tmp_path, capsys):
    results = {"a": [({"x": NAN, "y": 1.0}, {}), ({"x": NAN, "y": 2.0}, {})]}
    with common.open_run(common.RunConfig(run_dir=tmp_path), name="x") as run:
        tables.finish(
            run, results, title="T", summary="", figures={}, num_printed=1,
            tables={"Table": [{"x": tables.mean(results, "a", "x")}]},
            undefined={"a: images": 0},
        )  # fmt: skip
    page = (tmp_path / "report.html").read_text()
    assert "<li>a: x, seeds: 2</li>" in page
    assert "every metric was defined" not in page
    assert "undefined" in capsys.readouterr().out


def saliency_results(undefined):
    """Two arms of one seed; the map of the first leaves half of four images out."""
    results = {}
    for arm, lost in {"unguided": 0, "random": 0, "guided": undefined}.items():
        rows = np.zeros((4, 10), np.float32)
        rows[:lost] = NAN
        chance = np.linspace(0, 1, 4, dtype=np.float32)[:, None] * np.ones((1, 10))
        views = {"black": evaluation.Views(rows, rows)}
        by_chance = evaluation.Views(*[chance.astype(np.float32)] * 2)
        curves = evaluation.Curves(
            dict.fromkeys(removal.EXPLAINERS, views), {"black": by_chance}
        )
        found = evaluation.compare_with_chance(curves, fractions=removal.FRACTIONS)
        numbers, arrays = removal.keyed(found)
        for name in ("test_accuracy", "validation_accuracy", "completeness_error"):
            numbers[name] = 0.5
        numbers["images_per_second"] = numbers["undefined/completeness_error"] = 0.0
        numbers["removal/uniform/gradient"] = 0.5
        results[arm] = [(numbers, arrays)]
    return results


def test_the_main_report_gives_gaps_twice_where_images_are_undefined():
    made = saliency_guided_report.make_tables(saliency_results(undefined=2))
    accuracy, dropped, zero, *_ = made.values()
    assert [row["undefined rankings"] for row in accuracy] == [0, 0, 6]
    captions = list(made)[1:3]
    assert captions[0].startswith("Gap minus the gap of the random arm, paired by seed")
    assert captions[1].startswith("The same with a gap of 0 for undefined images")
    of = lambda rows: [
        row["gradient"]
        for row in rows
        if (row["arm"], row["view and fill"]) == ("guided", "removal, black")
    ]
    # On the two images that both rank the gaps are the same; with 0 for the others
    # (2/3 + 1) / 4 - (0 + 1/3 + 2/3 + 1) / 4.
    assert of(dropped) == ["+0.000"]
    assert of(zero) == ["-0.083"]
    (areas,) = (rows for name, rows in made.items() if "removal curve" in name)
    row = areas[-1]
    np.testing.assert_allclose(row["gap, gradient"], 5 / 6, rtol=1e-5)
    np.testing.assert_allclose(row["gap, gradient, undefined as 0"], 5 / 12, rtol=1e-5)
    assert saliency_guided_report.num_printed(saliency_results(undefined=2)) == 3


def test_the_main_report_needs_no_second_table_where_all_is_defined():
    results = saliency_results(undefined=0)
    made = saliency_guided_report.make_tables(results)
    assert not any("gap of 0 for undefined" in caption for caption in made)
    assert saliency_guided_report.num_printed(results) == 2


def test_the_main_figures_draw_the_random_order_of_the_ranked_images():
    results = saliency_results(undefined=2)
    for repeats in results.values():
        shown = {f"maps/{name}": np.ones((1, 4, 4)) for name in removal.EXPLAINERS}
        shown |= {"inputs": np.zeros((1, 4, 4, 1)), "labels": np.array([0])}
        repeats[0][1].update(shown)
    figures = saliency_guided_report.draw(results, ("zero",))
    lines = figures["removal_black_gradient"][1].axes[0].lines
    dashed = [line.get_ydata()[0] for line in lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(dashed, [0.5, 0.5, 5 / 6], rtol=1e-5)


def worst_groups(**arms):
    return {
        arm: [({"worst_group": value}, {}) for value in values]
        for arm, values in arms.items()
    }


def test_a_gap_closed_with_an_unclear_denominator_is_unbounded():
    results = worst_groups(
        unguided=[0.5, 0.0, 0.0], oracle=[0.0, 0.3, 0.3], x=[0.6, 0.1, 0.1]
    )
    # The oracle is worse in one seed and hardly better on average.
    assert region_report.gap_closed(results, "x") == "+3.000 [unbounded]"


def test_a_gap_closed_of_nothing_is_undefined():
    results = worst_groups(unguided=[0.5], oracle=[0.5], x=[0.5])
    assert region_report.gap_closed(results, "x") == "undefined"
    results = worst_groups(unguided=[NAN], oracle=[0.5], x=[0.5])
    assert region_report.gap_closed(results, "x") == "undefined"
    results = worst_groups(unguided=[0.25], oracle=[0.75], x=[0.5])
    assert region_report.gap_closed(results, "x") == "+0.50"


def region_results(undefined):
    numbers = {f"group/{g}": 0.5 for g in range(region_data.NUM_GROUPS)}
    numbers |= {f"count/{g}": 8.0 for g in range(region_data.NUM_GROUPS)}
    for name in region_report.LONG:
        for kind in (f"epg/{name}/box", f"epg/{name}/strokes", f"iou/{name}"):
            numbers |= {kind: 0.5, f"{kind}/zero": 0.25}
        numbers |= {
            f"undefined/{name}": undefined,
            f"undefined/iou/{name}": undefined + 1.0,
            f"undefined/strokes/{name}": undefined + 2.0,
            f"threshold/{name}": 0.5,
            f"validation_epg/{name}": 0.5,
        }
    for name in (
        "worst_group", "group_balanced", "in_distribution", "validation", "weight",
        "bias_amplification", "warmup", "images_per_second", "masked/box_only",
        "masked/background_only", "masked/without_random_box",
        "masked/background_follows_texture", "undefined/predictions",
    ):  # fmt: skip
        numbers[name] = 0.0
    return {"unguided": [(numbers, {})]}


def test_the_region_report_gives_every_localisation_twice_with_its_number():
    made = dict(region_report.make_tables(region_results(undefined=3.0)))
    (rows,) = (rows for name, rows in made.items() if "counted as 0" in name)
    for text, count in {"EPG": 3, "IoU": 4, "EPG on strokes": 5}.items():
        for long in region_report.LONG.values():
            assert rows[0][f"{text}, {long}"] == f"0.25 ({count} undefined)"


def robust_results(undefined):
    numbers, arrays = {}, {}
    for i, name in enumerate(robust_report.MEASURED):
        rows = np.array([0.25, 0.5, 0.75, 1.0])
        rows[: undefined and 1 + i % 2] = NAN
        arrays[f"rows/{name}"] = rows
        numbers |= {
            name: float(np.nanmean(rows)),
            f"{name}/zero": float(np.nan_to_num(rows).mean()),
            f"undefined/{name}": float(np.isnan(rows).sum()),
        }
    return numbers, arrays


def test_the_robust_report_gives_every_agreement_twice_with_its_number():
    results = {
        "unguided": [robust_results(undefined=0)],
        "gradia@none": [robust_results(undefined=1)],
    }
    _, rows = robust_report.agreement(results), robust_report.undefined_as_zero(results)
    assert rows[0] == {
        "arm": "unguided", "IoU": "0.625", "precision": "0.625", "recall": "0.625",
        "F1": "0.625", "EPG": "0.625", "EPG, integrated gradients": "0.625",
    }  # fmt: skip
    assert rows[1]["IoU"] == "0.5625 (1 undefined)"
    assert rows[1]["precision"] == "0.4375 (2 undefined)"
    # Dropped on both sides, and with 0 for the image that is undefined.
    (row,) = robust_report.comparisons(results, "iou")
    assert row["minus unguided"] == "+0.000"
    (row,) = robust_report.comparisons(results, "iou/zero")
    assert row["minus unguided"] == "-0.062"


def test_the_robust_trade_off_counts_an_undefined_map_as_zero():
    numbers, arrays = robust_results(undefined=1)
    numbers["group_balanced"] = 0.5
    arrays |= {
        "maps/grad_cam": np.ones((1, 4, 4)),
        "inputs": np.zeros((1, 4, 4, 1)),
        "region": np.ones((1, 4, 4)),
    }
    figures = robust_report.draw({"a": [(numbers, arrays)]})
    (axis,) = figures["tradeoff"][1].axes
    np.testing.assert_allclose(axis.collections[0].get_offsets(), [[0.5625, 0.5]])
    assert "0 if undefined" in axis.get_xlabel().replace("\n", " ")


@pytest.mark.parametrize("value", [NAN, np.float32(NAN)])
def test_no_table_says_nan(value):
    results = of_seeds(a=[value, value], b=[0.5, value], c=[value, 0.25])
    rows = [
        {
            "mean": tables.mean(results, arm, "x"),
            **{r: tables.versus(results, arm, r, "x") for r in results},
        }
        for arm in results
    ]
    assert "nan" not in reporting.format_table(rows)
