"""TODO docstring."""

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
    "construction. No person wrote them."
)
_KINDS = {
    "recurrent": "a recurrent network",
    "transformer": "a self-attention network",
    "bag": "a mean of word vectors",
    "linear": "a linear model on counts of words",
}
_PRETRAINED = {  # what it is, and what it is fit for by itself
    "language-model": ("a language model", "Writing on from a prompt: sentiment generate."),
    "autoencoder": ("an autoencoder", "Writing a text again: sentiment generate."),
    "pairs": ("an encoder and a decoder", "Writing the second text of a pair from the first: sentiment generate."),
    "vectors": ("a skip-gram model", "Telling which words stand in like places."),
}
_NO_CLASSIFIER = "Telling whether a text is good or bad: it gives no labels."


def describe_data(experiment: Experiment) -> str:
    """Say what the reviews are."""
    source = experiment.data.source
    if source in ("imdb", "sample"):
        return _IMDB if source == "imdb" else _SAMPLE
    return f"The texts and labels come from {source}, which the tool knows nothing about beyond what it counted."


def describe_model(experiment: Experiment) -> str:
    """Name the model in a few words."""
    model, text = experiment.model, experiment.text
    said = _KINDS[model.kind] if experiment.task == "classify" else _PRETRAINED[experiment.task][0]
    if experiment.task == "vectors":
        said += f" of width {model.embedding.width}"
    elif model.kind == "recurrent":
        encoder = model.encoder
        layers = f", {encoder.layers} layers" if encoder.layers > 1 else ""
        both = ", both directions" if encoder.bidirectional else ""
        said += f" ({encoder.cell}, width {encoder.width}{layers}{both})"
    units = "byte pairs" if text.tokenizer == "bpe" else "words"
    start = "no pretrained weights" if experiment.init_from is None else f"started from the run {experiment.init_from}"
    start = "word vectors from a file" if experiment.vocabulary.vectors is not None else start
    taught = f"; taught besides by the run {' and '.join(experiment.teacher.run)}" if experiment.teacher.run else ""
    return f"{said} that reads {units}; {start}{taught}"


def uses(experiment: Experiment, labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what the model is fit for and what not."""
    if experiment.task != "classify":
        return [_PRETRAINED[experiment.task][1], "Starting a classifier: init_from."], [_NO_CLASSIFIER]
    source, most = experiment.data.source, experiment.text.max_tokens
    named = " or ".join(labels) if 0 < len(labels) <= 6 else "its labels"
    if source == "imdb":
        fit = [
            f"Telling whether an English film review is, as a whole, {named}.",
            "Studying and teaching how such models learn.",
        ]
        unfit = [
            "Other languages, and texts that are no film reviews: tweets, news, product reviews. Accuracy there is not "
            "known and is usually lower.",
            "Mixed or neutral opinions: it has seen none and still answers with one of its labels.",
        ]
    elif source == "sample":
        fit = ["Trying out the tool."]
        unfit = ["Anything else: its texts are synthetic, so its scores say nothing of reviews that people write."]
    else:
        fit = [f"Telling {named} in texts like those of {source}, written by the same kind of people for the same end."]
        unfit = [
            "Texts of another kind or language. Score some labelled ones first: sentiment eval --data FILE.",
            "Texts that none of the labels fits: it answers with one of them all the same.",
        ]
    unfit.append("Decisions about people, or judging who wrote a text.")
    limits = [] if most is None else [f"Longer texts are cut to {most:,} tokens ({_kept(experiment.text.truncate)})."]
    limits.append("Words outside its vocabulary are unknown to it." if experiment.text.tokenizer != "bpe" else "")
    limits.append("Irony, quotations and praise of something else can mislead it; the mistakes below show how.")
    return fit, [*unfit, *filter(None, limits)]


def _kept(truncate: str) -> str:
    return {"head": "the start is read", "tail": "the end is read", "ends": "the start and the end are read"}[truncate]


def percent(value: float) -> str:
    """Write a fraction as a percentage with two decimals."""
    return f"{value:.2%}"


def interval(scores: dict[str, Any]) -> str:
    """Write the 95 % interval of an accuracy."""
    low, high = scores["accuracy_ci95"]
    return f"{percent(low)} to {percent(high)}"


def decimal(value: float | None) -> str:
    """Write a score that may not exist."""
    return "" if value is None else f"{value:.4f}"


def score_columns(scored: Iterable[Mapping[str, Any] | None]) -> list[Metric]:
    """Return the metrics that have a column beside n and accuracy: those that any of the scores have."""
    found = [scores for scores in scored if scores]
    columns = [metric for metric in METRICS.values() if metric.shown in ("line", "stars")]
    return [metric for metric in columns if any(metric.write(scores) for scores in found)]


def word(value: Any) -> str:
    """Write the value of a setting."""
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


def run_title(run: Path) -> str:
    """Return what a command calls a run: its name under the runs root, else its path."""
    under = runs_dir() / run.name
    return run.name if under.is_dir() and under.samefile(run) else str(run)


def split_name(split: str) -> str:
    """Return what people call a scored split; rows of one's own are called by their file."""
    return _SPLIT_NAMES.get(split, split.removeprefix("data-"))


def pretraining_lead(run: RunFiles) -> str:
    """Say in a line what a pretraining reached."""
    scores, figure = run.summary.get("valid"), HEADLINES[run.experiment.task]
    if not scores:
        return "Not validated yet."
    return f"{figure.title} {figure.write(scores)} on {scores['n']:,} held-out tokens"


def pretraining_scores(named: Sequence[tuple[str, RunFiles]]) -> list[Block]:
    """Lay the figures of runs of one task beside each other."""
    scored = [(name, run.summary.get("valid") or {}) for name, run in named]
    present = [metric for metric in TOKEN_METRICS.values() if any(metric.write(scores) for _, scores in scored)]
    rows = [
        [name, f"{scores['n']:,}" if scores else "not validated", *(metric.write(scores) for metric in present)]
        for name, scores in scored
    ]
    said = "These tokens were held out and chose the epoch, so the figures flatter the model a little."
    return [Table(["run", "held-out tokens", *(metric.title for metric in present)], rows), Paragraph(said)]
