"""Saliency-guided training on series, tiny: what it writes, what it refuses."""

import dataclasses
import json

import numpy as np
import pytest

from experiments.running import arms, flags, loop, records, results
from experiments.running.scored import scored
from experiments.saliency_guided_series import measuring, report, settings, tables
from experiments.saliency_guided_series.experiment import EXPERIMENT, Config, spread
from xguide_jax import evaluation

pytestmark = pytest.mark.usefixtures("standard_promotion")
TINY = Config(
    arms=("unguided", "signed"), num_steps=2, batch_size=4, log_every=1, save_every=2,
    num_devices=1, size=5, num_train=20, num_test=4, num_evaluated=4, num_points=2,
    num_draws=2, networks=("lstm",), layouts=("middle",), processes=("gaussian",),
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"layouts": ("top",)}, r"`layouts` \(=\('top',\)\) must be some of"),
        ({"processes": ("box",)}, r"`processes` \(=\('box',\)\) must be some of"),
        ({"networks": ("tcn", "tcn")}, "`networks` .* each once"),
        ({"networks": ()}, r"`networks` \(=\(\)\) must be some of"),
        ({"mask_fraction": 1.5}, "mask_fraction"),
        ({"learning_rate": 0.0}, r"`learning_rate` \(=0.0\) must be positive"),
        ({"num_train": 10}, "num_train"),
        ({"num_test": 3}, "num_test"),
        ({"arms": ("signs",)}, "signs"),
        ({"archive": ("nowhere",)}, "`archive` holds 'nowhere'; it must be a file"),
    ],
)
def test_flags_that_cannot_be_met_are_refused(changes, error):
    with pytest.raises(ValueError, match=error):
        loop.check(EXPERIMENT, dataclasses.replace(TINY, **changes))


def test_each_arm_is_trained_in_each_network_and_set():
    config = dataclasses.replace(
        TINY, networks=("lstm", "tcn"), processes=("ar", "car")
    )
    every = loop.check(EXPERIMENT, config)
    assert [arm.text for arm in every] == [
        f"{network}/middle/{process}/{arm}"
        for network in ("lstm", "tcn")
        for process in ("ar", "car")
        for arm in ("unguided", "signed")
    ]
    assert {arm.term for arm in every} == {"unguided", "signed"}


def write_set(folder, name, *, lengths, kind="ts"):
    """A set of two classes and one feature, as the archives have them."""
    for part in ("TRAIN", "TEST"):
        rng = np.random.default_rng(len(part))
        rows = [[n % 2, *rng.normal(size=length)] for n, length in enumerate(lengths)]
        if kind == "tsv":
            lines = ["\t".join(map(str, row)) for row in rows]
        else:
            header = ["@equalLength false", "@classLabel true 0 1", "@data"]
            lines = header + [f"{','.join(map(str, r[1:]))}:{r[0]}" for r in rows]
        (folder / f"{name}_{part}.{kind}").write_text("\n".join(lines))
    return folder / f"{name}_TRAIN.{kind}"


def test_a_folder_is_each_set_in_it_and_has_no_arm_that_knows_cells(tmp_path):
    write_set(tmp_path, "Two", lengths=(4, 5))
    write_set(tmp_path, "One", lengths=(4, 5), kind="tsv")
    given = {"archive": (tmp_path.name,), "data_dir": tmp_path.parent}
    config = dataclasses.replace(TINY, arms=("unguided", "right reasons"), **given)
    texts = [arm.text for arm in loop.check(EXPERIMENT, config)]
    assert texts == ["lstm/One/unguided", "lstm/Two/unguided"]
    alone = dataclasses.replace(config, arms=("right reasons",))
    with pytest.raises(ValueError, match="needs true cells; an archive has none"):
        loop.check(EXPERIMENT, alone)
    write_set(tmp_path, "Three", lengths=(4,)).with_name("Three_TEST.ts").unlink()
    with pytest.raises(flags.RefusedError, match=r"there is no .*Three_TEST\.ts"):
        loop.check(EXPERIMENT, config)


@pytest.mark.parametrize("kind", ["ts", "tsv"])
def test_splits_are_read_as_given_and_as_long_as_each_other(tmp_path, kind):
    file = write_set(tmp_path, "Own", lengths=(4, 6, 3), kind=kind)
    short = (tmp_path / f"Own_TEST.{kind}").read_text().splitlines()
    (tmp_path / f"Own_TEST.{kind}").write_text("\n".join([*short[:-2], short[-1]]))
    parts = settings.read_parts(file)
    assert parts.validation is None
    assert parts.train.inputs["mask"].sum(axis=1).tolist() == [4, 6, 3]
    assert parts.test.inputs["mask"].sum(axis=1).tolist() == [4, 3]
    assert parts.test.inputs["series"].shape == (2, 6, 1)
    assert parts.test.class_names == parts.train.class_names == ("0", "1")


def test_parts_of_other_classes_are_refused(tmp_path):
    file = write_set(tmp_path, "Own", lengths=(4, 6))
    other = (tmp_path / "Own_TEST.ts").read_text().replace("true 0 1", "true 1 0")
    (tmp_path / "Own_TEST.ts").write_text(other)
    with pytest.raises(ValueError, match="must agree in features and classes"):
        settings.read_parts(file)


def measured(setting, accuracy, gap=0.0):
    """A measurement whose numbers are given, of maps of 0.5 throughout."""
    known = setting.train_file is None
    rows = scored(np.full(4, 0.5))
    summary = evaluation.Summary(gap, gap, 4, 4)
    chance = evaluation.Chance(np.zeros(2), 0.0)
    one = evaluation.AgainstChance(np.zeros(2), 0.0, chance, summary, np.zeros(4))
    views = {"data range": evaluation.Views(one, one)}
    return measuring.Measured(
        setting=setting,
        accuracy=accuracy,
        validation=0.5 if known else None,
        true_cells=0.25 if known else None,
        recovery={
            name: measuring.Recovery(rows, rows, rows)
            for name in (measuring.NAMES if known else ())
        },
        removal=evaluation.Removal(dict.fromkeys(measuring.NAMES, views), {}, 0),
        shown=measuring.Shown(
            np.zeros((4, 2)),
            np.array([True, True, True, False]),
            np.eye(4, 2) if known else None,
            {name: np.ones((4, 2)) for name in measuring.NAMES},
        ),
    )


def found_of(config, accuracies):
    """Results of two settings, by {arm: [[of a setting, each seed]]}."""
    every = loop.check(EXPERIMENT, config)
    of_arm = {name: iter(rows) for name, rows in accuracies.items()}
    setting_of = spread(config, arms.read_arms(config.arms, EXPERIMENT.grammar))
    return {
        arm.text: [
            results.Result(arm, seed, 2, 1.0, measured(setting_of[arm], accuracy))
            for seed, accuracy in enumerate(next(of_arm[arm.term]))
        ]
        for arm in every
    }


def test_arms_are_compared_by_their_means_over_settings_paired_by_seed():
    config = dataclasses.replace(TINY, processes=("ar", "car"))
    accuracies = {
        "unguided": [[0.5, 0.7], [0.5, 0.5]],
        "signed": [[0.9, 0.9], [0.5, 0.3]],
    }
    made = tables.make_tables(found_of(config, accuracies))
    # By seed: (0.4 + 0) / 2 and (0.2 − 0.2) / 2, whose mean is 0.1; t = 12.706.
    (row,) = made["Minus the unguided arm, paired by seed, all 2 networks and sets"]
    assert row["test"] == "+0.100 [-1.171, +1.371]; above in 1 of 2"
    means = made["Mean over all 2 networks and sets"]
    assert [row["arm"] for row in means] == ["unguided", "signed"]
    np.testing.assert_allclose([row["test"] for row in means], [0.55, 0.65])
    first, second = made["Test accuracy"]
    assert first["network and set"] == "lstm/middle/ar"
    np.testing.assert_allclose([first["signed"], second["signed"]], [0.9, 0.4])
    assert made["AUP of the true cells"][0]["share of true cells"] == 0.25


def test_of_files_nothing_is_said_of_true_cells(tmp_path):
    files = [write_set(tmp_path, name, lengths=(4, 4)) for name in ("One", "Two")]
    config = dataclasses.replace(TINY, archive=tuple(map(str, files)))
    found = found_of(config, {name: [[0.5], [0.5]] for name in config.arms})
    page = report.make_report(found, config)
    assert not [name for name in page.tables if "true cells" in name]
    assert not [name for name in page.undefined if "AUP" in name]
    assert "nobody knows" in page.summary
    assert "right reasons" not in page.summary
    assert not [
        caption for caption, _ in page.figures.values() if "outlined" in caption
    ]
    assert "validation" not in page.tables[next(iter(page.tables))][0]


@pytest.mark.thorough  # trains, measures and draws
def test_it_trains_measures_and_reports(tmp_path):
    config = dataclasses.replace(TINY, run_dir=tmp_path / "run", layouts=("middle",))
    loop.run_experiment(EXPERIMENT, config)
    numbers = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(numbers) == {"lstm/middle/gaussian/" + arm for arm in TINY.arms}
    for repeats in numbers.values():
        one = repeats[0]["measured"]
        assert 0 <= one["accuracy"] <= 1
        assert one["true_cells"] == pytest.approx(9 / 25)
        for recovery in one["recovery"].values():
            assert 0 <= recovery["precision"]["summary"]["mean"] <= 1
    page = (tmp_path / "run" / "report.html").read_text()
    assert "true cells are outlined" in page
    # More settings in the same directory: what is there is not trained again.
    log = (tmp_path / "run" / "metrics.jsonl").read_text()
    more = dataclasses.replace(config, processes=("gaussian", "ar"), arms=TINY.arms)
    loop.run_experiment(EXPERIMENT, more)
    assert (tmp_path / "run" / "metrics.jsonl").read_text().startswith(log)


@pytest.mark.thorough  # trains, measures and draws
def test_it_reads_series_of_unequal_length(tmp_path):
    file = write_set(tmp_path, "Own", lengths=(4, 5, 5, 3))
    config = dataclasses.replace(
        TINY,
        run_dir=tmp_path / "run",
        archive=(str(file),),
        num_evaluated=8,
        num_test=8,
    )
    loop.run_experiment(EXPERIMENT, config)
    numbers = json.loads((tmp_path / "run" / "metrics.json").read_text())
    one = numbers["lstm/Own/signed"][0]["measured"]
    assert one["recovery"] == {}
    assert one["validation"] is None
    assert "nobody knows" in (tmp_path / "run" / "report.html").read_text()


def test_a_measurement_comes_back_with_its_cells_and_without():
    for setting in (
        settings.Setting("lstm", "middle", "ar"),
        settings.Setting("lstm", train_file="Own_TRAIN.ts"),
    ):
        kept = measured(setting, 0.5)
        back = records.decode(measuring.Measured, *records.encode(kept))
        assert back.setting == setting
        assert (back.shown.region is None) == (setting.train_file is not None)
        assert (back.validation is None) == (setting.train_file is not None)
        if kept.shown.region is not None:
            np.testing.assert_array_equal(back.shown.region, kept.shown.region)
