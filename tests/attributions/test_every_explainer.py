"""Promises of all explainers at once: each can guide, and none is forgotten."""

import functools
import pathlib

import explainer_cases
import jax
import numpy as np
import optax
import pytest

from xguide_jax import attributions, guidance, training

ROOT = pathlib.Path(__file__).parents[2]
with np.load(ROOT / "tests" / "golden" / "captum_cnn.npz") as stored:
    GOLDEN = {name: stored[name] for name in stored if "differentiable/" in name}
STEP = 0.004  # of the parameters' own length

pytestmark = pytest.mark.usefixtures("standard_promotion")


def test_the_cases_are_all_public_explainers():
    public = set(attributions.__all__) - explainer_cases.NOT_EXPLAINERS
    assert public == set(explainer_cases.CASES)


@pytest.mark.parametrize("name", sorted(explainer_cases.CASES))
def test_the_readme_has_its_row_and_what_captum_gives(name):
    if name == "expected_gradients_at":  # the draws of another row, given
        return
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (row,) = (x for x in text.splitlines() if x.startswith("|") and f"`{name}`" in x)
    captum = explainer_cases.CASES[name].captum
    known = {k.removeprefix("differentiable/"): str(v) for k, v in GOLDEN.items()}
    found = "not t" if captum is None else known[captum].partition(":")[0]
    assert found in row.rsplit("|", 2)[1]


@pytest.mark.thorough  # a double backward pass is compiled for each
@pytest.mark.parametrize("name", sorted(explainer_cases.CASES))
def test_it_guides_a_network_on_decoys(name):
    """A loss of the map has a gradient in the parameters, and three steps reduce it."""
    case = explainer_cases.CASES[name]
    apply_fn, params = explainer_cases.NETWORKS[case.network]()
    batch = explainer_cases.decoy_batch()

    def explain(context):
        forward = functools.partial(context.forward, train=False)
        return case.explain(forward, context.batch["inputs"], context.batch["labels"])

    terms = {"map": guidance.right_for_right_reasons(explain=explain)}

    @jax.jit
    def step(params):
        def loss(params):
            return training.guidance_loss(
                apply_fn, terms, {"model": params}, (), {}, batch,
                step=0, key=jax.random.key(0),
            )[0]  # fmt: skip

        value, gradient = jax.value_and_grad(loss)(params)
        size = STEP * optax.tree.norm(params) / optax.tree.norm(gradient)
        moved = jax.tree.map(lambda p, g: p - size * g, params, gradient)
        return value, gradient, moved

    values = []
    for _ in range(4):
        value, gradient, params = step(params)
        values.append(float(value))
        assert 0 < float(optax.tree.norm(gradient)) < np.inf
    assert values == sorted(values, reverse=True), values
    assert values[-1] < 0.999 * values[0]


_SEGMENTS = {"segments": np.arange(4), "num_segments": 4, "baselines": 0.0}
# What each chunked explainer counts by, few and many of it, and its other settings; the
# loops of integrated gradients, expected gradients, SmoothGrad and occlusion are
# measured beside their own tests.
COUNTED = {
    "kernel_shap": ("num_samples", (8, 14), {**_SEGMENTS, "chunk_size": 1}),
    "lime": (
        "num_samples", (5, 20),
        {**_SEGMENTS, "kernel_width": 1.0, "ridge": 1.0, "chunk_size": 1},
    ),
    "rise": (
        "num_masks", (3, 12),
        {"grid": (2,), "keep_probability": 0.5, "baselines": 0.0, "chunk_size": 1},
    ),
    "shapley_sampling": ("num_samples", (1, 4), {**_SEGMENTS, "chunk_size": 1}),
}  # fmt: skip


@pytest.mark.skipif(
    jax.__version_info__ < (0, 12), reason="XLA dropped barriers too early"
)
@pytest.mark.parametrize("name", sorted(COUNTED))
def test_memory_does_not_grow_with_the_count(name):
    count, numbers, settings = COUNTED[name]
    kernel = np.ones((4, 1024), np.float32)

    def temporary_bytes(number):
        run = lambda inputs: getattr(attributions, name)(
            lambda x: jax.nn.softplus(x @ kernel) @ kernel.T, inputs,
            np.zeros(64, np.int32), key=jax.random.key(0),
            score_fn=attributions.target_logit, **{count: number}, **settings,
        )  # fmt: skip
        compiled = jax.jit(run).lower(np.ones((64, 4), np.float32)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few, many = map(temporary_bytes, numbers)
    assert few > 64 * 1024 * 4  # the activations of one chunk are in it
    assert many < 1.5 * few
