"""The README's examples, run as they are printed."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("standard_promotion")
README = pathlib.Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)


def batch_at(step):
    key = jax.random.key(step)
    labels = jnp.arange(8) % 10
    inputs = jax.random.normal(key, (8, 28, 28, 1)) + labels[:, None, None, None] / 10.0
    return {"inputs": inputs, "labels": labels}


@pytest.fixture(scope="module")
def guided(standard_promotion):
    """The names that the first example leaves behind."""
    names = {"num_steps": 4, "batch_at": batch_at}
    exec(compile(BLOCKS[0], "README.md", "exec"), names)
    return names


def test_the_first_example_is_ten_lines_in_an_ordinary_loop_and_trains(guided):
    (loop, *_) = BLOCKS
    assert sum("# +" in line for line in loop.splitlines()) == 10
    plain_text = "\n".join(line for line in loop.splitlines() if "# +" not in line)
    plain = {"num_steps": 4, "batch_at": batch_at}
    exec(compile(plain_text, "README.md", "exec"), plain)
    assert np.isfinite(guided["loss"])
    moved = jax.tree.map(
        lambda a, b: float(jnp.abs(a - b).max()), guided["params"], plain["params"]
    )
    assert max(jax.tree.leaves(moved)) > 0


def test_the_other_examples_run_after_it(guided):
    batch = guided["batch"]
    names = guided | {
        "model_state": {},
        "images": batch["inputs"],
        "labels": batch["labels"],
        "key": jax.random.key(0),
        "region": jnp.zeros((8, 28, 28)).at[:, 5:20, 8:16].set(1.0),
    }
    exec("from xguide_jax import testing", names)
    for block in BLOCKS[1:]:
        exec(compile(block, "README.md", "exec"), names)
    assert np.isfinite(names["metrics"]["loss"])
    assert 0 < float(names["guided"]) < 100
    assert names["maps"].shape == names["images"].shape
