"""One call for every number: maps from anywhere, of any network, on any batch."""

import contextlib
import functools
import gc
import json
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions, evaluation, metrics, ops
from xguide_jax.evaluation import evaluating, measuring, result_tables

N = 12
BLACK = functools.partial(ops.constant_fill, value=0.0)
UNIFORM = functools.partial(ops.uniform_range_fill, axes=(1, 2))
EXPLAINER = functools.partial(
    attributions.gradient_x_input, score_fn=attributions.target_logit
)
SCORE = attributions.target_logit
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)


@pytest.fixture(scope="module")
def kernel():
    return np.asarray(jax.random.normal(jax.random.key(1), (32, 3)))


@pytest.fixture(scope="module")
def predict(kernel):
    """A linear network of 4 x 4 pixels with two channels."""
    return jax.jit(lambda x: x.reshape(len(x), -1) @ kernel)


@pytest.fixture(scope="module")
def batch(predict):
    inputs = np.asarray(jax.random.normal(jax.random.key(2), (N, 4, 4, 2)))
    region = np.zeros((N, 4, 4), np.float32)
    region[:, :2] = 1
    labels = np.array(predict(inputs).argmax(-1))
    labels[0] = (labels[0] + 1) % 3  # one mistake
    return {"inputs": inputs, "labels": labels, "region": region}


@pytest.fixture(scope="module")
def array(predict, batch):
    return np.array(EXPLAINER(predict, jnp.asarray(batch["inputs"]), batch["labels"]))


@pytest.fixture(scope="module")
def evaluate(predict, batch):
    def call(maps, batch=batch, predict=predict, **settings):
        defaults = {"key": jax.random.key(3), "fills": {"black": BLACK}}
        defaults |= {"fractions": QUARTERS, "num_random_orders": 2, "batch_size": 4}
        defaults |= {"progress": False}
        return evaluation.evaluate(predict, maps, batch, **(defaults | settings))

    return call


@pytest.fixture(scope="module")
def found(evaluate, array):
    return evaluate({"map": array})


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one.to_dict(), other.to_dict())


def test_every_number_is_that_of_its_metric(found, predict, batch, array):
    inputs = jnp.asarray(batch["inputs"])
    ranked = jnp.asarray(array.sum(-1, keepdims=True))
    for view, curve_fn in (
        ("removal", metrics.removal_curve),
        ("insertion", metrics.insertion_curve),
    ):
        rows = curve_fn(
            predict, inputs, jnp.asarray(batch["labels"]), ranked,
            fractions=QUARTERS, fill=BLACK, key=jax.random.key(0),
        )  # fmt: skip
        against = getattr(found.maps["map"].against_chance["black"], view)
        np.testing.assert_array_equal(against.curve, np.asarray(rows).mean(0))
    energy = metrics.energy_pointing_game(jnp.asarray(array.sum(-1)), batch["region"])
    mean = found.maps["map"].numbers.localisation["energy in region"].mean
    np.testing.assert_allclose(mean, np.mean(energy), rtol=1e-6)
    np.testing.assert_allclose(found.accuracy.mean, (N - 1) / N, rtol=1e-6)
    assert found.maps["map"].numbers.attribution_error is None


def test_the_gap_is_to_random_orders_of_the_same_network(found):
    views = found.maps["map"].against_chance["black"]
    removal, insertion = views
    np.testing.assert_allclose(
        removal.gap.mean, removal.chance.area - removal.area, rtol=1e-6
    )
    np.testing.assert_allclose(
        insertion.gap.mean, insertion.area - insertion.chance.area, rtol=1e-6
    )
    assert removal.gap.mean > 0.15
    assert insertion.gap.mean > 0.15


def test_an_explainer_an_array_and_a_network_of_numpy_agree(
    found, evaluate, array, kernel
):
    same(evaluate({"map": EXPLAINER}), found)
    same(evaluate({"map": jnp.asarray(array)}), found)

    def numpy_only(inputs):
        assert type(inputs) is np.ndarray
        return inputs.reshape(len(inputs), -1) @ kernel

    same(evaluate({"map": array}, predict=numpy_only), found)


def test_bound_weights_are_arguments_of_programs_compiled_once(found, evaluate, kernel):
    """Also of those of the next evaluation, with other weights."""
    traced = []

    @jax.jit
    def network(weights, inputs):
        traced.append("network")
        return inputs.reshape(len(inputs), -1) @ weights

    def explainer(predict_fn, inputs, targets):
        assert isinstance(inputs, jax.Array)
        traced.append("explainer")
        return EXPLAINER(predict_fn, inputs, targets)

    def measured(weights):
        bound = functools.partial(network, jnp.asarray(weights))
        return evaluate({"map": explainer}, predict=bound)

    same(measured(kernel), found)
    before = list(traced)
    assert before.count("explainer") == 1
    other = measured(-kernel).to_dict()
    assert traced == before
    assert other != found.to_dict()


def test_an_array_that_speaks_dlpack_alone_is_read(found, evaluate, array):
    class Foreign:
        def __dlpack__(self, **keywords):
            return array.__dlpack__(**keywords)

        def __dlpack_device__(self):
            return array.__dlpack_device__()

    same(evaluate({"map": Foreign()}), found)


def test_neither_the_batch_size_nor_other_maps_nor_a_stream_change_a_number(
    found, evaluate, batch, array
):
    settings = {"fills": {"black": BLACK, "uniform": UNIFORM}}
    whole = evaluate({"map": EXPLAINER}, **settings)
    same(evaluate({"map": EXPLAINER}, batch_size=5, **settings), whole)
    parts = (
        {name: leaf[at] for name, leaf in batch.items()}
        for at in (slice(0, 5), slice(5, 6), slice(6, N))
    )
    same(evaluate({"map": EXPLAINER}, batch=parts, **settings), whole)
    more = evaluate({"other": -array, "map": array})
    assert list(more.maps) == ["other", "map"]
    assert more.maps["map"].numbers == found.maps["map"].numbers


def test_the_same_key_gives_the_same_numbers_and_another_gives_others(evaluate, array):
    settings = {"fills": {"uniform": UNIFORM}}
    first, again, other = (
        evaluate({"map": array}, key=jax.random.key(seed), **settings)
        for seed in (5, 5, 6)
    )
    same(first, again)
    (one,), (two,) = first.curves.chance.values(), other.curves.chance.values()
    assert not np.array_equal(one.removal, two.removal)
    maps = [each.curves.maps["map"]["uniform"].removal for each in (first, other)]
    assert not np.array_equal(*maps)  # the fill is drawn anew, too
    assert first.control != other.control


def test_of_a_stream_one_batch_is_held_and_none_is_read_ahead(evaluate, batch, kernel):
    given, measured, held = [], [], []

    def predict(inputs):
        if isinstance(inputs, np.ndarray):
            measured.append(len(given))
        return inputs.reshape(len(inputs), -1) @ kernel

    def stream():
        for start in range(0, N, 4):
            gc.collect()
            held.append(sum(each() is not None for each in given))
            # What came before has been measured by now.
            assert not given or measured[-1] == len(given)
            rows = slice(start, start + 4)
            made = {name: leaf[rows].copy() for name, leaf in batch.items()}
            given.append(weakref.ref(made["inputs"]))
            yield made

    found = evaluate({"map": EXPLAINER}, stream(), predict=predict)
    assert (found.num_examples, len(given)) == (N, N // 4)
    assert max(held) == 1


def test_many_labels_at_once_bring_what_counts_as_right(evaluate, batch, array, kernel):
    """Two of three logits are to be positive; the maps explain the first that is."""
    logits = batch["inputs"].reshape(N, -1) @ kernel
    labels = (logits > 0).astype(np.int32)
    labels[0] = 1 - labels[0]  # all wrong
    labels[1, 0] = 1 - labels[1, 0]  # one of three wrong
    targets = logits.argmax(-1)
    found = evaluate(
        {"map": EXPLAINER},
        {"inputs": batch["inputs"], "labels": labels, "targets": targets},
        value=lambda logits, labels: jnp.mean((logits > 0) == (labels == 1), axis=-1),
        baselines=0.0, score_fn=SCORE,
    )  # fmt: skip
    np.testing.assert_allclose(found.accuracy.mean, (N - 1 - 1 / 3) / N, rtol=1e-6)
    numbers = found.maps["map"].numbers
    assert numbers.attribution_error.error < 1e-6
    # Black gives logits of 0: what is right then is the share of zeros in the labels.
    curve = found.maps["map"].against_chance["black"].removal.curve
    np.testing.assert_allclose(curve[-1], np.mean(labels == 0), rtol=1e-6)


def test_tokens_with_a_value_each_are_ranked_as_tokens(evaluate):
    """The class is the sign of the second token's first feature; the map names it."""
    inputs = np.random.default_rng(0).normal(size=(N, 5, 3)).astype(np.float32)
    labels = (inputs[:, 1, 0] > 0).astype(np.int32)
    maps = np.zeros((N, 5), np.float32)
    maps[:, 1] = 1
    found = evaluate(
        {"token": maps, "features": np.repeat(maps[..., None], 3, axis=-1)},
        {"inputs": inputs, "labels": labels, "region": maps > 0},
        predict=lambda x: np.stack([-x[:, 1, 0], x[:, 1, 0]], axis=-1),
        fractions=(0.0, 0.2, 1.0),
        fills={"reversed": lambda key, inputs: -inputs},
    )
    views = found.maps["token"].against_chance["reversed"]
    np.testing.assert_array_equal(views.removal.curve, [1, 0, 0])
    np.testing.assert_array_equal(views.insertion.curve, [0, 1, 1])
    for metric in found.maps["token"].numbers.localisation.values():
        assert metric.mean == 1
    assert found.maps["features"].numbers == found.maps["token"].numbers


def test_random_values_score_what_knowing_nothing_scores(found):
    """The region is half of the image; of uniform values the Gini index is 1/3."""
    control = found.control
    for name in ("energy in region", "rank accuracy"):
        assert abs(control.localisation[name].mean - 0.5) < 0.1
    assert abs(control.complexity["Gini index"].mean - 1 / 3) < 0.06
    assert control.gaps == {}
    assert control.localisation.keys() == found.maps["map"].numbers.localisation.keys()


def test_one_random_order_and_one_example_at_a_time_are_enough(
    found, evaluate, batch, array
):
    few = {name: leaf[:2] for name, leaf in batch.items()}
    one = evaluate({"map": array[:2]}, few, num_random_orders=1, batch_size=1)
    for name, rows in one.maps["map"].rows.items():
        np.testing.assert_allclose(rows, found.maps["map"].rows[name][:2], rtol=1e-6)
    (views,) = one.curves.chance.values()
    assert set(np.unique(views.removal)) <= {0, 1}  # a mean over one order


def test_an_inverted_map_is_worse_than_chance_and_a_random_one_is_chance(
    evaluate, array
):
    noise = np.asarray(jax.random.uniform(jax.random.key(9), array.shape[:-1]))
    found = evaluate(
        {"map": array, "inverted": -array, "random": noise}, num_random_orders=8
    )
    gaps = {n: each.numbers.gaps["black"] for n, each in found.maps.items()}
    assert gaps["map"].removal.mean > 0 > gaps["inverted"].removal.mean
    assert gaps["map"].insertion.mean > 0 > gaps["inverted"].insertion.mean
    estimate = evaluation.gap_with_interval(
        found.maps["random"].against_chance["black"].removal
    )
    assert estimate.low <= 0 <= estimate.high


def test_an_affine_network_has_no_attribution_error_and_removal_is_to_the_baseline(
    evaluate, array
):
    settings = {"score_fn": SCORE, "fills": {"uniform": UNIFORM}}
    found = evaluate({"map": array}, baselines=0.0, **settings)
    numbers = found.maps["map"].numbers
    assert numbers.attribution_error.error < 1e-6
    black = evaluate({"map": array}).maps["map"].numbers.gaps["black"]
    assert numbers.gaps["own baseline"] == black
    assert found.fills == ["uniform"]
    # 2 A adds up to twice the target; and a baseline of one map is not of another.
    found = evaluate(
        {"map": array, "double": 2 * array}, baselines={"double": 0.0}, **settings
    )
    np.testing.assert_allclose(
        found.maps["double"].numbers.attribution_error.error, 1, rtol=1e-5
    )
    assert found.maps["map"].numbers.attribution_error is None
    assert "own baseline" not in found.maps["map"].numbers.gaps


def test_groups_are_measured_apart(evaluate, batch, array):
    groups = np.arange(N) % 2
    found = evaluate({"map": array}, groups=groups)
    one = evaluate(
        {"map": array[groups == 1]},
        batch={name: leaf[groups == 1] for name, leaf in batch.items()},
    )
    of_one = found.maps["map"].by_group[1]
    assert of_one.localisation == one.maps["map"].numbers.localisation
    assert found.groups.accuracy[0] == pytest.approx(5 / 6)
    assert found.groups.worst == pytest.approx(5 / 6)
    same(evaluate({"map": array}, batch={**batch, "groups": groups}), found)


def test_the_table_by_group_has_the_gaps_of_each(evaluate, array):
    found = evaluate(
        {"map": array, "double": 2 * array}, groups=np.arange(N) % 2,
        baselines={"double": 0.0}, score_fn=SCORE,
    )  # fmt: skip
    table, _ = result_tables.more_tables(found)
    titles = [column.title for column in table.columns]
    rows = {tuple(row[:2]): dict(zip(titles, row, strict=True)) for row in table.rows}
    for name, row in (("map", rows["map", "1"]), ("double", rows["double", "1"])):
        gaps = found.maps[name].by_group[1].gaps
        assert row["removal, black"] == gaps["black"].removal.mean
        own = gaps["own baseline"].insertion.mean if name == "double" else None
        assert row["insertion, own baseline"] == own


def test_a_map_that_says_nothing_costs_its_own_rows_alone(evaluate, batch, array):
    broken = array.copy()
    broken[3] = np.nan
    broken[4] = 1.0  # orders nothing
    found = evaluate({"map": array, "broken": broken})
    assert found.maps["map"].numbers == evaluate({"map": array}).maps["map"].numbers
    gap = found.maps["broken"].numbers.gaps["black"].removal
    assert (gap.num_defined, gap.num_undefined) == (N - 2, 2)
    valid = np.arange(N) != 5
    found = evaluate({"map": array}, batch={**batch, "region_valid": valid})
    energy = found.maps["map"].numbers.localisation["energy in region"]
    assert energy.num_undefined == 1
    assert np.isnan(found.maps["map"].rows["energy in region"][5])


def test_boxes_are_regions_and_no_annotation_is_no_localisation(evaluate, batch, array):
    plain = {name: batch[name] for name in ("inputs", "labels")}
    boxes = np.tile(np.float32([[0, 0, 4, 2]]), (N, 1, 1))
    boxed = {**plain, "boxes": boxes, "boxes_valid": np.ones((N, 1), bool)}
    found = evaluate({"map": array}, batch=boxed)
    same(found, evaluate({"map": array}))
    with pytest.raises(ValueError, match="needs 'boxes_valid'"):
        evaluate({"map": array}, batch={**plain, "boxes": boxes})
    assert evaluate({"map": array}, batch=plain).maps["map"].numbers.localisation == {}


def test_features_without_channels_are_positions(predict, batch, kernel):
    flat = batch["inputs"].reshape(N, -1)
    settings = {"key": jax.random.key(0), "progress": False, "fractions": QUARTERS}
    found = evaluation.evaluate(
        lambda x: x @ kernel, {"map": flat * kernel[:, batch["labels"]].T},
        {"inputs": flat, "labels": batch["labels"]}, fills={"black": BLACK}, **settings,
    )  # fmt: skip
    assert found.maps["map"].numbers.gaps["black"].removal.mean > 0.2


def test_it_prints_as_a_table_and_is_json_and_a_page(evaluate, array, tmp_path):
    found = evaluate({"<map>": array}, groups=np.arange(N) % 2)
    assert "| <map>" in str(found)
    assert "random values" in str(found)
    assert "&lt;map&gt;" in found._repr_html_()
    kept = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (
        kept["maps"]["<map>"]["numbers"]["gaps"]["black"]["removal"]["num_values"] == N
    )
    page = found.report(tmp_path / "report.html").read_text()
    assert "&lt;map&gt;" in page
    assert "<map>" not in page
    assert "random orders of the same network" in page
    figure = found.figure(view="insertion")
    assert figure.axes[0].get_xlabel() == "fraction of positions inserted"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"maps": {}}, "`maps`.*at least one"),
        ({"fills": {}}, "`fills`.*at least one"),
        ({"fills": {"own baseline": BLACK}}, "must not hold 'own baseline'"),
        ({"baselines": 0.0}, "`score_fn` must be given"),
        ({"baselines": {"a": 0.0}, "score_fn": SCORE}, r"`baselines` are of \['a'\]"),
        ({"baselines": np.zeros(7), "score_fn": SCORE}, r"\(7,\).*\(12, 4, 4, 2\)"),
        ({"maps": {"m": np.zeros((N, 2, 2))}}, r"\(4, 2, 2\) do not fit.*\(4, 4, 4, 2"),
        ({"maps": {"m": np.zeros((N, 4, 4), int)}}, "`maps`.'m'. must be float"),
        ({"maps": {"m": np.zeros((N - 1, 4, 4))}}, "as many examples"),
        ({"groups": np.arange(3)}, r"`groups`.*\[12\]"),
        ({"groups": np.full(N, -1)}, "at least 0; row 0"),
        ({"num_random_orders": 0}, "must be at least 1"),
        ({"batch_size": 0}, "`batch_size`"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(evaluate, array, change, message):
    maps = change.pop("maps", {"map": array})
    with pytest.raises(ValueError, match=message):
        evaluate(maps, **change)


def test_a_region_of_another_size_and_arrays_for_a_stream_are_refused(
    evaluate, batch, array
):
    with pytest.raises(ValueError, match=r"\(4, 2, 2\) does not fit.*\(4, 4, 4, 2\)"):
        evaluate({"map": array}, batch={**batch, "region": np.ones((N, 2, 2))})
    with pytest.raises(ValueError, match=r"\['map'\] are arrays"):
        evaluate({"map": array}, batch=iter([batch]))
    with pytest.raises(ValueError, match="at least one example"):
        evaluate({"map": EXPLAINER}, batch=iter([]))
    with pytest.raises(ValueError, match="must not hold a 'mask'"):
        evaluate({"map": array}, batch={**batch, "mask": np.ones((N, 4, 4), bool)})
    with pytest.raises(ValueError, match=r"must hold \['labels'\]"):
        evaluate({"map": array}, batch={"inputs": batch["inputs"]})


def test_the_bar_counts_batches_and_of_a_stream_no_total(evaluate, batch, monkeypatch):
    bars = []

    class Bar(contextlib.nullcontext):
        def __init__(self, *, total, unit, disable):
            super().__init__(self)
            self.total, self.count = total, 0
            bars.append(self)

        def update(self):
            self.count += 1

    monkeypatch.setattr(evaluating.tqdm, "tqdm", Bar)
    evaluate({"map": EXPLAINER}, batch_size=5)
    evaluate({"map": EXPLAINER}, batch=iter([batch]))
    assert [(bar.total, bar.count) for bar in bars] == [(3, 3), (None, 3)]


def test_the_tables_fit_a_terminal_with_two_fills_and_a_baseline(evaluate, array):
    found = evaluate(
        {"integrated gradients": array, "gradient": -array},
        fills={"channel_mean": BLACK, "uniform": UNIFORM},
        baselines={"integrated gradients": 0.0}, score_fn=SCORE,
        groups=np.arange(N) % 2,
    )  # fmt: skip
    lines = str(found).splitlines()
    assert max(map(len, lines)) <= 160
    titles = next(line for line in lines if "energy in region" in line)
    names = [title.strip() for title in titles.strip("|").split("|")]
    assert names[1:5] == list(measuring.LOCALISATION)
    assert sum("removal, own baseline" in line for line in lines) == 1
