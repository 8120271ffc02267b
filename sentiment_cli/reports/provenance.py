"""Provenance of a run as blocks of a report: model, intended use, data, settings, environment, reproduction."""

import shlex
import time

from sentiment_cli.config.loader import differences, experiment_from_values, experiment_yaml
from sentiment_cli.data.sources.download import CITATION
from sentiment_cli.reports import text as wording
from sentiment_cli.reports.blocks import Block, Code, Fold, Items, Paragraph, Quote, Table
from sentiment_cli.reports.figures import lengths_figure
from sentiment_cli.reports.run_files import RunFiles, labels_of
from sentiment_cli.reports.text import run_title, word


def model_blocks(run: RunFiles) -> list[Block]:
    seconds = run.summary.get("seconds", {})
    labels = labels_of(run)
    what = "; ".join(f"{name}, weight {weight:.2f}" for name, weight in run.members.items())
    what = f"an ensemble of {len(run.members)} runs: {what}" if what else wording.describe_model(run.experiment)
    rows = [("model", what), ("state", run.status)]
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
    return [Table(["", ""], rows, is_numeric=False)]


def _trained_on(run: RunFiles) -> str:
    source = {"imdb": "the IMDb film reviews", "sample": "the bundled synthetic sample"}
    said = source.get(run.experiment.data.source, run.experiment.data.source)
    if run.members:
        return f"{said}, by each member for itself"
    if run.prepared is not None and run.classifies:
        rows = run.prepared.rows
        use = "validation" if run.is_linear else "validation, which chose the epoch"
        if (folds := (run.summary.get("valid") or {}).get("folds")) is not None:
            said += f": {rows['train'] + rows['valid']:,} reviews, cross-validated in {folds} folds"
        else:
            said += f": {rows['train']:,} reviews, and {rows['valid']:,} held out for {use}"
    steps = run.summary.get("refit_steps")
    if not steps:
        return said
    return f"{said}; then retrained on all of them" + ("" if run.is_linear else f" for {steps:,} steps")


def purpose_blocks(run: RunFiles) -> list[Block]:
    fit, unfit = wording.uses(run.experiment, labels_of(run))
    return [Paragraph("Suitable for:"), Items(fit), Paragraph("Not suitable for, and limits:"), Items(unfit)]


def data_blocks(run: RunFiles) -> list[Block]:
    blocks: list[Block] = [Paragraph(wording.describe_data(run.experiment))]
    if run.experiment.data.source == "imdb":
        request, _, citation = CITATION.partition("\n")
        blocks += [Paragraph(request.partition(". ")[2]), Quote("", " ".join(citation.split()))]
    if run.prepared is not None:
        blocks.append(lengths_figure(run.prepared.length_N, run.experiment.text.max_tokens))
    return blocks


def settings_blocks(run: RunFiles) -> list[Block]:
    experiment = run.experiment
    defaults = experiment_from_values({"name": experiment.name})
    rows = [[key, word(value), word(default)] for key, default, value in differences(defaults, experiment)]
    blocks: list[Block] = [Paragraph("These are the settings of the first member.")] if run.members else []
    blocks += [Table(["setting", "here", "default"], rows, is_numeric=False)] if rows else []
    if run.changes:
        changed = [[f"{row['step']:,}", row["key"], word(row["from"]), word(row["to"])] for row in run.changes]
        head = ["from step", "setting", "before", "after"]
        blocks.append(Table(head, changed, is_numeric=False, caption="Changed during training"))
    return [*blocks, Fold("All settings as a file", [Code(experiment_yaml(experiment).decode())])]


def environment_blocks(run: RunFiles) -> list[Block]:
    versions = run.summary.get("versions", {})
    fingerprint = run.summary.get("fingerprint", {})
    rows = [[name, str(version)] for name, version in versions.items()]
    rows += [[key.partition(".")[2] or key, str(value)] for key, value in fingerprint.items() if "versions." not in key]
    if run.summary.get("tokens_per_second"):
        rows.append(["tokens per second", f"{run.summary['tokens_per_second']:,.0f}"])
    return [Table(["", ""], rows, is_numeric=False)] if rows else []


def reproduce_blocks(run: RunFiles) -> list[Block]:
    if run.members:
        weighing = " --weights equal" if run.summary["ensemble"].get("weighing") == "equal" else ""
        names = " ".join(map(shlex.quote, run.members))
        return [
            Paragraph("Build the ensemble from its members:"),
            Code(f"sentiment ensemble {names}{weighing}\nsentiment eval ensemble"),
        ]
    name = shlex.quote(run_title(run.path))
    source = run.experiment.data.source
    own = "" if source in ("imdb", "sample") else f" --set data.source={shlex.quote(source)}"
    blocks: list[Block] = [
        Paragraph("Save all settings above as experiment.yaml, then run"),
        Code(f"{run.experiment.command} experiment.yaml{own}" + "\nsentiment eval" * run.classifies),
    ]
    if run.status == "finished":
        blocks += [
            Paragraph("With the run directory at hand, train it again and compare weights and scores byte by byte:"),
            Code(f"sentiment reproduce {name}"),
        ]
    return blocks
