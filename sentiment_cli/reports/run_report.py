"""The report on one run: results, training, scores, mistakes, slices, data, settings and how to reproduce it."""

import re
import shlex
from typing import Any

from sentiment_cli.reports.blocks import (
    Block,
    Document,
    Fold,
    Items,
    KeyFigures,
    Notice,
    Paragraph,
    Quote,
    ReportSection,
    SideBySide,
    Table,
)
from sentiment_cli.reports.coloured_words import explain_texts
from sentiment_cli.reports.figures import curves_figure, precision_recall_figure, reliability_figure
from sentiment_cli.reports.provenance import (
    data_blocks,
    environment_blocks,
    model_blocks,
    purpose_blocks,
    reproduce_blocks,
    settings_blocks,
)
from sentiment_cli.reports.run_files import Mistake, RunFiles, best_known, find_mistakes
from sentiment_cli.reports.text import (
    decimal,
    interval,
    percent,
    pretraining_lead,
    pretraining_scores,
    run_title,
    score_columns,
    split_name,
)
from sentiment_cli.runs.metric_table import METRICS, TOKEN_METRICS, leading
from sentiment_cli.runs.predictions import Predictions, read_predictions

_MISTAKES = 10
_WORST = 10  # values shown of a slice; the rest is folded
_KEY_METRICS = ("mae", "rmse", "f1", "auc", "loss")  # beside what leads, the first that a run has
_HEAD, _TAIL = 600, 400  # characters shown of a long text
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


def build_report(run: RunFiles) -> Document:
    """Return the report on a run, built from its files; where one is missing, it names the command that creates it."""
    answers = read_predictions(run.path, run.main) if run.main is not None else None
    sections = [
        ReportSection("Results", _results(run)),
        ReportSection("Training", _training(run)),
        ReportSection("Scores", _scores(run)),
        ReportSection("Slices", _slices(run)),
        ReportSection("Most confident mistakes", _mistakes(run, answers)),
        ReportSection("Precision and recall", _precision_recall(run, answers)),
        ReportSection("Calibration", _calibration(run, answers)),
        ReportSection("Model", model_blocks(run)),
        ReportSection("Intended use and limits", purpose_blocks(run)),
        ReportSection("Data", data_blocks(run)),
        ReportSection("Settings", settings_blocks(run)),
        ReportSection("Environment", environment_blocks(run)),
        ReportSection("Reproduce", reproduce_blocks(run)),
    ]
    return Document(run.path.name, _lead(run), [section for section in sections if section.blocks])


def missing(run: RunFiles) -> list[Notice]:
    """Return a notice for each part that a run lacks, with the command that creates it."""
    name = shlex.quote(run_title(run.path))
    found = []
    if run.status != "finished":
        said = {"unfinished": "did not finish", "interrupted": "was interrupted"}.get(run.status, run.status)
        lower = f"{shlex.quote(run.path.name)}/experiment.yaml --set train.lr={run.experiment.train.peak_lr / 10:.1g}"
        how = f"--resume {name}" if run.status != "diverged" else lower
        found.append(Notice(f"Training of {run.path.name} {said}.", f"{run.experiment.command} {how}"))
    if "test" not in run.scores and run.n_bytes is not None and run.classifies:
        found.append(Notice(f"{run.path.name} has no scores on the test reviews.", f"sentiment eval {name}"))
    return found


def _lead(run: RunFiles) -> str:
    if not run.classifies:
        return pretraining_lead(run)
    known = best_known(run)
    if known is None:
        return "Not scored yet."
    split, scores = known
    n = f"{scores['n']:,} {split_name(split)} reviews"
    *first, accuracy = leading(scores)
    before = "".join(f"{metric.title} {metric.write(scores)}, " for metric in first)
    return f"{before}{percent(scores['accuracy'])} {accuracy.title} on {n} (95 % interval {interval(scores)})"


def _results(run: RunFiles) -> list[Block]:
    """Return the key figures and the confusion matrix, after notices of what is missing."""
    if not run.classifies:
        scores = run.summary.get("valid") or {}
        written = [(metric.write(scores), metric.title) for metric in TOKEN_METRICS.values()]
        figures = [(text, title) for text, title in written if text]
        return [*missing(run), *([KeyFigures(figures)] if figures else [])]
    known = best_known(run)
    if known is None:
        return list(missing(run))
    split, scores = known
    first = leading(scores)
    named = {metric.key for metric in first}
    shown = [metric for key in _KEY_METRICS if key not in named and (metric := METRICS[key]).write(scores)]
    figures = [(metric.write(scores), metric.title) for metric in (*first, *shown)][:3]
    confusion = [] if scores.get("rows_per_label") else [_confusion(split, scores, list(scores["f1_per_label"]))]
    return [*missing(run), KeyFigures(figures), *confusion]


def _about_validation(run: RunFiles) -> str:
    """Return a sentence on the use of the validation reviews, which limits how far their scores can be trusted."""
    if run.members:
        if run.summary["ensemble"].get("weighing") != "fitted":
            return "The validation reviews fitted the temperature, so their scores are slightly optimistic."
        return (
            "The validation reviews fitted the members' weights. Each validation score uses weights that were "
            "fitted on the other folds."
        )
    if (folds := (run.summary.get("valid") or {}).get("folds")) is not None:
        return (
            f"Each of these reviews was scored by a model of the other folds, of {folds}; they fitted the temperature."
        )
    use = "fitted the temperature" if run.is_linear else "chose the epoch"
    return f"The validation reviews {use}, so their scores are slightly optimistic."


def _scores(run: RunFiles) -> list[Block]:
    if not run.classifies:
        return pretraining_scores([(run.path.name, run)])
    known = best_known(run)
    if known is None:
        return list(missing(run))
    scored = run.scores if "valid" in run.scores else {**run.scores, "valid": run.summary.get("valid")}
    rows = []
    present = score_columns(scored.values())
    for split, scores in scored.items():
        if scores:
            row = [split_name(split), f"{scores['n']:,}", percent(scores["accuracy"]), interval(scores)]
            rows.append([*row, *(metric.write(scores) for metric in present)])
            if (unseen := scores.get("unseen")) is not None and unseen["n"]:
                row = ["without rows of the training set", f"{unseen['n']:,}", percent(unseen["accuracy"])]
                rows.append([*row, interval(unseen), *("" for _ in present)])
    head = ["reviews", "n", "accuracy", "95 % interval", *(metric.title for metric in present)]
    blocks: list[Block] = [Table(head, rows)]
    if "valid" in scored:
        blocks.append(Paragraph(_about_validation(run)))
    if run.openings is not None:
        times = "once" if run.openings == 1 else f"{run.openings:,} times"
        blocks.append(Paragraph(f"This run was evaluated on the test reviews {times}."))
    split, scores = known
    labels = list(scores["f1_per_label"])
    return [*blocks, _per_label(split, scores, labels)]


def _per_label(split: str, scores: dict[str, Any], labels: list[str]) -> Table:
    head = ["label", "n", "precision", "recall", "F1"]
    caption = f"By label, {split_name(split)} reviews"
    if (counts := scores.get("rows_per_label")) is not None:
        of_labels = [scores[f"{name}_per_label"] for name in ("precision", "recall", "f1")]
        cells = [[label, f"{counts[label]:,}", *(decimal(one[label]) for one in of_labels)] for label in labels]
        return Table(head, cells, caption=caption)
    rows = []
    for i, (label, truth) in enumerate(zip(labels, scores["confusion"], strict=True)):
        n, said = sum(truth), sum(row[i] for row in scores["confusion"])
        precision, recall = (truth[i] / of if of else None for of in (said, n))
        rows.append([label, f"{n:,}", decimal(precision), decimal(recall), decimal(scores["f1_per_label"][label])])
    return Table(head, rows, caption=caption)


def _confusion(split: str, scores: dict[str, Any], labels: list[str]) -> Table:
    counts = scores["confusion"]
    return Table(
        ["true / predicted", *labels],
        [[label, *(f"{count:,}" for count in row)] for label, row in zip(labels, counts, strict=True)],
        caption=f"Confusion, {split_name(split)} reviews",
        shade=[[count / max(1, sum(row)) for count in row] for row in counts],
    )


def _precision_recall(run: RunFiles, answers: Predictions | None) -> list[Block]:
    if run.main is None or answers is None:
        return []
    figure = precision_recall_figure(answers, split_name(run.main))
    found = (run.calibration or {}).get("thresholds")
    blocks: list[Block] = [] if figure is None else [figure]
    if found:
        rows = [[label, decimal(value)] for label, value in found.items()]
        blocks.append(Table(["label", "threshold"], rows, caption="Fitted on validation for macro F1"))
    return blocks


def _calibration(run: RunFiles, answers: Predictions | None) -> list[Block]:
    blocks: list[Block] = []
    if run.main is not None and answers is not None:
        blocks.append(reliability_figure(answers, split_name(run.main)))
    if (found := run.calibration) is not None:
        blocks.append(
            Paragraph(f"Logits are divided by a temperature of {found['temperature']:.3f}, fitted on validation.")
        )
        pairs = [("log loss", "loss"), ("ECE", "ece")]
        rows = [[name, decimal(found.get(f"{key}_before")), decimal(found.get(f"{key}_after"))] for name, key in pairs]
        blocks.append(Table(["validation", "before", "after"], rows))
    return blocks


def _slices(run: RunFiles) -> list[Block]:
    found = run.scores[run.main].get("slices", []) if run.main is not None else []
    by_slice: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        by_slice.setdefault(row["slice"], []).append(row)
    return [SideBySide([_slice(name, rows) for name, rows in by_slice.items()])] if by_slice else []


def _slice(name: str, rows: list[dict[str, Any]]) -> list[Block]:
    """Return the table of a slice: the values with the lowest accuracy, and the rest folded."""
    head = [name, "n", "accuracy", "95 % interval"]
    cells = [[str(row["value"]), f"{row['n']:,}", percent(row["accuracy"]), interval(row)] for row in rows]
    bars = [(row["accuracy_ci95"][0], row["accuracy"], row["accuracy_ci95"][1]) for row in rows]
    worst: list[Block] = [Table(head, cells[:_WORST], bars=bars[:_WORST])]
    rest = len(cells) - _WORST
    if rest <= 0:
        return worst
    return [*worst, Fold(f"{rest:,} more values of {name}", [Table(head, cells[_WORST:], bars=bars[_WORST:])])]


def _mistakes(run: RunFiles, answers: Predictions | None) -> list[Block]:
    if run.main is None or answers is None:
        return []
    found = find_mistakes(run, run.main, answers, _MISTAKES)
    if not found:
        return [Paragraph(f"All {len(answers.ids):,} {split_name(run.main)} reviews are classified correctly.")]
    blocks: list[Block] = []
    if all(mistake.text is None for mistake in found):
        said = "Their texts are not available: the prepared data of this run is no longer in the cache."
        if run.main.startswith("data-"):
            said = "Their texts are not available: the run does not keep the file that was scored."
        blocks += [Paragraph(said), Items([_about(mistake) for mistake in found])]
        return blocks
    is_break = run.experiment.text.markup == "break"
    texts = [_excerpt(mistake.text or "", is_break) for mistake in found]
    said, pieces = explain_texts(run.path, texts)
    quotes = [Quote(_about(one), text, parts) for one, text, parts in zip(found, texts, pieces, strict=True)]
    return [Paragraph(said), *quotes]


def _about(mistake: Mistake) -> str:
    return f"Labelled {mistake.label}, predicted {mistake.said} ({mistake.probability:.1%}) · {mistake.id}"


def _excerpt(text: str, is_break: bool) -> str:
    """Return a text without the middle of a long one; with `is_break`, <br /> is a line break."""
    if is_break:
        text = _BREAK.sub("\n", text)
    if len(text) < _HEAD + _TAIL + 100:
        return text
    head = text[:_HEAD].rpartition(" ")[0] or text[:_HEAD]
    tail = text[-_TAIL:].partition(" ")[2] or text[-_TAIL:]
    return f"{head} [… {len(text) - len(head) - len(tail):,} characters …] {tail}"


def _training(run: RunFiles) -> list[Block]:
    if not run.curves:
        return []
    runs = [(run.path.name, run)]
    loss = curves_figure("loss", "Loss", "loss", runs, ["train_loss", "valid_loss"])
    if not run.classifies:
        return [loss]
    return [loss, curves_figure("accuracy", "Validation accuracy", "accuracy", runs, ["valid_accuracy"])]
