"""The metrics: what each is called, how it is written, and which direction is better.

Adding a metric takes a row here and a function in `evaluation.metrics`. Checks of a run's files, piped output,
reports and comparisons of runs read this table; `cli/scores.py` names what a terminal shows.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple


class Metric(NamedTuple):
    """A metric: its key in JSON, its title in reports, its short label on a terminal, and its format.

    `shown` is where scores of a split are printed: in the line of figures, in the line of star ratings, or per label.
    """

    key: str
    title: str
    label: str
    format: str = ".4f"
    better: Literal["higher", "lower"] = "higher"
    shown: Literal["line", "stars", "labels", "first"] = "line"

    def write(self, scores: Mapping[str, Any]) -> str:
        """Return the metric's value in `scores` as text; an empty one where it is missing or undefined."""
        value = scores.get(self.key)
        return "" if value is None else f"{value:{self.format}}"

    def gain(self, value: float | None) -> float:
        """Return a number that is higher for a better value; minus infinity for an undefined one."""
        if value is None:
            return float("-inf")
        return value if self.better == "higher" else -value


def _table(*metrics: Metric) -> dict[str, Metric]:
    return {metric.key: metric for metric in metrics}


# Scores of classifiers, in the order in which they are printed.
METRICS = _table(
    Metric("accuracy", "accuracy", "accuracy", ".2%", shown="first"),
    Metric("loss", "log loss", "loss", better="lower"),
    Metric("f1", "F1", "F1"),
    Metric("micro_f1", "micro F1", "micro F1"),
    Metric("hamming", "Hamming loss", "Hamming", better="lower"),
    Metric("qwk", "quadratic weighted kappa", "QWK"),
    Metric("rank_mae", "MAE, ranks", "MAE in ranks", ".3f", "lower"),
    Metric("within_one", "within one rank", "within one rank", ".2%"),
    Metric("auc", "AUC", "AUC"),
    Metric("average_precision", "average precision", "AP"),
    Metric("brier", "Brier score", "Brier", better="lower"),
    Metric("ece", "ECE", "ECE", better="lower"),
    Metric("precision", "precision", "precision", shown="labels"),
    Metric("recall", "recall", "recall", shown="labels"),
    Metric("mae", "MAE, stars", "MAE", ".3f", "lower", "stars"),
    Metric("rmse", "RMSE, stars", "RMSE", ".3f", "lower", "stars"),
)

# Scores of models that predict tokens: language models, autoencoders, pairs and word vectors.
TOKEN_METRICS = _table(
    Metric("accuracy", "token accuracy", "accuracy", ".2%"),
    Metric("exact", "exact matches", "exact", ".2%"),
    Metric("perplexity", "perplexity", "perplexity", ".2f", "lower"),
    Metric("loss", "loss, nats per token", "loss", better="lower"),
)

# The metric that `runs list` and the training log show for each task, with the title that they give it.
HEADLINES = {
    "classify": METRICS["accuracy"]._replace(title="valid accuracy"),
    "language-model": TOKEN_METRICS["perplexity"]._replace(format=".1f"),
    "autoencoder": TOKEN_METRICS["accuracy"],
    "pairs": TOKEN_METRICS["exact"],
    "vectors": TOKEN_METRICS["loss"]._replace(title="loss per token"),
    "regions": TOKEN_METRICS["loss"]._replace(title="loss per token"),
}


def leading(scores: Mapping[str, Any]) -> list[Metric]:
    """Return the metrics that tell most of a classifier's scores, first what the others are beside.

    Of several labels a row that is macro F1, of ranks the kappa, where the labels are unbalanced macro F1, and else
    accuracy.
    """
    macro, accuracy = METRICS["f1"]._replace(label="macro F1", title="macro F1"), METRICS["accuracy"]
    if scores.get("rows_per_label") is not None:
        subset = accuracy._replace(label="subset accuracy", title="subset accuracy")
        return [macro, METRICS["micro_f1"], subset]
    if scores.get("qwk") is not None:
        return [METRICS["qwk"], METRICS["rank_mae"], accuracy]
    counts = [sum(row) for row in scores.get("confusion", ())]
    from sentiment_cli.data.corpus.targets import is_unbalanced  # with numpy, which `sentiment --help` does without

    return [macro, accuracy] if is_unbalanced(counts) else [accuracy]
