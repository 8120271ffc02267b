"""How often typographic apostrophes and HTML entities change a model's prediction on its validation reviews.

    python benchmarks/spellings.py RUN        # one trained with train.refit=false, or it has learnt these reviews

Each validation review that has an apostrophe is also asked with ’ in its place, and with &#39;: the labels should
be the same. Prints validation accuracy, and per spelling the reviews asked and the labels that differ.
"""

import argparse
from pathlib import Path

import numpy as np

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.data.corpus.raw_texts import prepare_texts
from sentiment_cli.data.corpus.splits import assign_rows
from sentiment_cli.data.sources.source import find_source
from sentiment_cli.inference.predictor import open_predictor

SPELLINGS = {
    "typographic": str.maketrans({"'": "’", '"': "”"}),
    "entities": str.maketrans({"'": "&#39;", '"': "&quot;"}),
    "full-width": str.maketrans({code: code + 0xFEE0 for code in range(ord("0"), ord("z") + 1) if chr(code).isalnum()}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    experiment, predictor = load_experiment(run / "experiment.yaml"), open_predictor(run)
    texts = prepare_texts(find_source(experiment.data), "labelled")
    of, is_valid_N = assign_rows(texts, experiment.data)["valid"]
    reviews = [text for chunk in texts.read(of, is_valid_N) for text in chunk]
    label_N = texts.rows(of).label_N[is_valid_N]
    plain = predictor.predict(reviews)
    is_right = [one.label == texts.labels[label] for one, label in zip(plain, label_N.tolist(), strict=True)]
    print(f"validation accuracy {np.mean(is_right):.2%} on {len(reviews):,} reviews")
    for name, spelling in SPELLINGS.items():
        places = [i for i, text in enumerate(reviews) if text.translate(spelling) != text]
        answers = predictor.predict([reviews[i].translate(spelling) for i in places])
        n_changed = sum(answer.label != plain[i].label for i, answer in zip(places, answers, strict=True))
        furthest = max(abs(a.probability - plain[i].probability) for i, a in zip(places, answers, strict=True))
        print(
            f"{name:<12} {len(places):>6,} reviews, {n_changed} labels differ, probabilities by {furthest:.1e} at most"
        )


if __name__ == "__main__":
    main()
