"""Arms, terms, and which weight of a term is shown."""

import dataclasses
import math
import types

import numpy as np
import pytest

from experiments.guide_photographs import choosing, terms
from experiments.guide_photographs.experiment import Config, check, spread
from experiments.running import arms, results
from xguide_jax import evaluation

NAN = math.nan


def read(text):
    return arms.read_arm(text, terms.GRAMMAR)


def found_of(measured):
    """{arm: what is measured of it, a seed} as results."""
    return {
        text: [
            results.Result(read(text), n, 6, NAN, one) for n, one in enumerate(seeds)
        ]
        for text, seeds in measured.items()
    }


def on_composites(found):
    """{arm: [accuracy before other backgrounds, a seed]} as results."""
    make = lambda value: types.SimpleNamespace(validation_swapped=value)
    return found_of({t: [make(v) for v in vs] for t, vs in found.items()})


def by_accuracy(found):
    """{arm: [(accuracy, energy), a seed]} as results."""
    make = lambda accuracy, energy: types.SimpleNamespace(
        validation=accuracy, validation_energy=evaluation.summarise(np.array([energy]))
    )
    return found_of({t: [make(*v) for v in vs] for t, vs in found.items()})


def chosen_of(found, rule):
    return {
        choice.name: choice
        for choice in choosing.choose(found, rule, unguided="unguided")
    }


def test_the_weight_with_most_accuracy_on_composites_is_chosen():
    found = on_composites(
        {
            "unguided": [0.5, 0.7],
            "energy=3": [0.9, 0.7],  # 0.8
            "energy=1": [0.8, 0.9],  # 0.85
            "energy=0.3": [0.6, 0.6],
            "energy=3@random": [0.4, 0.4],
            "energy=1@random": [0.3, 0.3],
            "swapped": [0.1, 0.1],
        }
    )
    chosen = chosen_of(found, "composites")
    assert {name: choice.arm for name, choice in chosen.items()} == {
        "unguided": "unguided",
        "energy": "energy=1",
        "energy@random": "energy=3@random",
        "swapped": "swapped",
    }
    assert chosen["energy"].tried == ("energy=0.3", "energy=1", "energy=3")
    np.testing.assert_allclose(chosen["energy"].score, 0.85)
    assert not any(choice.fell_back for choice in chosen.values())
    only = choosing.only(found, list(chosen.values()))
    assert only["energy"] is found["energy=1"]
    assert list(only) == ["unguided", "energy", "energy@random", "swapped"]


def test_of_equal_weights_the_smaller_one_is_chosen_wherever_it_stands():
    for order in (("energy=3", "energy=0.3"), ("energy=0.3", "energy=3")):
        found = on_composites({text: [0.7] for text in order})
        assert chosen_of(found, "composites")["energy"].arm == "energy=0.3"


def test_an_arm_without_a_number_is_never_chosen():
    found = on_composites({"energy=0.3": [NAN, NAN], "energy=1": [0.0, NAN]})
    choice = chosen_of(found, "composites")["energy"]
    assert (choice.arm, choice.score) == ("energy=1", 0.0)
    found = by_accuracy(
        {"unguided": [(0.5, 0.1)], "energy=1": [(NAN, 0.9)], "energy=3": [(0.5, 0.2)]}
    )
    assert chosen_of(found, "accuracy")["energy"].arm == "energy=3"


def test_of_the_weights_that_keep_the_accuracy_the_most_energy_is_chosen():
    found = by_accuracy(
        {
            "unguided": [(0.9, 0.1), (0.8, 0.1)],  # 0.85: .82 is kept
            "energy=0.3": [(0.85, 0.3), (0.84, 0.2)],
            "energy=1": [(0.83, 0.4), (0.83, 0.4)],
            "energy=3": [(0.81, 0.9), (0.81, 0.9)],
            "swapped=3": [(0.2, 0.9), (0.2, 0.9)],
            "swapped=1": [(0.1, 0.6), (0.1, 0.6)],
        }
    )
    chosen = chosen_of(found, "accuracy")
    assert chosen["energy"].arm == "energy=1"
    np.testing.assert_allclose(chosen["energy"].score, 0.4, rtol=1e-6)
    assert not chosen["energy"].fell_back
    swapped = chosen["swapped"]
    assert (swapped.arm, swapped.fell_back) == ("swapped=1", True)
    np.testing.assert_allclose(swapped.score, 0.6, rtol=1e-6)


def test_names_and_their_controls():
    names = {
        text: choosing.name_of(read(text))
        for text in ("unguided", "energy", "energy=2", "energy=2@random")
    }
    assert list(names.values()) == ["unguided", "energy", "energy", "energy@random"]
    assert choosing.is_control("energy@random")
    assert not choosing.is_control("energy")
    found = {"energy": [], "energy@random": [], "swapped": []}
    assert choosing.control_of(found, "energy") == "energy@random"
    assert choosing.control_of(found, "swapped") is None


def test_every_term_has_a_control_at_every_weight_and_each_arm_is_there_once():
    own = (read("unguided"), read("energy=1"))
    every = terms.every_arm(own, ("energy", "swapped"), (0.3, 1.0))
    assert [arm.text for arm in every] == [
        "unguided", "energy=1", "energy=0.3", "energy=0.3@random", "energy=1@random",
        "swapped=0.3", "swapped=1", "swapped=0.3@random", "swapped=1@random",
    ]  # fmt: skip
    assert {arm.annotation for arm in every} == {None, "boxes", "random"}
    assert terms.every_arm(own, (), (1.0,)) == own
    assert len(spread(Config(), arms.read_arms(Config().arms, terms.GRAMMAR))) == 19


def test_two_weights_never_share_an_arm_and_are_trained_as_they_were_given():
    # Six digits, seven, eight; the next float after 0.3; and powers of ten.
    weights = (0.123457, 0.1234567, 0.12345671, 0.3, math.nextafter(0.3, 1), 1e-7, 1e7)
    every = terms.every_arm((), ("energy",), weights)
    assert [arm.weight for arm in every] == 2 * list(weights)
    assert [arm.text for arm in every[: len(weights)]] == [
        "energy=0.123457", "energy=0.1234567", "energy=0.12345671", "energy=0.3",
        "energy=0.30000000000000004", "energy=1e-07", "energy=1e+07",
    ]  # fmt: skip


def test_arms_that_there_are_not_are_refused():
    with pytest.raises(
        ValueError, match=r"`term_weights` \(=\(\)\) must hold at least one"
    ):
        terms.every_arm((), ("energy",), ())
    with pytest.raises(ValueError, match="`arms` holds 'energie=1'; there are"):
        terms.every_arm((), ("energie",), (1.0,))
    with pytest.raises(ValueError, match=r"whose weight \(=-1\) must be a finite"):
        terms.every_arm((), ("energy",), (-1.0,))
    with pytest.raises(ValueError, match="'box' is none of boxes and random"):
        read("energy@box")


def test_features_are_contrasted_where_they_move_alone():
    terms.check_terms(("region_contrast",), is_cut_at_layer=False)
    terms.check_terms(("energy",), is_cut_at_layer=True)
    with pytest.raises(ValueError, match="`freeze` holds them: let blocks be trained"):
        terms.check_terms(("energy", "region_contrast"), is_cut_at_layer=True)
    config = Config(backbone="efficientnet-lite0", terms=("region_contrast",))
    with pytest.raises(ValueError, match="'region_contrast', which moves features"):
        check(config)
    check(dataclasses.replace(config, freeze="1"))
    check(dataclasses.replace(config, backbone="small-cnn"))


@pytest.mark.parametrize("replaced", [None, "block_14"])
def test_every_term_can_be_built_and_grows_over_the_first_30_percent(
    replaced, monkeypatch
):
    network = types.SimpleNamespace(layer="features", replaced=replaced)
    assert terms.terms_of(read("unguided"), network, num_steps=10) == {}
    for name in terms.TERMS:
        (term,) = terms.terms_of(read(name), network, num_steps=10).values()
        assert term.init(None, {}) == ((), ())
    seen = []
    monkeypatch.setattr(
        terms.guidance, "scale", lambda term, weight: seen.append(weight)
    )
    terms.terms_of(read("energy=4"), network, num_steps=20)
    np.testing.assert_allclose([seen[0](n) for n in (0, 3, 6, 19)], [0, 2, 4, 4])
    terms.terms_of(read("energy=4"), network, num_steps=1)
    np.testing.assert_allclose([seen[1](n) for n in (0, 1)], [0, 4])


def test_backgrounds_are_swapped_in_pixels_or_in_the_held_map(monkeypatch):
    seen = []
    keep = lambda **options: seen.append((options["layer"], options["inside_share"]))
    monkeypatch.setattr(terms.guidance, "region_consistency", keep)
    for replaced in (None, "block_14"):
        network = types.SimpleNamespace(layer="features", replaced=replaced)
        monkeypatch.setattr(terms.guidance, "scale", lambda term, weight: term)
        terms.terms_of(read("region_consistency"), network, num_steps=1)
    assert seen == [(None, 0.0), ("block_14", 0.5)]


def test_a_choice_by_accuracy_needs_the_unguided_arm():
    config = Config(arms=("energy=1",), select="accuracy")
    with pytest.raises(ValueError, match=r"`select` \(='accuracy'\) needs the arm 'un"):
        check(config)
    check(dataclasses.replace(config, select="composites"))
