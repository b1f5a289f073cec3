"""Results over seeds: what is undefined is said, dropped on both sides, and counted."""

import numpy as np
import pytest

from experiments.digits import accuracy, explaining, localising, showing
from experiments.region_guidance import columns, pilot
from experiments.region_guidance import measuring as region_measuring
from experiments.region_guidance import report as region_report
from experiments.robust_explanations import measuring as robust_measuring
from experiments.robust_explanations import report as robust_report
from experiments.running import arms, directory, flags, report
from experiments.running import results as over_seeds
from experiments.saliency_guided_images import figures as saliency_figures
from experiments.saliency_guided_images import measures as saliency
from experiments.saliency_guided_images import report as saliency_report
from experiments.saliency_guided_images import tables as saliency_tables
from experiments.saliency_guided_images.explaining import EXPLAINERS
from xguide_jax import evaluation, files, reporting

NAN = np.nan
itself = lambda measured: measured
mean_of = lambda rows: NAN if np.isnan(rows).all() else float(np.nanmean(rows))


def of_arms(given):
    """{`arms.Arm`: what is measured of each seed} as results."""
    make = lambda arm, seed, m: over_seeds.Result(arm, seed, 1, 0.0, m)
    return {
        arm.text: [make(arm, seed, m) for seed, m in enumerate(measured)]
        for arm, measured in given.items()
    }


def of_seeds(**given):
    """{arm: what is measured of each seed} as results."""
    return of_arms({arms.Arm(text, text): m for text, m in given.items()})


def versus(results, one, other):
    return over_seeds.versus(results, one, other, itself)


def summary(value, zero, undefined):
    return evaluation.Summary(value, zero, 8 - undefined, 8)


def accuracies(worst=0.0, balanced=0.5):
    return accuracy.Accuracies([0.5] * 4, [8] * 4, worst, balanced, 0.5, 0.5, 0)


def shown(*explainers):
    images = np.zeros((1, 4, 4, 1))
    maps = {name: np.ones((1, 4, 4)) for name in explainers}
    return showing.Shown(images, np.ones((1, 4, 4), bool), maps)


def region(worst=0.0, undefined=0):
    """What region guidance measures; IoU and strokes are undefined more often."""
    where = localising.Localisation(
        box=summary(0.5, 0.25, undefined),
        strokes=summary(0.5, 0.25, undefined + 2),
        iou=summary(0.5, 0.25, undefined + 1),
        threshold=0.5,
        validation=0.5,
    )
    return region_measuring.Measured(
        accuracies(worst),
        accuracy.Covered(0.5, 0.5, 0.5, 0.5),
        0.0,
        dict.fromkeys(explaining.EXPLAINERS, where),
        shown(*explaining.EXPLAINERS),
    )


def robust(undefined=0):
    """What robust explanations measure; every other number is undefined once more."""
    scored = []
    for i in range(len(robust_measuring.Agreement._fields)):
        rows = np.array([0.25, 0.5, 0.75, 1.0])
        rows[: undefined and 1 + i % 2] = NAN
        scored.append(robust_measuring.Scored(evaluation.summarise(rows), rows))
    agreement = robust_measuring.Agreement(*scored)
    return robust_measuring.Measured(accuracies(), agreement, 0.5, shown("grad_cam"))


def main_job(undefined=0):
    """What the main job measures of four images, of which maps leave some out."""
    rows = np.zeros((4, 10), np.float32)
    rows[:undefined] = NAN
    chance = np.linspace(0, 1, 4, dtype=np.float32)[:, None] * np.ones((1, 10))
    fills = ("uniform", "black")
    curves = evaluation.Curves(
        dict.fromkeys(EXPLAINERS, dict.fromkeys(fills, evaluation.Views(rows, rows))),
        dict.fromkeys(fills, evaluation.Views(*[chance.astype(np.float32)] * 2)),
    )
    maps = {name: np.ones((1, 4, 4)) for name in EXPLAINERS}
    return saliency.Measured(
        test_accuracy=0.5,
        validation_accuracy=0.5,
        completeness=evaluation.Completeness(0.5, 4, 4),
        removal=evaluation.compare_with_chance(curves, fractions=saliency.FRACTIONS),
        shown=saliency.Shown(np.zeros((1, 4, 4, 1)), ["zero"], maps),
    )


def guided(text):
    term, _, annotation = text.partition("@")
    return arms.Arm(text, term, 1.0, annotation)


UNGUIDED = arms.Arm("unguided", "unguided")


def test_a_mean_says_of_how_many_seeds_it_is():
    results = of_seeds(a=[0.5, NAN, 0.25, NAN, 0.75], b=[0.5, 1.0], c=[NAN, NAN])
    assert over_seeds.mean(results["a"], itself) == "0.5 (3 of 5 seeds)"
    assert over_seeds.mean(results["b"], itself) == 0.75
    assert np.isnan(over_seeds.mean(results["c"], itself))
    assert over_seeds.mean(of_seeds(a=[np.inf, 1.0])["a"], itself) == np.inf


def test_one_seed_without_a_number_is_undefined_and_not_nan():
    results = of_seeds(a=[NAN], b=[0.5], c=[0.75])
    assert versus(results, "a", "b") == "undefined"
    assert versus(results, "c", "b") == "+0.250"
    assert versus(results, "b", "b") == "reference"


def test_a_comparison_of_three_of_five_seeds_says_so():
    results = of_seeds(a=[1, NAN, 2, 3, 4], b=[0, 0, 0, 0, NAN])
    assert versus(results, "a", "b") == "+2.000 [-0.484, +4.484] (3 of 5 seeds)"


def test_a_comparison_of_arms_leaves_an_image_out_of_both():
    # 'a' has no answer on its hard image, on which 'b' is bad.
    results = of_seeds(a=[np.array([NAN, 0.75, 0.5])], b=[np.array([0.0, 1.0, 0.5])])
    paired = lambda found, *pair: over_seeds.versus(found, *pair, mean_of, rows=itself)
    # (.75 - 1 + .5 - .5) / 2; the means, .625 - .5, would say the opposite.
    assert paired(results, "a", "b") == "-0.125"
    assert paired(results, "b", "a") == "+0.125"
    nothing = of_seeds(a=[np.array([NAN, 0.75])], b=[np.array([0.5, NAN])])
    assert paired(nothing, "a", "b") == "undefined"
    # Where all is defined it is the difference of what was measured.
    whole = of_seeds(
        a=[(0.625, np.array([0.25, 0.75]))], b=[(0.5, np.array([0.0, 1.0]))]
    )
    number, rows = (lambda m: m[0]), (lambda m: m[1])
    assert over_seeds.versus(whole, "a", "b", number, rows=rows) == "+0.125"


@pytest.mark.parametrize("value", [NAN, np.float32(NAN)])
def test_no_table_says_nan(value):
    results = of_seeds(a=[value, value], b=[0.5, value], c=[value, 0.25])
    shown_of = [report.mean("mean", itself)]
    shown_of += [report.minus(other, other, itself) for other in results]
    text = reporting.format_table(report.table(shown_of, results))
    assert "undefined" in text
    assert "nan" not in text


def test_a_column_of_differences_has_a_dash_without_a_reference():
    results = of_seeds(a=[0.75], b=[0.5])
    cell = lambda reference: report.minus("x", reference, itself).cell(results, "a")
    assert cell("b") == "+0.250"
    assert cell("c") == "-"
    assert cell(lambda found, arm: None) == "-"
    assert cell(lambda found, arm: "b") == "+0.250"


def test_a_report_lists_the_numbers_that_a_seed_has_not(tmp_path, capsys):
    found = of_seeds(a=[{"x": NAN, "y": 1.0}, {"x": NAN, "y": 2.0}])
    config = flags.RunConfig(run_dir=tmp_path, seeds=2)
    table = report.table([report.mean("x", lambda m: m["x"])], found)
    made = report.Report(
        "T", "How.", ["So."], {"Table": table}, {}, {"a: images": 0}, {"task": "nats"}
    )
    for seed in range(2):
        record = {"arm": "a", "seed": seed, "step": 1, "task": 0.5}
        files.append_record(tmp_path / "metrics.jsonl", record)
    with directory.open_run(config, name="x") as run:
        report.write(run, found, made)
    page = (tmp_path / "report.html").read_text()
    assert "<li>a: x, seeds: 2</li>" in page
    assert "every metric was defined" not in page
    # What came out is said first, before how it was measured.
    places = [page.index(text) for text in ("So.", "How.", "<img", "<table")]
    assert places == sorted(places)
    printed = capsys.readouterr().out
    assert "undefined" in printed
    assert "So." in printed


def main_results(undefined):
    return of_seeds(
        unguided=[main_job()], random=[main_job()], signed=[main_job(undefined)]
    )


def test_the_main_report_gives_gaps_twice_where_images_are_undefined():
    made = saliency_report.make_report(main_results(undefined=2))
    accuracy, dropped, zero, *_ = made.tables.values()
    assert [row["undefined rankings"] for row in accuracy] == [0, 0, 6]
    captions = list(made.tables)[1:3]
    assert captions[0].startswith("Gap minus the gap of the random arm, paired by seed")
    assert captions[1].startswith("The same with a gap of 0 for undefined images")
    of = lambda rows: [
        row["gradient"]
        for row in rows
        if (row["arm"], row["view and fill"]) == ("signed", "removal, black")
    ]
    # On the two images that both rank the gaps are the same; with 0 for the others
    # (2/3 + 1) / 4 - (0 + 1/3 + 2/3 + 1) / 4.
    assert of(dropped) == ["+0.000"]
    assert of(zero) == ["-0.083"]
    row = next(
        rows[-1]
        for name, rows in made.tables.items()
        if "removal curve" in name and "black" in name
    )
    np.testing.assert_allclose(row["gap, gradient"], 5 / 6, rtol=1e-5)
    np.testing.assert_allclose(row["gap, gradient, undefined as 0"], 5 / 12, rtol=1e-5)
    assert made.undefined["signed: images without a ranking by gradient"] == 2
    (finding,) = made.findings
    # 'random' has the numbers of the unguided arm here.
    assert finding == (
        "Gap of integrated gradients (removal with black, 0 where undefined): no "
        "guided arm is above unguided; the nearest, signed, is 0.083 below, at 0.4167, "
        "-0.083 against random. One seed: no claim."
    )


def test_the_main_report_needs_no_second_table_where_all_is_defined():
    made = saliency_tables.make_tables(main_results(undefined=0))
    assert not any("gap of 0 for undefined" in caption for caption in made)


def test_the_main_figures_draw_the_random_order_of_the_ranked_images():
    figures = saliency_figures.draw(main_results(undefined=2))
    lines = figures["removal_black_gradient"][1].axes[0].lines
    dashed = [line.get_ydata()[0] for line in lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(dashed, [0.5, 0.5, 5 / 6], rtol=1e-5)


def worst_groups(**given):
    return of_seeds(
        **{arm: [region(worst) for worst in worsts] for arm, worsts in given.items()}
    )


def test_gap_closed_by_hand():
    results = worst_groups(unguided=[0.1, 0.2], oracle=[0.9, 0.6], x=[0.5, 0.5])
    # (.4 + .3) / (.8 + .4) = .583; each seed alone gives .5 and .75.
    assert columns.gap_closed(results, "x") == "+0.583 [+0.500, +0.750]"
    assert columns.gap_closed(results, "oracle") == "-"


def test_a_gap_closed_with_an_unclear_denominator_is_unbounded():
    results = worst_groups(
        unguided=[0.5, 0.0, 0.0], oracle=[0.0, 0.3, 0.3], x=[0.6, 0.1, 0.1]
    )
    # The oracle is worse in one seed and hardly better on average.
    assert columns.gap_closed(results, "x") == "+3.000 [unbounded]"


def test_a_gap_closed_of_nothing_is_undefined():
    closed = lambda **given: columns.gap_closed(worst_groups(**given), "x")
    assert closed(unguided=[0.5], oracle=[0.5], x=[0.5]) == "undefined"
    assert closed(unguided=[NAN], oracle=[0.5], x=[0.5]) == "undefined"
    assert closed(unguided=[0.25], oracle=[0.75], x=[0.5]) == "+0.50"
    assert closed(unguided=[0.25], x=[0.5]) == "-"


def test_the_region_report_gives_every_localisation_twice_with_its_number():
    made = region_report.make_report(
        of_seeds(unguided=[region(undefined=3)]), rho=0.95, warmup=None
    )
    (rows,) = (rows for name, rows in made.tables.items() if "counted as 0" in name)
    (looking,) = (rows for name, rows in made.tables.items() if "box and IoU" in name)
    for text, count in {"EPG": 3, "IoU": 4, "EPG on strokes": 5}.items():
        for long in columns.LONG.values():
            assert rows[0][f"{text}, {long}"] == f"0.25 ({count} undefined)"
            assert made.undefined[f"unguided: maps without {text} by {long}"] == count
    for text in ("EPG", "IoU"):
        assert looking[0][f"{text}, integrated gradients"] == 0.5
        assert looking[0][f"{text}, undefined as 0"] == 0.25
    assert looking[0]["undefined maps"] == 3


def test_the_price_of_an_arm_names_its_weight_and_its_warmup():
    results = of_arms({UNGUIDED: [region()], guided("right_reasons@boxes"): [region()]})
    for given, warmup in {None: pilot.CHOSEN["right_reasons"].warmup, 0.2: 0.2}.items():
        rows = report.table(columns.price(given), results)
        assert [row["weight"] for row in rows] == [0, 1]
        assert [row["warm-up"] for row in rows] == [0, warmup]


def test_the_region_trade_off_counts_an_undefined_map_as_zero():
    figures = region_report.make_report(
        of_seeds(unguided=[region(0.75, undefined=3)]), rho=0.95, warmup=None
    ).figures
    (axis,) = figures["pareto_worst_group"][1].axes
    np.testing.assert_allclose(axis.collections[0].get_offsets(), [[0.25, 0.75]])
    assert "0 if undefined" in axis.get_xlabel().replace("\n", " ")


def test_the_region_finding_names_the_arm_what_it_gained_and_its_control():
    given = {
        UNGUIDED: 0.25,
        guided("l1_cam@random"): 0.875,  # a control is never the best
        guided("energy_cam@random"): 0.375,
        guided("energy_cam@boxes"): 0.75,
        guided("l1_cam@boxes"): 0.5,
    }
    make = lambda seeds: region_report.make_report(
        of_arms({arm: [region(worst)] * seeds for arm, worst in given.items()}),
        rho=0.95,
        warmup=None,
    )
    (one,), (two,) = make(1).findings, make(2).findings
    assert one == (
        "Worst-group accuracy is highest for energy_cam@boxes among the guided arms: "
        "0.75, +0.500 against unguided and +0.375 against energy_cam@random. "
        "One seed: no claim."
    )
    assert two.endswith("Paired over 2 seeds.")
    given[UNGUIDED] = 1.0
    (one,), (two,) = make(1).findings, make(2).findings
    assert one == (
        "Worst-group accuracy: no guided arm is above unguided; the nearest, "
        "energy_cam@boxes, is 0.250 below, at 0.75, +0.375 against energy_cam@random. "
        "One seed: no claim."
    )
    assert "at 0.75, -0.250 [-0.250, -0.250] against unguided and +0.375" in two
    accuracy = next(iter(make(1).tables.values()))
    assert [row["its control"] for row in accuracy] == [
        "-", "l1_cam@random", "energy_cam@random", "energy_cam@random",
        "l1_cam@random",
    ]  # fmt: skip


def test_no_finding_is_made_without_a_guided_or_the_unguided_arm():
    make = lambda given: region_report.make_report(
        of_arms({arm: [region()] for arm in given}), rho=0.95, warmup=None
    )
    assert not make([UNGUIDED]).findings
    assert not make([guided("energy_cam@boxes")]).findings


def robust_results():
    return of_arms({UNGUIDED: [robust()], guided("gradia@none"): [robust(1)]})


def test_the_robust_report_gives_every_agreement_twice_with_its_number():
    made = robust_report.make_report(robust_results())
    (rows,) = (rows for name, rows in made.tables.items() if "counted as 0" in name)
    assert rows[0] == {
        "arm": "unguided", "IoU": "0.625", "precision": "0.625", "recall": "0.625",
        "F1": "0.625", "EPG": "0.625", "EPG, integrated gradients": "0.625",
    }  # fmt: skip
    assert rows[1]["IoU"] == "0.5625 (1 undefined)"
    assert rows[1]["precision"] == "0.4375 (2 undefined)"
    # Dropped on both sides, and with 0 for the image that is undefined.
    dropped, zero = (
        rows for name, rows in made.tables.items() if name.startswith("IoU with")
    )
    assert [row["minus unguided"] for row in dropped] == ["+0.000"]
    assert [row["minus unguided"] for row in zero] == ["-0.062"]
    agreement = next(iter(made.tables.values()))
    assert (agreement[1]["IoU"], agreement[1]["IoU, undefined as 0"]) == (0.75, 0.5625)
    assert made.undefined["gradia@none: maps without IoU"] == 1
    assert made.undefined["gradia@none: maps without precision"] == 2


def test_the_robust_trade_off_counts_an_undefined_map_as_zero():
    results = of_seeds(a=[robust(1)])
    (axis,) = robust_report.make_report(results).figures["tradeoff"][1].axes
    np.testing.assert_allclose(axis.collections[0].get_offsets(), [[0.5625, 0.5]])
    assert "0 if undefined" in axis.get_xlabel().replace("\n", " ")
