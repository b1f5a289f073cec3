"""Writes text_metrics.json: texts, and what published packages say about them.

Run by hand, never by the tests; only this script needs the packages:

    python -m pip install sacrebleu rouge-score
    python -m pip install --no-deps pycocoevalcap
    python tests/golden/make_text_metrics.py

pycocoevalcap's own dependencies are left out: nothing here calls Java. The texts are in
lower case and without punctuation, so that every package finds the same words. Those of
the last example are shorter than four words. METEOR is NLTK's, which rouge-score
brings, with a stemmer that does nothing and a dictionary without a synonym; it counts
chunks by another alignment where words are repeated, so its texts repeat none.
"""

import importlib.metadata
import json
import pathlib

import sacrebleu
from nltk.translate import meteor_score
from pycocoevalcap.cider import cider_scorer
from pycocoevalcap.rouge import rouge
from rouge_score import rouge_scorer

PLACE = pathlib.Path(__file__).with_name("text_metrics.json")
PACKAGES = ("sacrebleu", "rouge-score", "pycocoevalcap", "nltk")
CANDIDATES = [
    "the stroke on the left closes a loop near the top of the picture",
    "there are two holes one above the other",
    "a long thin stroke the the the runs down the middle",
    "a man in a red shirt is riding a horse on the beach",
    "the bar at the top is long and the stroke below leans to the left",
    "one open curve",
]
REFERENCES = [
    [
        "a stroke on the left closes a loop at the top",
        "the loop near the top of the picture is closed on the left",
    ],
    ["two holes stand one above the other", "there are two closed loops", "two holes"],
    ["a single thin stroke runs down the middle of the picture"],
    [
        "a man wearing a red shirt rides a horse along the beach",
        "someone is riding a brown horse on a beach at sunset",
    ],
    ["the long bar at the top meets a stroke that leans to the left below it"],
    ["one open curve", "an open curve"],
]
# No word twice in a text.
UNREPEATED = [
    ("the small cat sleeps on a red mat", "on a red mat sleeps the small cat"),
    ("two holes stand above each other", "two round holes above one other"),
    ("a thin stroke runs down", "nothing like it"),
    ("one open curve", "one open curve"),
]


class NoStems:
    def stem(self, word):
        return word


class NoSynonyms:
    def synsets(self, word):
        del word
        return []


def bleu(candidates, size):
    streams = [
        [each[i] if i < len(each) else None for each in REFERENCES]
        for i in range(max(map(len, REFERENCES)))
    ]
    metric = sacrebleu.BLEU(tokenize="none", smooth_method="none", max_ngram_order=size)
    return metric.corpus_score(candidates, streams)


def cider():
    scorer = cider_scorer.CiderScorer()
    for candidate, references in zip(CANDIDATES, REFERENCES, strict=True):
        scorer += (candidate, references)
    return scorer.compute_score()[1].tolist()


def main():
    rouge_1 = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    four = bleu(CANDIDATES, 4)
    short = [" ".join(text.split()[:6]) for text in CANDIDATES]
    found = {
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "candidates": CANDIDATES,
        "references": REFERENCES,
        "unrepeated": UNREPEATED,
        "bleu": [bleu(CANDIDATES, size).score / 100 for size in (1, 2, 3, 4)],
        "bleu_precisions": [precision / 100 for precision in four.precisions],
        "bleu_brevity_penalty": four.bp,
        "short_candidates": short,
        "short_bleu": [bleu(short, size).score / 100 for size in (1, 2, 3, 4)],
        "short_bleu_brevity_penalty": bleu(short, 4).bp,
        "rouge_l_first_reference_beta_1": [
            rouge_1.score(references[0], candidate)["rougeL"].fmeasure
            for candidate, references in zip(CANDIDATES, REFERENCES, strict=True)
        ],
        "rouge_l_beta_1.2": [
            float(rouge.Rouge().calc_score([candidate], references))
            for candidate, references in zip(CANDIDATES, REFERENCES, strict=True)
        ],
        "cider_d": cider(),
        "meteor_exact": [
            meteor_score.single_meteor_score(
                reference.split(), candidate.split(), stemmer=NoStems(),
                wordnet=NoSynonyms(), alpha=0.9, beta=3.0, gamma=0.5,
            )
            for candidate, reference in UNREPEATED
        ],
    }  # fmt: skip
    PLACE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
