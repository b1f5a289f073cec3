"""e-SNLI of tensorflow-datasets, without TensorFlow and without a network."""

import sys
import tempfile

import pytest
import tensorflow_datasets as tfds

from xguide_jax import data

_CLASSES = ["entailment", "neutral", "contradiction"]
_PAIRS = [
    ("A b.", "C.", 2, ("Why.", "Because.", "")),
    ("A b.", "D.", -1, ("", "", "")),
    (" ", "D.", 0, ("", "", "")),
    ("Ünï", "nan", 1, ("So.", "", "")),
]


@pytest.fixture(autouse=True)
def _temporary_folders_that_are_removed(tmp_path, monkeypatch):
    """A builder makes an empty one whenever it is loaded, and leaves it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


class _Esnli(tfds.core.GeneratorBasedBuilder):
    """Four pairs, as the registered set would hold them."""

    VERSION = tfds.core.Version("0.1.0")
    code_path = None
    name = "esnli_of_four"

    def _info(self):
        texts = ("premise", "hypothesis", *(f"explanation_{k}" for k in (1, 2, 3)))
        features = {name: tfds.features.Text() for name in texts}
        features["label"] = tfds.features.ClassLabel(names=_CLASSES)
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {"validation": self._generate_examples()}

    def _generate_examples(self):
        for i, (premise, hypothesis, label, written) in enumerate(_PAIRS):
            yield (
                i,
                {
                    "premise": premise,
                    "hypothesis": hypothesis,
                    "label": label,
                    **{f"explanation_{k}": text for k, text in enumerate(written, 1)},
                },
            )


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """The set of four in the place of the registered one, prepared."""
    builder = _Esnli(data_dir=tmp_path, file_format="array_record")
    monkeypatch.setattr(tfds, "builder", lambda name, **_: {"esnli": builder}[name])
    return builder


def test_pairs_come_with_their_explanations(prepared):
    corpus = data.tensorflow_datasets_esnli("validation")
    assert corpus.skipped == {"no gold label": 1, "an empty text": 1}
    assert corpus.class_names == tuple(_CLASSES)
    # Records are shuffled when they are written.
    first, second = sorted(corpus.examples, key=lambda example: example.text)
    assert (first.text, first.text_b, first.label) == ("A b.", "C.", 2)
    assert (second.text, second.text_b, second.label) == ("Ünï", "nan", 1)
    assert first.explanations == ("Why.", "Because.")
    assert second.explanations == ("So.",)
    assert first.evidence is first.evidence_b is None
    assert first.id.startswith("validation-")
    half = data.tensorflow_datasets_esnli("validation[:50%]", download=False)
    assert len(half.examples) + sum(half.skipped.values()) == 2
    assert "tensorflow" not in sys.modules


def test_a_set_that_is_not_prepared_is_refused(prepared):
    with pytest.raises(
        FileNotFoundError, match=r"is not prepared .*`download` is False"
    ):
        data.tensorflow_datasets_esnli("validation", download=False)
