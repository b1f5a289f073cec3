"""Saliency-guided training on series, tiny: what it writes, what it refuses."""

import dataclasses
import json

import numpy as np
import pytest

from experiments.running import arms, flags, loop, results
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
