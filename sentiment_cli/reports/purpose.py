"""What a model is fit for and what not, as far as its data and its settings tell."""

from collections.abc import Sequence

from sentiment_cli.config.schema import Experiment

CITATION = (
    "Andrew L. Maas, Raymond E. Daly, Peter T. Pham, Dan Huang, Andrew Y. Ng, and Christopher Potts (2011). "
    "Learning Word Vectors for Sentiment Analysis. Proceedings of the 49th Annual Meeting of the Association for "
    "Computational Linguistics: Human Language Technologies, pages 142-150."
)
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
