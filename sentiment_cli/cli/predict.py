"""`sentiment predict`."""

import contextlib
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from sentiment_cli.cli import completion
from sentiment_cli.cli.explain import ExplainOptions, Method, answer_with_reasons
from sentiment_cli.cli.parameters import OnError
from sentiment_cli.cli.reading import OF_TEXTS, Reading, check_keys, load_data
from sentiment_cli.cli.shards import Scale, check_names
from sentiment_cli.errors import Change, UsageError

if TYPE_CHECKING:
    from sentiment_cli.inference.batch.chunks import BatchSource
    from sentiment_cli.inference.batch.sources import Files
    from sentiment_cli.runs.ensemble_model import SavedModel


class Format(StrEnum):
    jsonl = "jsonl"
    csv = "csv"
    tsv = "tsv"
    parquet = "parquet"
    text = "text"


_FORMAT_OF: dict[str, Format | None] = {
    ".jsonl": Format.jsonl,
    ".ndjson": Format.jsonl,
    ".csv": Format.csv,
    ".tsv": Format.tsv,
    ".parquet": Format.parquet,
    ".txt": Format.text,
    "": None,
}


_READ = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".txt", ".gz")
_WITH_REASONS = 'sentiment predict --explain "I just really loved the movie"'


def predict(
    text: Annotated[list[str] | None, Argument(help="Texts to classify; without any, lines of standard input.")] = None,
    run: Annotated[
        str | None,
        Option(
            help="Run directory or name, or a packed model; without one, the newest finished run, or else `pocket`.",
            autocompletion=completion.runs,
        ),
    ] = None,
    file: Annotated[
        str | None,
        Option(
            metavar="FILE",
            help="Classify the rows of a table or the lines of another file; also a folder, a pattern or a URL. - is "
            "standard input.",
        ),
    ] = None,
    out: Annotated[
        Path | None, Option(metavar="FILE", help="Write to FILE (format from its extension) instead of stdout.")
    ] = None,
    form: Annotated[
        Format | None, Option("--format", help="Output format; without it, lines of text, or JSON Lines for a table.")
    ] = None,
    text_column: Annotated[
        str | None, Option(metavar="COLUMN", help="Column of the texts, if its name does not tell.")
    ] = None,
    settings: Reading = None,
    on_error: Annotated[OnError, Option(help="Stop at a row without text, or list it as a reject.")] = OnError.stop,
    safe_csv: Annotated[
        bool, Option("--safe-csv/--no-safe-csv", help="Keep spreadsheets from evaluating cells of CSV and TSV.")
    ] = True,
    as_json: Annotated[bool, Option("--json", help="The same as --format jsonl: one JSON object per text.")] = False,
    explain: Annotated[bool, Option("--explain", help="Show how much each word adds to the answer.")] = False,
    method: Annotated[Method, Option(help="How to compute that.")] = Method.auto,
    trace: Annotated[bool, Option("--trace", help="Show the answer after each word.")] = False,
    html: Annotated[Path | None, Option(metavar="FILE", help="Also write them as an HTML page.")] = None,
    workers: Annotated[int, Option(metavar="N", min=1, max=1024, help="Processes that score, one thread each.")] = 1,
    parts: Annotated[
        Path | None,
        Option(metavar="DIR", help="Keep the answers in parts, so that the same command continues after a stop."),
    ] = None,
    shard: Annotated[
        str | None, Option(metavar="K/N", help="Score the K-th of N shards into --parts, and write nothing else.")
    ] = None,
    merge: Annotated[bool, Option("--merge", help="Write the answers that are in --parts; score nothing.")] = False,
    on: Annotated[
        str | None,
        Option(
            metavar="ray[://ADDRESS]", help="Score the parts on Ray: on this machine, ray://auto or ray://HOST:PORT."
        ),
    ] = None,
) -> None:
    """Classify sentences, files or standard input.

    Prints a label and its probability for each text. Tables are CSV, TSV, JSON
    (also compressed) and Parquet files: their columns are kept, and the answer's
    columns are added.

    \b
    Examples:
      sentiment predict "I just really loved the movie"
      sentiment predict --file reviews.txt --json
      sentiment predict --file reviews.csv --out answers.csv
      sentiment predict --file reviews.jsonl.gz --text-column body --on-error skip
      sentiment predict --file 'logs/*.parquet' --out all.parquet --workers 8
      sentiment predict --file big.csv --parts parts --shard 3/16
      sentiment predict --file big.csv --parts parts --on ray --out answers.csv
      sentiment predict --file big.csv --parts parts --merge --out answers.csv
      tail -f reviews.txt | sentiment predict --run imdb-lstm
      sentiment predict "I loved the movie" --explain --trace --html why.html
    """
    from sentiment_cli.runs.directory import find_run

    scale = Scale(workers, parts, shard, merge, on)
    scale.check(file, out, has_reasons=explain or trace)
    with contextlib.ExitStack() as stack:
        files, path, model = None, None, None
        if file not in (None, "-") and not text:
            from sentiment_cli.inference.batch.sources import files_of
            from sentiment_cli.runs.ensemble_model import open_model

            path = find_run(run, or_bundled=True)
            model = open_model(path)
            files = stack.enter_context(files_of(str(file)))
            check_names(str(file), files, out, parts)
        source = _source(text or [], file, text_column, on_error, run, settings or [], files, scale, model)
        form = _format(form, out, as_json, source)
        wishes = ExplainOptions(explain, method, trace, html, form == Format.jsonl)
        if wishes.is_any:
            _check_wishes(form, source, on_error, {"--out": out, "--html": html})
        path = path or find_run(run, or_bundled=True)
        if scale.given:
            scale.predict(path, source, form.value, out, on_error=on_error.value, is_safe=safe_csv)
            return
        from sentiment_cli.inference.batch.predict_all import (
            plain_line,
            predict_all,
            say_thresholds,
        )
        from sentiment_cli.inference.predictor import Predictor, open_predictor

        predictor = open_predictor(path) if model is None else Predictor(model)
        say_thresholds(predictor.model)
        if wishes.is_any:
            answer_with_reasons(predictor, source.texts(), wishes, plain_line, out)
            return
        predict_all(predictor, source, form.value, out, on_error=on_error.value, is_safe=safe_csv)


def _check_wishes(form: Format, source: "BatchSource", on_error: OnError, places: dict[str, Path | None]) -> None:
    """Raise UsageError for what goes with answers alone, and for files that are not predict's to replace."""
    from sentiment_cli.inference.batch.places import is_answers, is_same_file
    from sentiment_cli.storage import store
    from sentiment_cli.storage.sealed_pages import is_sealed

    if form not in (Format.text, Format.jsonl):
        raise UsageError(
            f"--explain and --trace need JSON Lines or text, not {form}",
            Change("--format", "jsonl", without=["--json"]),
        )
    if source.is_table or on_error == OnError.skip:
        if source.is_table:
            raise UsageError(f"--explain and --trace do not read tables, such as {source.name}", _WITH_REASONS)
        raise UsageError("--explain and --trace do not go with --on-error skip", Change(without=["--on-error"]))
    for option, place in places.items():
        if place is None:
            continue
        if place.name.lower().endswith(".gz"):
            raise UsageError(
                f"--explain and --trace cannot write compressed files, such as {place}",
                Change(option, str(place.with_suffix(""))),
            )
        free = Change(option, str(store.free_path(place)))
        if is_same_file(place, source.path):
            raise UsageError(f"{place} is the file that is read, and {option} would replace it", free)
        store.check_replaceable(place, is_sealed if option == "--html" else is_answers, free)


def _refuse_names(texts: list[str], run: str | None) -> None:
    """Raise UsageError for a text that is the name of a file, and for a first text that is the name of a run."""
    from sentiment_cli.config.paths import is_file
    from sentiment_cli.runs.directory import find_experiment

    first = texts[0]
    if all(Path(text).suffix in _READ and " " not in text and is_file(Path(text)) for text in texts):
        which = f"{first} is a file" if len(texts) == 1 else f"{' and '.join(texts)} are files"
        raise UsageError(
            f"{which}; --file classifies the rows of one, and standard input takes a name as a text",
            Change("--file", first, words=dict.fromkeys(texts)),
        )
    if run is None and len(texts) > 1 and " " not in first and find_experiment(first) is not None:
        raise UsageError(
            f"{first} is a run; --run names the run that answers, and standard input takes it as a text",
            Change("--run", first, words={first: None}),
        )


def _source(
    texts: list[str],
    file: str | None,
    text_column: str | None,
    on_error: OnError,
    run: str | None = None,
    settings: Sequence[str] = (),
    files: "Files | None" = None,
    scale: Scale | None = None,
    model: "SavedModel | None" = None,
) -> "BatchSource":
    from sentiment_cli.data.tables.rows import Columns, Format
    from sentiment_cli.inference.batch.chunks import PREDICT_HINT, given_texts

    check_keys(settings, OF_TEXTS, "predict")
    if settings and file is None and texts:
        raise UsageError("--set says how a file is read, and TEXT is given", Change(without=["--set"]))
    how, column = Format(), Columns(text_column)
    if settings:
        data = load_data(settings)
        how = Format(data.header, data.encoding, data.delimiter, data.quoting)
        column = Columns(text_column if text_column is not None else data.text_column)
    if texts and file is not None:
        raise UsageError("TEXT and --file are both given; one of them is enough", Change(words=dict.fromkeys(texts)))
    if file not in (None, "-"):
        from sentiment_cli.inference.batch.sources import Files

        files = files or Files([Path(str(file))], [None])
        asked = column.text
        if asked is None and model is not None:
            from sentiment_cli.inference.batch.predict_all import columns_as_trained

            asked = columns_as_trained(model, files.paths[0], how)
        return (scale or Scale()).read(files, asked, on_error.value, how)
    if text_column is not None:
        raise UsageError("--text-column goes with a table", Change(without=["--text-column"]))
    if texts:
        _refuse_names(texts, run)
        return given_texts(texts)
    if sys.stdin is None or (file is None and sys.stdin.isatty()):
        raise UsageError("there is no text", PREDICT_HINT)
    from sentiment_cli.inference.batch.streams import lines_as_they_come

    return lines_as_they_come(sys.stdin.fileno(), "stdin", how)


def _format(asked: Format | None, out: Path | None, as_json: bool, source: "BatchSource") -> Format:
    """Return what to write: as asked, or as the name of the file says, or what suits the source."""
    if as_json and asked not in (None, Format.jsonl):
        raise UsageError(f"--json and --format {asked} are both given", Change(without=["--json"]))
    form = Format.jsonl if as_json else asked
    if form is None and out is not None:
        suffix = Path(out.name.lower().removesuffix(".gz")).suffix
        if suffix not in _FORMAT_OF:
            raise UsageError(
                f"--out {out}: {suffix} is none of {', '.join(filter(None, _FORMAT_OF))}", Change("--format", "jsonl")
            )
        form = _FORMAT_OF[suffix]
    if form == Format.parquet and (out is None or out.name.lower().endswith(".gz")):
        raise UsageError("Parquet is written to a file of its own", Change("--out", "answers.parquet"))
    return form or (Format.jsonl if source.is_table else Format.text)
