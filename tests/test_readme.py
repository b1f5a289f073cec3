"""The README's examples, run as they are printed."""

import functools
import json
import pathlib
import re
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
import safetensors.numpy
from flax import linen as nn

from xguide_jax import data, models, testing

pytestmark = pytest.mark.usefixtures("standard_promotion")
README = pathlib.Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)

(TEXTS,) = (block for block in BLOCKS if "packaged_minilm" in block)
(PHOTOGRAPHS,) = (block for block in BLOCKS if "read_annotations" in block)


def batch_at(step):
    key = jax.random.key(step)
    labels = jnp.arange(8) % 10
    shift = labels.astype(jnp.float32)[:, None, None, None] / 10
    inputs = jax.random.normal(key, (8, 28, 28, 1)) + shift
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


@pytest.fixture
def run_dir(tmp_path):
    """What an experiment leaves of an arm, zeros for weights."""
    network = models.SaliencyGuidedCNN()
    params, _ = jax.eval_shape(
        lambda: models.init_linen(network, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    )
    arrays = {
        "params." + jax.tree_util.keystr(place, simple=True, separator="."): np.zeros(
            leaf.shape, leaf.dtype
        )
        for place, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    path = tmp_path / "models" / "signed-0" / "model.safetensors"
    path.parent.mkdir(parents=True)
    safetensors.numpy.save_file(arrays, path)
    return tmp_path


@pytest.fixture
def board(monkeypatch):
    """Stands in for tensorboardX, which the tests do not install."""
    scalars = []

    class SummaryWriter:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, *scalar):
            scalars.append(scalar)

    module = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    return scalars


def test_paragraphs_are_at_most_100_characters_wide():
    text = re.sub(r"```.*?```", "", README.read_text(encoding="utf-8"), flags=re.S)
    lines = [line for line in text.splitlines() if not line.startswith("|")]
    assert [line for line in lines if len(line) > 100] == []


def test_the_files_it_points_at_are_there():
    places = re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))
    assert places
    assert [place for place in places if not (README.parent / place).exists()] == []


def test_the_other_examples_run_after_it(guided, run_dir, board):
    batch = guided["batch"]
    names = guided | {
        "model_state": {},
        "images": batch["inputs"],
        "labels": batch["labels"],
        "key": jax.random.key(0),
        "run_dir": run_dir,
        "region": jnp.zeros((8, 28, 28)).at[:, 5:20, 8:16].set(1.0),
    }
    exec("from xguide_jax import testing", names)
    for block in BLOCKS[1:]:
        if block in (TEXTS, PHOTOGRAPHS):
            continue
        exec(compile(block, "README.md", "exec"), names)
    assert np.isfinite(names["metrics"]["loss"])
    assert 0 < float(names["guided"]) < 100
    assert names["maps"].shape == names["images"].shape
    assert names["output"].intermediates["features"].shape == (8, 7, 7, 32)
    assert int(names["state"].step) == names["num_steps"]
    logged = {name for name, _, step in board if step == names["num_steps"]}
    assert {"loss", "task", "sgt"} <= logged
    assert (run_dir / "metrics.jsonl").read_text().count("\n") == 2


def test_a_module_that_is_opened_from_outside_keeps_the_contract(guided):
    names = dict(guided)
    (block,) = (b for b in BLOCKS if "def exposing" in b)
    exec(block.partition("opened = ")[0], names)

    class Sowing(nn.Module):
        @nn.compact
        def __call__(self, images):
            hidden = nn.Conv(3, (3, 3))(images)
            self.sow("intermediates", "features", hidden)
            return nn.Dense(2)(jnp.tanh(hidden).mean(axis=(1, 2)))

    images = jax.random.normal(jax.random.key(0), (2, 4, 4, 1))
    weights = models.init_linen(Sowing(), jax.random.key(1), images)
    opened = names["exposing"](Sowing(), features="Conv_0")
    output, _ = opened(*weights, images, train=False)
    assert output.intermediates["features"].shape == (2, 4, 4, 3)
    testing.check_apply_fn(opened, *weights, images)
    sown, _ = models.linen_apply_fn(Sowing())(*weights, images, train=False)
    assert not sown.intermediates
    np.testing.assert_array_equal(output.logits, sown.logits)


def test_texts_of_ones_own_train_a_bert(guided, tmp_path, monkeypatch):
    """By a small network in MiniLM's place, which not everybody has installed."""
    lines = [
        {"text": "A fine plot.", "label": "good", "rationale": ["fine"]},
        {
            "text": "A dull and slow plot.",
            "label": "bad",
            "rationale": ["dull", "slow"],
        },
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, lines)))
    monkeypatch.chdir(tmp_path)
    small = models.Bert(
        vocabulary_size=30, num_layers=6, num_heads=4, width=8, hidden_width=8,
        num_positions=64, num_classes=2, pooling="class_token",
    )  # fmt: skip

    def load_bert(folder, *, num_classes, pooling, key):
        assert (folder, num_classes, pooling) == ("minilm", 2, "class_token")
        ids = jnp.zeros((1, 4), jnp.int32)
        inputs = {"tokens": ids, "mask": ids == 0, "segments": ids}
        return small, models.init_linen(small, key, inputs)[0]

    words = data.read_texts("mine.jsonl", class_names=("bad", "good"))
    tokenizer = data.word_tokenizer(words)
    monkeypatch.setattr(models, "packaged_minilm", lambda: "minilm")
    monkeypatch.setattr(models, "load_bert", load_bert)
    monkeypatch.setattr(data, "load_tokenizer", lambda folder: tokenizer)
    names = guided | {"key": jax.random.key(0)}
    exec("from xguide_jax import losses", names)
    exec(compile(TEXTS, "README.md", "exec"), names)
    assert names["counts"].annotated == 2
    assert 0 < float(names["guided"]) < 100


def test_photographs_of_ones_own_become_batches(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    rows = ["image,label,x0,y0,x1,y1"]
    for number in range(40):
        pixels = np.full((20, 30, 3), 6 * number, np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
        rows.append(f"{number}.png,{('cat', 'dog')[number % 2]},3,4,12,15")
    rows.append("0.png,dog,15,4,20,8")  # of two classes: left out here
    (tmp_path / "photos" / "boxes.csv").write_text("\n".join(rows))
    names = {"functools": functools}
    exec(compile(PHOTOGRAPHS, "README.md", "exec"), names)
    batch = names["batch_at"](0)
    assert batch["inputs"].shape == (32, 64, 64, 3)
    assert batch["region"].shape == (32, 64, 64)
    assert batch["region_valid"].all()
    assert len(names["labels"]) == 39
