"""The report on one run: what was trained on what, how good it is, where it errs, and how to make it again."""

import re
import shlex
import time
from typing import Any

from sentiment_cli.config.loader import differences, experiment_from_values, experiment_yaml
from sentiment_cli.data.sources.download import CITATION
from sentiment_cli.reports import text as wording
from sentiment_cli.reports.blocks import (
    Block,
    Code,
    Document,
    Fold,
    Items,
    Notice,
    Paragraph,
    Quote,
    ReportSection,
    Table,
)
from sentiment_cli.reports.figures import curves_figure, lengths_figure, reliability_figure
from sentiment_cli.reports.run_files import Mistake, RunFiles, find_mistakes
from sentiment_cli.reports.text import (
    decimal,
    interval,
    percent,
    pretraining_lead,
    pretraining_scores,
    run_title,
    score_columns,
    split_name,
    word,
)
from sentiment_cli.runs.predictions import Predictions, read_predictions

_MISTAKES = 10
_HEAD, _TAIL = 600, 400  # characters shown of a long text
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


def build_report(run: RunFiles) -> Document:
    """Say of a run all that its files tell, and of what is missing which command makes it."""
    answers = read_predictions(run.path, run.main) if run.main is not None else None
    sections = [
        ReportSection("The model", _model(run)),
        ReportSection("What it is for", _purpose(run)),
        ReportSection("Scores", _scores(run)),
        ReportSection("Calibration", _calibration(run, answers)),
        ReportSection("Slices", _slices(run)),
        ReportSection("Surest mistakes", _mistakes(run, answers)),
        ReportSection("Training", _training(run)),
        ReportSection("Data", _data(run)),
        ReportSection("Settings", _settings(run)),
        ReportSection("Environment", _environment(run)),
        ReportSection("Make it again", _reproduce(run)),
    ]
    return Document(run.path.name, _lead(run), [section for section in sections if section.blocks])


def missing(run: RunFiles) -> list[Notice]:
    """Say what a run lacks and what to type about it."""
    name = shlex.quote(run_title(run.path))
    found = []
    if run.status != "finished":
        said = {"unfinished": "was not finished", "interrupted": "was interrupted"}.get(run.status, run.status)
        lower = f"{shlex.quote(run.path.name)}/experiment.yaml --set train.lr={run.experiment.train.lr / 10:.1g}"
        how = f"--resume {name}" if run.status != "diverged" else lower
        found.append(Notice(f"The training of {run.path.name} {said}.", f"{run.experiment.command} {how}"))
    if "test" not in run.scores and run.n_bytes is not None and run.classifies:
        found.append(Notice(f"{run.path.name} was not scored on the test reviews.", f"sentiment eval {name}"))
    return found


def best_known(run: RunFiles) -> tuple[str, dict[str, Any]] | None:
    """Return the most telling scores and the split they are of: without eval, those of the validation in training."""
    if run.main is not None:
        return run.main, run.scores[run.main]
    return ("valid", run.summary["valid"]) if run.summary.get("valid") else None


def _labels(run: RunFiles) -> list[str]:
    known = best_known(run)
    return list(known[1].get("f1_per_label", ())) if known else []


def _lead(run: RunFiles) -> str:
    if not run.classifies:
        return pretraining_lead(run)
    known = best_known(run)
    if known is None:
        return "Not scored yet."
    split, scores = known
    n = f"{scores['n']:,} {split_name(split)} reviews"
    return f"{percent(scores['accuracy'])} accuracy on {n} (95 % interval {interval(scores)})"


def _model(run: RunFiles) -> list[Block]:
    seconds = run.summary.get("seconds", {})
    labels = _labels(run)
    what = "; ".join(f"{name}, weight {weight:.2f}" for name, weight in run.members.items())
    what = f"an ensemble of {len(run.members)} runs: {what}" if what else wording.describe_model(run.experiment)
    rows = [("what it is", what), ("state", run.status)]
    if labels:
        rows.append(("labels", ", ".join(labels)))
    rows.append(("trained on", _trained_on(run)))
    if run.prepared is not None:
        rows.append(("vocabulary", f"{run.prepared.n_entries:,} entries"))
    if run.n_parameters is not None and run.n_bytes is not None:
        rows.append(("size", f"{run.n_parameters:,} parameters, {run.n_bytes / 1e6:.1f} MB"))
    if seconds:
        rows.append(("time", ", ".join(f"{stage} {spent:,.1f} s" for stage, spent in seconds.items())))
    if "finished_at" in run.summary:
        rows.append(("date", time.strftime("%Y-%m-%d", time.gmtime(run.summary["finished_at"]))))
    return [*missing(run), Table(["", ""], rows, is_numeric=False)]


def _trained_on(run: RunFiles) -> str:
    source = {"imdb": "the IMDb film reviews", "sample": "the bundled synthetic sample"}
    said = source.get(run.experiment.data.source, run.experiment.data.source)
    if run.prepared is not None and run.classifies:
        rows = run.prepared.rows
        said += f": {rows['train']:,} reviews, and {rows['valid']:,} more to choose the best epoch by"
    refit = run.summary.get("refit_steps")
    return f"{said}; then on both for {refit:,} steps" if refit else said


def _purpose(run: RunFiles) -> list[Block]:
    fit, unfit = wording.uses(run.experiment, _labels(run))
    return [Paragraph("Fit for:"), Items(fit), Paragraph("Not fit for, and limits:"), Items(unfit)]


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
                row = ["without rows that were trained on", f"{unseen['n']:,}", percent(unseen["accuracy"])]
                rows.append([*row, interval(unseen), *("" for _ in present)])
    head = ["reviews", "n", "accuracy", "95 % interval", *(metric.title for metric in present)]
    blocks: list[Block] = [Table(head, rows)]
    if "valid" in scored:
        blocks.append(Paragraph("The validation reviews chose the epoch, so their scores flatter the model a little."))
    if "valid" not in run.scores and run.summary.get("ensemble", {}).get("weighing") == "fitted":
        said = "The weights of the members were fitted on validation; those of its scores, on other folds of the rows."
        blocks.append(Paragraph(said))
    if run.openings is not None:
        times = "once" if run.openings == 1 else f"{run.openings:,} times"
        blocks.append(Paragraph(f"The test reviews were opened {times} for this run."))
    split, scores = known
    labels = list(scores["f1_per_label"])
    return [*blocks, _per_label(split, scores, labels), _confusion(split, scores, labels)]


def _per_label(split: str, scores: dict[str, Any], labels: list[str]) -> Table:
    rows = []
    for i, (label, truth) in enumerate(zip(labels, scores["confusion"], strict=True)):
        n, said = sum(truth), sum(row[i] for row in scores["confusion"])
        precision, recall = (truth[i] / of if of else None for of in (said, n))
        rows.append([label, f"{n:,}", decimal(precision), decimal(recall), decimal(scores["f1_per_label"][label])])
    return Table(["label", "n", "precision", "recall", "F1"], rows, caption=f"By label, {split_name(split)} reviews")


def _confusion(split: str, scores: dict[str, Any], labels: list[str]) -> Table:
    counts = scores["confusion"]
    return Table(
        ["truth \\ said", *labels],
        [[label, *(f"{count:,}" for count in row)] for label, row in zip(labels, counts, strict=True)],
        caption=f"Confusion, {split_name(split)} reviews",
        shade=[[count / max(1, sum(row)) for count in row] for row in counts],
    )


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
    return [
        Table(
            [name, "n", "accuracy", "95 % interval"],
            [[str(row["value"]), f"{row['n']:,}", percent(row["accuracy"]), interval(row)] for row in rows],
        )
        for name, rows in by_slice.items()
    ]


def _mistakes(run: RunFiles, answers: Predictions | None) -> list[Block]:
    if run.main is None or answers is None:
        return []
    found = find_mistakes(run, run.main, answers, _MISTAKES)
    if not found:
        return [Paragraph(f"It got all {len(answers.ids):,} {split_name(run.main)} reviews right.")]
    blocks: list[Block] = []
    if all(mistake.text is None for mistake in found):
        said = "Their words are not at hand: the prepared data of this run is no longer in the cache."
        if run.main.startswith("data-"):
            said = "Their words are not at hand: they are of a file of your own, which the run does not keep."
        blocks += [Paragraph(said), Items([_about(mistake) for mistake in found])]
        return blocks
    is_break = run.experiment.text.markup == "break"
    return [Quote(_about(mistake), _excerpt(mistake.text or "", is_break)) for mistake in found]


def _about(mistake: Mistake) -> str:
    return f"{mistake.id}: {mistake.label}, and it said {mistake.said} with {mistake.probability:.1%}"


def _excerpt(text: str, is_break: bool) -> str:
    """Return a text, a long one without its middle; <br /> as the model reads it."""
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


def _data(run: RunFiles) -> list[Block]:
    blocks: list[Block] = [Paragraph(wording.describe_data(run.experiment))]
    if run.experiment.data.source == "imdb":
        request, _, citation = CITATION.partition("\n")
        blocks += [Paragraph(request.partition(". ")[2]), Quote("", " ".join(citation.split()))]
    if run.prepared is not None:
        blocks.append(lengths_figure(run.prepared.length_N, run.experiment.text.max_tokens))
    return blocks


def _settings(run: RunFiles) -> list[Block]:
    experiment = run.experiment
    defaults = experiment_from_values({"name": experiment.name})
    rows = [[key, word(value), word(default)] for key, default, value in differences(defaults, experiment)]
    blocks: list[Block] = [Paragraph("Those of the first member.")] if run.members else []
    blocks += [Table(["setting", "here", "default"], rows, is_numeric=False)] if rows else []
    if run.changes:
        changed = [[f"{row['step']:,}", row["key"], word(row["from"]), word(row["to"])] for row in run.changes]
        head = ["from step", "setting", "before", "after"]
        blocks.append(Table(head, changed, is_numeric=False, caption="Changed while it was trained"))
    return [*blocks, Fold("Every setting, as a file", [Code(experiment_yaml(experiment).decode())])]


def _environment(run: RunFiles) -> list[Block]:
    versions = run.summary.get("versions", {})
    fingerprint = run.summary.get("fingerprint", {})
    rows = [[name, str(version)] for name, version in versions.items()]
    rows += [[key.partition(".")[2] or key, str(value)] for key, value in fingerprint.items() if "versions." not in key]
    if run.summary.get("tokens_per_second"):
        rows.append(["tokens per second", f"{run.summary['tokens_per_second']:,.0f}"])
    return [Table(["", ""], rows, is_numeric=False)] if rows else []


def _reproduce(run: RunFiles) -> list[Block]:
    if run.members:
        weighing = " --weights equal" if run.summary["ensemble"].get("weighing") == "equal" else ""
        names = " ".join(map(shlex.quote, run.members))
        return [Paragraph("From its members:"), Code(f"sentiment ensemble {names}{weighing}\nsentiment eval ensemble")]
    name = shlex.quote(run_title(run.path))
    source = run.experiment.data.source
    own = "" if source in ("imdb", "sample") else f" --set data.source={shlex.quote(source)}"
    blocks: list[Block] = [
        Paragraph("From nothing: save every setting above as experiment.yaml, then"),
        Code(f"{run.experiment.command} experiment.yaml{own}" + "\nsentiment eval" * run.classifies),
    ]
    if run.status == "finished":
        blocks += [
            Paragraph("Where the run lies, to train it again and compare weights and scores byte by byte:"),
            Code(f"sentiment reproduce {name}"),
        ]
    return blocks
