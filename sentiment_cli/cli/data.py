"""`sentiment data …`.

This module is longer than 300 lines because its six commands share their options and their tables.
"""

import dataclasses
import io
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from sentiment_cli import console
from sentiment_cli.cli import suspects
from sentiment_cli.cli.help import App
from sentiment_cli.cli.train import Config, Override
from sentiment_cli.cli.typed_data import DataOption, TestOption, load_inspected
from sentiment_cli.errors import Change, DataError, UsageError
from sentiment_cli.layout import Column, table, wrapped
from sentiment_cli.storage import store

app = App(help="Inspect, check and cache training data.")
cache_app = App(help="List, explain and delete prepared data.")
app.add_typer(cache_app, name="cache")

AsJson = Annotated[bool, Option("--json", help="Print one JSON object.")]
_BINS = 24
_BAR = 40
_PROGRAM = "sentiment data info"  # in the metadata of a picture
_LARGEST_PLOT = 1 << 24


@app.command()
def info(
    config: Config = None,
    data: DataOption = None,
    test: TestOption = None,
    override: Override = None,
    plot: Annotated[
        Path | None, Option(metavar="FILE", help="Save the histogram as a picture: .png, .svg, .pdf.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Count rows, labels, lengths and unknown words of each split.

    \b
    Examples:
      sentiment data info sample
      sentiment data info --data my.csv --plot lengths.svg
    """
    experiment = load_inspected(config, data, test, override)
    if plot is not None:
        _check_plot(plot)
    from sentiment_cli.data.checks import statistics
    from sentiment_cli.data.checks.coverage import warn_of_unknown

    found = statistics.corpus_facts(experiment)
    if plot is not None:
        _save_plot(plot, statistics.token_lengths(experiment), experiment.text.max_tokens)
    warn_of_unknown(found["splits"].get("valid", {}).get("unknown_share", 0.0), experiment)
    if as_json:
        console.result(json.dumps(found))
        return
    for split, came in found["source"].items():
        words, groups = came["words"], f", {came['groups']:,} groups" if came["groups"] else ""
        counts = (f"{console.one_line(label)} {count:,}" for label, count in came["labels"].items())
        balance = ", ".join(counts) or "no labels"
        _print_wrapped(
            f"{split:<6} {came['rows']:>9,} reviews ({balance}), {came['bytes'] / 1e6:.1f} MB{groups}; "
            f"words: mean {words['mean']:.1f}, longest {words['longest']:,}"
        )
    if found["scripts"]:
        shares = ", ".join(f"{script} {share:.1%}" for script, share in found["scripts"].items())
        tells = f"; the script tells {found['language']}" if found["language"] else ""
        _print_wrapped(f"script of the training rows: {shares} of the letters{tells}")
    if found["left_out"]:
        left_out = ", ".join(f"{label} {count:,}" for label, count in found["left_out"].items())
        console.result(f"left out by data.label_map: {left_out}")
    console.result("\nas a model reads them")
    percents = list(next(iter(found["splits"].values()), {"length_percentiles": {}})["length_percentiles"])
    read = [Column("split"), *(Column(title, is_right=True) for title in ("reviews", "tokens", "cut", "unknown"))]
    read += [Column(f"{percent} %", is_right=True, drop=i % 2 + 1) for i, percent in enumerate(percents)]
    rows = [
        (
            split,
            f"{row['rows']:,}",
            f"{row['tokens']:,}",
            f"{row['truncated_share']:.1%}",
            f"{row['unknown_share']:.2%}",
            *(f"{value}" for value in row["length_percentiles"].values()),
        )
        for split, row in found["splits"].items()
    ]
    _print_table(read, rows)
    _print_wrapped(
        "cut: share of texts longer than a model reads; 50 %: half of the texts have this many tokens or fewer"
    )
    shown = {split: row["labels"] for split, row in found["splits"].items() if split != "unsup"}
    console.result("")
    by_label = [
        (console.one_line(label), *(f"{labels[label]:,}" for labels in shown.values())) for label in found["labels"]
    ]
    _print_table([Column("label"), *(Column(split, is_right=True) for split in shown)], by_label)
    common = ", ".join(
        f"{console.one_line(word)} {count:,}" for word, count in found["vocabulary"]["commonest"].items()
    )
    console.result("")
    _print_wrapped(f"{found['vocabulary']['entries']:,} vocabulary entries; most frequent words: {common}")
    lengths = statistics.token_lengths(experiment)
    console.result("\ntokens of a training review")
    for line in _histogram(lengths):
        console.result(line)


@app.command()
def check(
    config: Config = None,
    data: DataOption = None,
    test: TestOption = None,
    override: Override = None,
    as_json: AsJson = False,
) -> None:
    """Find duplicates, leaks between splits and label problems.

    The exit code is 3 if something is an error, 0 if there are only warnings.

    \b
    Examples:
      sentiment data check sample
      sentiment data check --data my.csv --json
    """
    experiment = load_inspected(config, data, test, override)
    from sentiment_cli.data.checks.checks import check_data
    from sentiment_cli.data.checks.coverage import unknown_findings
    from sentiment_cli.data.checks.several_labels import several_findings

    report = check_data(experiment.data)
    more = [] if report.is_bad else unknown_findings(experiment)
    if not any(one.startswith("data.target=") for one in override or ()):
        more += several_findings(experiment)
    report = dataclasses.replace(report, findings=(*more, *report.findings))
    if as_json:
        console.result(json.dumps(report.to_json()))
    else:
        findings = []
        for finding in report.findings:
            rows = f": {', '.join(finding.rows)}" if finding.rows else ""
            findings.append((finding.severity, f"{finding.count:,}", console.one_line(f"{finding.what}{rows}")))
        if findings:
            _print_table((Column(""), Column("rows", is_right=True), Column("finding")), findings)
        else:
            console.result("nothing found that is wrong with the rows")
        console.result("")
        duplicates = []
        for kind in ("exact", "normalised", "near"):
            found = getattr(report, "duplicates" if kind == "exact" else f"duplicates_{kind}")
            duplicates.append((kind, *(f"{found[name]:,}" for name in report.duplicates)))
        _print_table([Column("duplicates"), *(Column(name, is_right=True) for name in report.duplicates)], duplicates)
    if report.is_bad:
        worst = next(finding for finding in report.findings if finding.severity == "error")
        raise DataError(f"the data cannot be trained on: {worst.what}")


app.command()(suspects.suspects)


@cache_app.command("list")
def list_cache(as_json: AsJson = False) -> None:
    """List the prepared data and their sizes.

    \b
    Examples:
      sentiment data cache list
      sentiment data cache list --json
    """
    from sentiment_cli.data.corpus import cache

    rows: list[dict[str, Any]] = []
    for entry in cache.entries():
        try:
            size = sum(file.stat().st_size for file in entry.path.iterdir())
            made = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.path.stat().st_mtime))
        except FileNotFoundError:  # another process has removed it
            continue
        rows.append({"name": entry.path.name, "bytes": size, "made": made})
    if as_json:
        console.result(json.dumps(rows))
        return
    for row in rows:
        console.result(f"{row['bytes'] / 1e6:>9.1f} MB  {row['made']}  {row['name']}")
    if not rows:
        console.say("there are no prepared data yet; sentiment prepare makes them")


@cache_app.command()
def why(config: Config = None, override: Override = None, as_json: AsJson = False) -> None:
    """Explain whether the data of an experiment are prepared.

    If they are not, the settings that differ from the nearest prepared data
    are printed.

    \b
    Examples:
      sentiment data cache why sample
      sentiment data cache why sample --set text.lowercase=false
    """
    from sentiment_cli.config.loader import load_experiment

    experiment = load_experiment(config, override or [])
    from sentiment_cli.data.corpus import cache, prepare

    rows: list[dict[str, Any]] = []
    for key in prepare.corpus_keys(experiment):
        is_there = cache.directory_of(key.directory_name).is_dir()
        nearest = None if is_there else cache.nearest_entry(key)
        rows.append(
            {
                "name": key.directory_name,
                "is_there": is_there,
                "nearest": nearest.path.name if nearest else None,
                "differs": cache.differing(key, nearest) if nearest else [],
            }
        )
    if as_json:
        console.result(json.dumps(rows))
        return
    for row in rows:
        if row["is_there"]:
            console.result(f"{row['name']} is prepared")
        elif row["nearest"]:
            console.result(f"{row['name']} is not prepared; {row['nearest']} differs in:")
            for difference in row["differs"]:
                console.result(f"  {difference}")
        else:
            console.result(f"{row['name']} is not prepared, and nothing similar is")


@cache_app.command()
def remove(
    names: Annotated[
        list[str] | None, Argument(metavar="NAME...", help="Names that `sentiment data cache list` prints.")
    ] = None,
    everything: Annotated[bool, Option("--all", help="Delete all prepared data; downloads and runs stay.")] = False,
) -> None:
    """Delete prepared data; they are made again when needed.

    \b
    Examples:
      sentiment data cache remove imdb-0123456789abcdef
      sentiment data cache remove --all
    """
    from sentiment_cli.data.corpus import cache

    if bool(names) == everything:
        raise UsageError("name the entries to remove, or add --all", "sentiment data cache list")
    cache.sweep_cache()
    for entry in [cache.find_entry(name) for name in dict.fromkeys(names or [])] or cache.entries():
        if cache.remove(entry):
            console.result(str(entry.path))
        else:
            console.say(f"{entry.path} is in use by another process and stays")


def _print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    for line in table(columns, rows, console.terminal_width()):
        console.result(line)


def _print_wrapped(text: str) -> None:
    for line in wrapped(text, console.terminal_width(), "  "):
        console.result(line)


def _histogram(length_N: Any) -> list[str]:
    """Draw a histogram in which the longest hundredth shares the last bar."""
    import numpy as np

    edges = np.linspace(0, max(_BINS, float(np.percentile(length_N, 99))), _BINS + 1).astype(int)
    counts, _ = np.histogram(np.minimum(length_N, edges[-1]), edges)
    bars = (counts * _BAR / max(1, counts.max())).round().astype(int)
    signs = [f"{low:>6}-{high - 1}" for low, high in itertools.pairwise(edges)]
    signs[-1] = f"{edges[-2]:>6} on"
    return [f"{sign:<13} {'#' * bar:<{_BAR}} {count:,}" for sign, bar, count in zip(signs, bars, counts, strict=True)]


def _check_plot(path: Path) -> None:
    """Raise UsageError or MachineError for a picture that cannot be made, before the work that it is to show."""
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise UsageError(f"--plot {path}: the name should end in .png, .svg or .pdf", Change("--plot", f"{path}.svg"))
    from sentiment_cli.reports.svg import check_matplotlib

    check_matplotlib()
    store.check_replaceable(path, _is_plot, Change("--plot", str(store.free_path(path))))


def _is_plot(path: Path) -> bool:
    """Say whether a picture was drawn by this program, by what its metadata say."""
    with store.open_named(path) as handle:
        return _PROGRAM.encode() in handle.read(_LARGEST_PLOT)


def _save_plot(path: Path, length_N: Any, max_tokens: int | None) -> None:
    from sentiment_cli.reports.svg import load_matplotlib

    load_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.hist(length_N, bins=60, color="#4477aa")
    if max_tokens is not None:
        axes.axvline(max_tokens, color="#cc3311", linestyle="--", label=f"text.max_tokens {max_tokens}")
        axes.legend()
    axes.set(xlabel="tokens", ylabel="training reviews")
    picture = io.BytesIO()
    form = path.suffix.removeprefix(".")
    figure.savefig(picture, format=form, metadata={"Software" if form == "png" else "Creator": _PROGRAM})
    store.write_file(path, picture.getvalue())
