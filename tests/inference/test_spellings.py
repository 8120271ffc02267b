"""On the real corpus: typographic apostrophes and entities give the labels that plain ones give (case T4)."""

from pathlib import Path

import pytest

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.data.corpus.raw_texts import prepare_texts
from sentiment_cli.data.corpus.splits import assign_rows
from sentiment_cli.data.sources.source import find_source
from sentiment_cli.inference.predictor import open_predictor
from sentiment_cli.workflows.train import fit


@pytest.mark.slow
@pytest.mark.corpus
def test_spellings_of_validation_reviews_have_one_label(imdb_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTIMENT_IMDB", str(imdb_path))
    experiment = load_experiment("linear", ["train.refit=false"])
    finished = fit(experiment)
    assert finished.scores.accuracy > 0.912
    texts = prepare_texts(find_source(experiment.data), "labelled")
    of, is_valid_N = assign_rows(texts, experiment.data)["valid"]
    reviews = [text for chunk in texts.read(of, is_valid_N) for text in chunk if "'" in text]
    predictor = open_predictor(finished.directory)
    plain = [one.label for one in predictor.predict(reviews)]
    for apostrophe in ("’", "&#39;", "＇"):
        found = predictor.predict([review.replace("'", apostrophe) for review in reviews])
        assert [one.label for one in found] == plain
