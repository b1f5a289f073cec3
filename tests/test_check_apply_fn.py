"""The check of one's own network accepts what is right and names what is wrong."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from flax import nnx

from xguide_jax import models, testing
from xguide_jax.types import ModelOutput

INPUTS = jax.random.normal(jax.random.key(0), (3, 4))
PARAMS = {
    "first": jax.random.normal(jax.random.key(1), (4, 5)),
    "second": jax.random.normal(jax.random.key(2), (5, 3)),
}
STATE = {"mean": jnp.zeros(5)}


def network(
    params,
    model_state,
    inputs,
    *,
    train,
    key=None,
    overrides=None,
    replace=models.override,
    noise=0.5,
    known=("hidden",),
):
    """Two layers with batch statistics and additive noise, right in everything."""
    unknown = set(overrides or ()) - set(known)
    if unknown:
        raise ValueError(f"unknown {unknown}")
    hidden = jnp.tanh(inputs @ params["first"])
    if train:
        mean = jnp.mean(hidden, axis=0)
        model_state = {"mean": 0.9 * model_state["mean"] + 0.1 * mean}
        hidden = hidden - mean + noise * jax.random.normal(key, hidden.shape)
    else:
        hidden = hidden - model_state["mean"]
    hidden = replace("hidden", hidden, overrides)
    return ModelOutput(hidden @ params["second"], {"hidden": hidden}), model_state


def check(apply_fn, **changes):
    arguments = {"params": PARAMS, "model_state": STATE, "inputs": INPUTS, **changes}
    testing.check_apply_fn(apply_fn, **arguments)


def test_an_honest_network_passes():
    check(network)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_network_of_this_package_passes(batch_norm):
    inputs = testing.example_batch(jax.random.key(1), batch_size=2)["inputs"]
    network = testing.smooth_network(jax.random.key(0), batch_norm=batch_norm)
    testing.check_apply_fn(*network, inputs)


def test_a_linen_network_with_dropout_and_batch_norm_passes():
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    module = models.SmallCNN(
        num_classes=3, channels=(2, 2), strides=(1, 2), normalise="batch", dropout=0.5
    )
    params, state = models.init_linen(module, jax.random.key(0), images)
    testing.check_apply_fn(models.linen_apply_fn(module), params, state, images)


class NnxNetwork(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(4, 5, rngs=rngs)
        self.norm = nnx.BatchNorm(5, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.second = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, inputs, *, overrides=None):
        hidden = nnx.tanh(self.norm(self.first(inputs)))
        hidden = models.override("hidden", hidden, overrides)
        return ModelOutput(self.second(self.dropout(hidden)), {"hidden": hidden})


def test_an_nnx_network_with_dropout_and_batch_norm_passes():
    testing.check_apply_fn(*models.nnx_apply_fn(NnxNetwork(nnx.Rngs(0))), INPUTS)


def test_a_network_of_token_ids_in_a_nest_passes():
    """Inputs need no gradient: what an override hides is seen by their values."""

    def apply_fn(params, state, inputs, *, train, key=None, overrides=None):
        if set(overrides or ()) - {"embeddings"}:
            raise ValueError
        embedded = params["first"][inputs["tokens"]]  # [B, T, 5]
        embedded = models.override("embeddings", embedded, overrides)
        mask = inputs["mask"][..., None].astype(embedded.dtype)
        pooled = jnp.sum(mask * jnp.tanh(embedded), axis=1)
        return ModelOutput(pooled @ params["second"], {"embeddings": embedded}), state

    inputs = {
        "tokens": jnp.array([[0, 1, 2], [3, 3, 1]]),
        "mask": jnp.array([[True, True, True], [True, True, False]]),
    }
    # The mask reaches the logits beside the embeddings.
    check(apply_fn, inputs=inputs, model_state=(), skips=["embeddings"])
    with pytest.raises(AssertionError, match="'embeddings' does not replace it"):
        check(apply_fn, inputs=inputs, model_state=())


def changed(change):
    """The network, whose (output, state) is `change(output, state, train)`."""

    def apply_fn(params, state, inputs, *, train, **arguments):
        output, next_state = network(params, state, inputs, train=train, **arguments)
        return change(output, next_state, train)

    return apply_fn


def with_logits(function):
    return changed(lambda o, s, t: (o._replace(logits=function(o.logits)), s))


def with_state(in_train, in_eval=lambda s: s):
    return changed(lambda o, s, train: (o, (in_train if train else in_eval)(s)))


def replacing(function):
    """The network whose overrides go through `function(activation, replacement)`."""

    def replace(name, activation, overrides):
        if not overrides:
            return activation
        return function(activation, overrides[name])

    return functools.partial(network, replace=replace)


def needs_a_key(params, state, inputs, *, train, key=None, overrides=None):
    jax.random.split(key)
    return network(params, state, inputs, train=train, key=key, overrides=overrides)


def draws_in_eval_mode(params, state, inputs, *, train, key=None, overrides=None):
    seed = jax.random.key(9) if key is None else key
    output, state = network(
        params, state, inputs, train=train, key=key, overrides=overrides
    )
    noise = jax.random.normal(seed, output.logits.shape)
    return output._replace(logits=output.logits + noise), state


def never_trains(params, state, inputs, *, train, **arguments):
    return network(params, state, inputs, train=False, **arguments)


def counting():
    """Every pass in train mode draws anew, whatever the key."""
    passes = []

    def apply_fn(params, state, inputs, *, train, key=None, overrides=None):
        passes.append(None)
        key = jax.random.key(len(passes)) if train else None
        return network(params, state, inputs, train=train, key=key, overrides=overrides)

    return apply_fn


def ignores_unknown_names(params, state, inputs, *, overrides=None, **arguments):
    known = {n: v for n, v in (overrides or {}).items() if n == "hidden"}
    return network(params, state, inputs, overrides=known, **arguments)


def half(activation, replacement):
    return (activation + replacement) / 2


def straight_through(activation, replacement):
    return activation + jax.lax.stop_gradient(replacement - activation)


@jax.custom_jvp
def twice_the_slope(values):
    return values


twice_the_slope.defjvps(lambda tangent, out, values: 2 * tangent)


BROKEN = {
    "needs a key in eval mode": (needs_a_key, "eval mode.*without a key, fails"),
    "draws in eval mode": (draws_in_eval_mode, "a key changes a pass in eval mode"),
    "bare logits": (
        changed(lambda o, s, t: (o.logits, s)), r"must return \(ModelOutput",
    ),
    "one logit a batch": (with_logits(lambda x: x[:, 0]), r"logits are float32\[3\]"),
    "whole numbers": (with_logits(lambda x: x.astype(int)), r"are int32\[3, 3\]; they"),
    "NaN": (with_logits(lambda x: x * jnp.nan), "logits or activations: not finite"),
    "an activation without the batch": (
        changed(lambda o, s, t: (o._replace(intermediates={"mean": jnp.ones(5)}), s)),
        r"'mean' has shape \(5,\); an activation is \[B, ...\], B = 3",
    ),
    "examples see each other": (
        with_logits(lambda x: x - jnp.mean(x, axis=0)), "depends on the other examples",
    ),
    "blind": (with_logits(lambda x: 0 * x + 1), "the same for other inputs"),
    "another function under jit": (
        with_logits(lambda x: x * (2 if isinstance(x, jax.core.Tracer) else 1)),
        "jit changes the output",
    ),
    "state moves in eval mode": (
        with_state(lambda s: s, lambda s: {"mean": s["mean"] + 1}),
        "a pass in eval mode changes the state",
    ),
    "state gains an entry": (
        with_state(lambda s: {**s, "sown": jnp.ones(1)}), "another structure, shape",
    ),
    "state grows": (
        with_state(lambda s: {"mean": jnp.concatenate([s["mean"], s["mean"]])}),
        r"train mode returns a state of another .*float32\[10\]",
    ),
    "state changes its dtype": (
        with_state(lambda s: {"mean": s["mean"].astype(jnp.bfloat16)}),
        r"bfloat16\[5\]'} after {'mean': 'float32\[5\]",
    ),
    "never trains": (never_trains, "is `train` passed on"),
    "no function of its key": (counting(), "is no function of its key"),
    "NaN in train mode": (
        with_state(lambda s: {"mean": s["mean"] * jnp.nan}),
        "a pass in train mode: not finite",
    ),
    "other logits in train mode": (
        changed(lambda o, s, t: (o._replace(logits=o.logits[:, :2 + (not t)]), s)),
        "train and eval mode differ in the shape",
    ),
    "no gradient": (
        with_logits(jax.lax.stop_gradient), "no gradient in the parameters",
    ),
    "overrides are ignored": (
        replacing(lambda a, r: a), "override of 'hidden' changes nothing",
    ),
    "overrides are added": (
        replacing(lambda a, r: a + r), "'hidden' by its clean value changes the logits",
    ),
    "half of it is replaced": (replacing(half), "'hidden' does not replace it"),
    "all but a hundred-thousandth of it is replaced": (
        replacing(lambda a, r: r + 1e-5 * (a - r)), "'hidden' does not replace it",
    ),
    "a gradient past the replacement": (
        replacing(straight_through), "override of 'hidden' has no gradient",
    ),
    "another gradient": (
        replacing(lambda a, r: twice_the_slope(r)), "the chain rule does not hold",
    ),
    "unknown names are ignored": (ignores_unknown_names, "layer would be ignored"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_network_is_named(name):
    apply_fn, message = BROKEN[name]
    with pytest.raises(AssertionError, match=message):
        check(apply_fn)


class SwitchedByAnotherName(nn.Module):
    """Dropout that no `train` reaches."""

    @nn.compact
    def __call__(self, inputs, *, on=False):
        return nn.Dense(2)(nn.Dropout(0.5, deterministic=not on)(inputs))


def test_dropout_that_is_never_on_is_noticed_when_it_is_said_to_be_there():
    module = SwitchedByAnotherName()
    params, state = models.init_linen(module, jax.random.key(0), INPUTS)

    def apply_fn(params, state, inputs, *, train, key=None, overrides=None):
        if overrides:
            raise ValueError("nothing is exposed")
        return ModelOutput(module.apply({"params": params}, inputs)), state

    testing.check_apply_fn(apply_fn, params, state, INPUTS)
    with pytest.raises(AssertionError, match="is `train` passed on"):
        testing.check_apply_fn(apply_fn, params, state, INPUTS, modes_differ=True)


def test_a_state_that_no_pass_changes_may_be_meant():
    """Frozen statistics: the state is read in both modes."""
    check(never_trains, modes_differ=False)


def test_a_whole_number_among_the_parameters_is_named():
    params = {**PARAMS, "steps": jnp.zeros((), jnp.int32)}
    with pytest.raises(AssertionError, match=r"params hold \['float32', 'int32'\]"):
        check(network, params=params)


def test_inputs_that_cannot_show_a_fault_are_refused():
    with pytest.raises(ValueError, match=r"`inputs` \(of lengths \[\(1,\)\]\)"):
        check(network, inputs=INPUTS[:1])
    with pytest.raises(ValueError, match=r"lengths \[\(2,\), \(3,\)\]\) must be \[B"):
        check(network, inputs={"a": INPUTS, "b": INPUTS[:2]})
    with pytest.raises(ValueError, match=r"`skips` names \['fog'\]; .*\['hidden'\]"):
        check(network, skips=["fog"])
