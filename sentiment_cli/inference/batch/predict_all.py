"""Batch prediction: many texts in chunks, written in order, in constant memory."""

import contextlib
import gzip
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sentiment_cli import console
from sentiment_cli.data.tables.rows import Columns, Format, Rejects, TextColumns
from sentiment_cli.data.tables.writers import Cells, JsonLines, Parquet, TableWriter, Write
from sentiment_cli.errors import DataError
from sentiment_cli.inference.batch.answer_columns import added_columns, answer_fields
from sentiment_cli.inference.batch.chunks import SKIP_OPTION, BatchSource, Chunk
from sentiment_cli.inference.batch.places import Seal, check_places, is_rejects, rejects_path
from sentiment_cli.inference.batch.pool import Answering, Answers, answer_here
from sentiment_cli.storage import store

if TYPE_CHECKING:
    from sentiment_cli.inference.batch.parts import Parts
    from sentiment_cli.inference.predictor import Prediction, Predictor
    from sentiment_cli.runs.ensemble_model import SavedModel

OutputFormat = Literal["jsonl", "csv", "tsv", "parquet", "text"]

_PLACES_SAID = 5
_THRESHOLDS_SAID = 8


def predict_all(
    predictor: "Predictor",
    source: BatchSource,
    form: OutputFormat,
    out: Path | None = None,
    *,
    on_error: str = "stop",
    is_safe: bool = True,
) -> None:
    """Write the predictions for all texts of a source to stdout or to a file, which is replaced atomically.

    What they rest on is said on stderr. Raises DataError for a bad row; with `on_error` skip it goes to a file of
    rejects beside `out`, or, when answers go to stdout, in the current directory. Raises UsageError where one of these
    files would replace the input, or what predict did not write.
    """
    check_places(source, out, form, on_error)
    answering = answer_here(predictor, reads_ahead=source.is_file)
    write_answers(predictor, answering, source, form, out, on_error=on_error, is_safe=is_safe)


def write_answers(
    model: Answers,
    answering: Answering,
    source: BatchSource,
    form: OutputFormat,
    out: Path | None,
    *,
    on_error: str,
    is_safe: bool,
    parts: "Parts | None" = None,
) -> None:
    """Write what `answering` answers, as `predict_all` does, whose checks of the places have been made.

    With `parts` the answers that they keep are not computed again.
    """
    rejects = rejects_path(source, out)
    shows_progress = source.is_file and (out is not None or console.terminal_width() is None)
    n_written, notes = 0, _Notes("row" if source.is_table else "text")
    with contextlib.ExitStack() as stack:
        rejected = _Rejected(rejects, stack)
        write = stack.enter_context(_writing(model, source, form, out, is_safe))
        shown = stack.enter_context(console.progress("predicting", source.n_rows)) if shows_progress else None
        read = source.read(Rejects(on_error, rejected.keep, SKIP_OPTION))
        answered = answering((chunk, None) for chunk in read) if parts is None else parts.answers(read, answering)
        for chunk, answers in stack.enter_context(contextlib.closing(answered)):
            write(chunk, answers)
            n_written += len(answers)
            notes.take(chunk.numbers, answers)
            if source.is_typed:
                notes.say()
            if shown is not None:
                shown.update(n_written + rejected.n, f"{n_written + rejected.n:,} rows")
        if (source.is_table or parts is not None) and n_written + rejected.n != source.n_rows:
            raise changed(source)
    notes.say()
    if rejected.n:
        console.warn(f"{rejected.n:,} of {n_written + rejected.n:,} rows were left out; they are listed in {rejects}")
    elif source.is_table and on_error == "skip":
        store.remove_file(rejects, is_rejects)  # that of an earlier time
    if out is not None or rejected.n:
        console.say(f"{n_written + rejected.n:,} rows in, {n_written:,} out, {rejected.n:,} rejected")


def say_thresholds(model: "SavedModel") -> None:
    """Say which thresholds decide the labels, where some were fitted."""
    if model.threshold_C is None:
        return
    pairs = [f"{label} {value:.2f}" for label, value in zip(model.labels, model.threshold_C, strict=True)]
    more = ", …" if len(pairs) > _THRESHOLDS_SAID else ""
    said = ", ".join(pairs[:_THRESHOLDS_SAID])
    console.say(f"labels are given by thresholds that were fitted on validation: {said}{more}")


def columns_as_trained(model: "SavedModel", file: Path, how: Format) -> TextColumns:
    """Return the columns that a model's texts were read from, where a table has them; None for any other file."""
    from sentiment_cli.data.tables.readers import column_names, kind_of_file  # a text needs no reader of files

    wanted = model.first.settings["data"].get("text_column")
    columns: TextColumns = tuple(wanted) if isinstance(wanted, list) else wanted
    if columns is None or not file.is_file() or kind_of_file(file, how) is None:
        return None
    return columns if set(Columns(columns).named()) <= set(column_names(file, how)) else None


def changed(source: BatchSource) -> DataError:
    return DataError(f"{source.name} was changed while it was read", shlex.join(["ls", "-l", str(source.path)]))


class _Rejected:
    """The file of rejects, which is made for the first one and ends with `stack`."""

    def __init__(self, path: Path, stack: contextlib.ExitStack) -> None:
        self._path, self._stack = path, stack
        self._output: store.Output | None = None
        self._seal = Seal()
        self.n = 0

    def keep(self, place: dict[str, Any], content: Any) -> None:
        if self._output is None:
            self._output = self._stack.enter_context(store.replacing(self._path))
        self._output.write(self._seal.line(place, content))
        self.n += 1


class _Notes:
    """Counts of truncated, unknown and invalid texts, with the first rows of each kind."""

    def __init__(self, word: str) -> None:
        self._word = word
        self._forget()

    def _forget(self) -> None:
        self._n = 0
        self._found: dict[str, tuple[int, list[int]]] = {}

    def take(self, numbers: list[int], answers: "list[Prediction]") -> None:
        self._n += len(answers)
        for number, answer in zip(numbers, answers, strict=True):
            if answer.low_evidence:
                self._note("no known word; the answer is a guess", number)
            if answer.truncated:
                self._note("more tokens than the model reads: the answer rests on a part of them", number)
            if "\ufffd" in answer.text:
                self._note("\ufffd, which stands for what was no UTF-8", number)

    def say(self) -> None:
        """Print the notes since the last call."""
        for what, (n, places) in self._found.items():
            if n == 1:
                console.say(f"{self._word} {places[0]} has {what}")
            else:
                more = ", …" if n > len(places) else ""
                console.say(f"{n:,} of {self._n:,} {self._word}s have {what} ({', '.join(map(str, places))}{more})")
        self._forget()

    def _note(self, what: str, number: int) -> None:
        n, places = self._found.setdefault(what, (0, []))
        if n < _PLACES_SAID:
            places.append(number)
        self._found[what] = (n + 1, places)


@contextlib.contextmanager
def _writing(
    predictor: Answers, source: BatchSource, form: OutputFormat, out: Path | None, is_safe: bool
) -> "Iterator[Callable[[Chunk, list[Prediction]], None]]":
    """Yield the function that writes the predictions of a chunk."""
    with contextlib.ExitStack() as stack:
        output = None if out is None else stack.enter_context(store.replacing(out))
        write: Write = console.result_bytes if output is None else output.write
        if out is not None and out.name.lower().endswith(".gz"):
            write = stack.enter_context(gzip.GzipFile("", "wb", fileobj=output, mtime=0)).write
        if form == "text":
            width = console.terminal_width() if out is None else None

            def write_lines(chunk: Chunk, answers: "list[Prediction]") -> None:
                write("".join(f"{plain_line(one, width)}\n" for one in answers).encode())

            yield write_lines
            return
        shown = console.one_line if form == "tsv" and is_safe else str  # a line of TSV is a row for most who read it
        name_of, kinds = added_columns(predictor, source.names, is_flat=form != "jsonl", shown=shown)
        writer: TableWriter
        if form == "jsonl":
            writer = JsonLines(write)
        elif form == "parquet":
            assert output is not None, "a binary file"
            writer = Parquet(output, source.columns, kinds)
        else:
            writer = Cells(write, source.names, list(kinds), "," if form == "csv" else "\t", is_safe)
        stack.enter_context(contextlib.closing(writer))

        def write_rows(chunk: Chunk, answers: "list[Prediction]") -> None:
            fields = [answer_fields(answer, is_flat=form != "jsonl", shown=shown) for answer in answers]
            if fields:
                writer.write(chunk.rows, {name_of[name]: [row[name] for row in fields] for name in fields[0]})

        yield write_rows
    if isinstance(writer, Cells) and writer.n_altered:
        console.say(
            f"cells that a spreadsheet would compute or a terminal obey, made harmless: {writer.n_altered:,} "
            "(--no-safe-csv leaves them as they are)"
        )


def plain_line(answer: "Prediction", width: int | None = None) -> str:
    """Return label, figure and text; on a terminal so wide no more of a text than fits.

    Of several labels all that are given, or (none) with the probability of the likeliest.
    """
    label, figure = said_of(answer)
    line = f"{label}\t{figure}\t{console.sanitize(' '.join(answer.text.split()))}"
    if width is None or len(line.expandtabs()) <= width:
        return line
    return line[: width - 1 - len(line.expandtabs()) + len(line)] + "…"


def said_of(answer: "Prediction") -> tuple[str, str]:
    """Return an answer's label, or all that are given, and its figures."""
    if answer.labels and answer.probabilities is not None:
        figures = (f"{answer.probabilities[label]:.4f}" for label in answer.labels)
        return ", ".join(map(console.one_line, answer.labels)), ", ".join(figures)
    label = console.one_line(answer.label) if answer.labels is None else "(none)"
    return label, f"{answer.probability:.4f}" if answer.stars is None else f"{answer.stars:.1f} stars"
