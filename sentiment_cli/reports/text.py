"""Sentences and formatted values that reports share: about models, data, intended use, scores and settings."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sentiment_cli.config.paths import runs_dir
from sentiment_cli.config.schema import Experiment
from sentiment_cli.reports.blocks import Block, Paragraph, Table
from sentiment_cli.reports.run_files import RunFiles
from sentiment_cli.runs.metric_table import HEADLINES, METRICS, TOKEN_METRICS, Metric

_SPLIT_NAMES = {"test": "test", "valid": "validation", "train": "training"}


_IMDB = (
    "The reviews are the Large Movie Review Dataset v1.0: 50,000 labelled English film reviews from IMDb, half of them "
    "for training and half for test, at most 30 of one film. A review is negative with 1 to 4 stars of 10 and positive "
    "with 7 to 10; those with 5 or 6 are left out. They were written by the public before 2011 and hold names, strong "
    "language and opinions of their time."
)
_SAMPLE = (
    "The texts are the bundled sample: synthetic reviews put together by a seeded generator, with labels by "
    "construction, not written by people."
)
_KINDS = {
    "recurrent": "a recurrent network",
    "transformer": "a self-attention network",
    "bag": "a mean of word vectors",
    "linear": "a linear model",
}
_PRETRAINED = {  # what it is, and what it is fit for by itself
    "language-model": ("a language model", "Continuing a prompt: sentiment generate."),
    "autoencoder": ("an autoencoder", "Reconstructing a text: sentiment generate."),
    "pairs": ("an encoder-decoder", "Writing the second text of a pair from the first: sentiment generate."),
    "vectors": ("a skip-gram model", "Finding words that occur in similar contexts."),
    "regions": ("a region embedding", "Finding phrases that occur beside similar words."),
}
_NO_CLASSIFIER = "Classifying texts: it predicts no labels."


def describe_data(experiment: Experiment) -> str:
    """Return a paragraph about the data set."""
    source = experiment.data.source
    if source in ("imdb", "sample"):
        return _IMDB if source == "imdb" else _SAMPLE
    return f"The texts and labels come from {source}, about which only the counts below are known."


def describe_model(experiment: Experiment) -> str:
    """Return a short description of the model."""
    model, text = experiment.model, experiment.text
    said = _KINDS[model.kind] if experiment.task == "classify" else _PRETRAINED[experiment.task][0]
    if experiment.task == "vectors":
        said += f" of width {model.embedding.width}"
    elif experiment.task == "regions":
        said += f" of {model.regions.window} words and width {model.regions.width}"
    elif model.kind == "recurrent":
        encoder = model.encoder
        layers = f", {encoder.layers} layers" if encoder.layers > 1 else ""
        both = ", both directions" if encoder.bidirectional else ""
        said += f" ({encoder.cell}, width {encoder.width}{layers}{both})"
    if model.wide.use != "none":
        said += " with a linear model on n-grams beside it"
    if model.regions.use != "none":
        said += f" {'and' if model.wide.use != 'none' else 'with'} region embeddings beside the word vectors"
    units = "byte pairs" if text.tokenizer == "bpe" else "words"
    if model.kind == "linear" and experiment.task == "classify":
        n = model.linear.ngrams or 1
        longest = f"n-grams of up to {n} {units}" if n > 1 else units
        return f"{said} on counts of {longest}; no pretrained weights{_teachers(experiment)}"
    start = "no pretrained weights" if experiment.init_from is None else f"started from the run {experiment.init_from}"
    start = "word vectors from a file" if experiment.vocabulary.vectors is not None else start
    return f"{said} that reads {units}; {start}{_teachers(experiment)}"


def _teachers(experiment: Experiment) -> str:
    return f"; distilled from {' and '.join(experiment.teacher.run)}" if experiment.teacher.run else ""


def uses(experiment: Experiment, labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the intended uses of the model, and its unsuitable uses and limits."""
    if experiment.task != "classify":
        return [_PRETRAINED[experiment.task][1], "Starting a classifier: init_from."], [_NO_CLASSIFIER]
    source, most = experiment.data.source, experiment.text.max_tokens
    named = " or ".join(labels) if 0 < len(labels) <= 6 else "its labels"
    if source == "imdb":
        fit = [
            f"Classifying English film reviews as {named}.",
            "Research and teaching.",
        ]
        unfit = [
            "Other languages, and texts that are not film reviews, such as tweets, news or product reviews. Accuracy "
            "there is unknown and usually lower.",
            "Mixed or neutral opinions: none are in the training data, and one of the labels is still predicted.",
        ]
    elif source == "sample":
        fit = ["Trying out the tool."]
        unfit = ["Anything else: the texts are synthetic, so the scores do not carry over to real reviews."]
    else:
        fit = [f"Classifying texts like those of {source} as {named}."]
        unfit = [
            "Texts of another kind or language. Score labelled examples first: sentiment eval --data FILE.",
            "Texts that fit none of the labels: one of the labels is predicted all the same.",
        ]
    unfit.append("Decisions about people, or inferences about authors.")
    limits = [] if most is None else [f"Longer texts are cut to {most:,} tokens ({_kept(experiment.text.truncate)})."]
    limits.append("Out-of-vocabulary words (OOV) all read as one." if experiment.text.tokenizer != "bpe" else "")
    limits.append("Irony, quotations and praise of something else can be misclassified; see the mistakes above.")
    return fit, [*unfit, *filter(None, limits)]


def _kept(truncate: str) -> str:
    return {"head": "the start is kept", "tail": "the end is kept", "ends": "the start and the end are kept"}[truncate]


def percent(value: float) -> str:
    """Return a fraction as a percentage with two decimals."""
    return f"{value:.2%}"


def interval(scores: dict[str, Any]) -> str:
    """Return the 95 % interval of an accuracy as text."""
    low, high = scores["accuracy_ci95"]
    return f"{percent(low)} to {percent(high)}"


def decimal(value: float | None) -> str:
    """Return a score with four decimals; an empty text for None."""
    return "" if value is None else f"{value:.4f}"


def score_columns(scored: Iterable[Mapping[str, Any] | None]) -> list[Metric]:
    """Return the metrics that have a column beside n and accuracy: those that any of the scores have."""
    found = [scores for scores in scored if scores]
    columns = [metric for metric in METRICS.values() if metric.shown in ("line", "stars")]
    return [metric for metric in columns if any(metric.write(scores) for scores in found)]


def word(value: Any) -> str:
    """Return the value of a setting as text."""
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


def run_title(run: Path) -> str:
    """Return how to name a run in a command: by its name under the runs root, else by its path."""
    under = runs_dir() / run.name
    return run.name if under.is_dir() and under.samefile(run) else str(run)


def split_name(split: str) -> str:
    """Return the name of a scored split in text; other data have the name of their file."""
    return _SPLIT_NAMES.get(split, split.removeprefix("data-"))


def pretraining_lead(run: RunFiles) -> str:
    """Return the headline of a pretraining run: its main metric on held-out tokens."""
    scores, figure = run.summary.get("valid"), HEADLINES[run.experiment.task]
    if not scores:
        return "Not validated yet."
    return f"{figure.title} {figure.write(scores)} on {scores['n']:,} held-out tokens"


def pretraining_scores(named: Sequence[tuple[str, RunFiles]]) -> list[Block]:
    """Return a table of the validation metrics of pretraining runs of one task."""
    scored = [(name, run.summary.get("valid") or {}) for name, run in named]
    present = [metric for metric in TOKEN_METRICS.values() if any(metric.write(scores) for _, scores in scored)]
    rows = [
        [name, f"{scores['n']:,}" if scores else "not validated", *(metric.write(scores) for metric in present)]
        for name, scores in scored
    ]
    said = "The held-out tokens chose the epoch, so the figures are slightly optimistic."
    return [Table(["run", "held-out tokens", *(metric.title for metric in present)], rows), Paragraph(said)]
