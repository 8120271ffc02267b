"""Quality of exported graphs: size, speed, accuracy and difference from the model."""

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from sentiment_cli import console
from sentiment_cli.data.batching.truncation import read_lengths
from sentiment_cli.data.corpus.packed import open_corpus
from sentiment_cli.data.corpus.ratings import ratings_of
from sentiment_cli.errors import DataError, MachineError
from sentiment_cli.evaluation.metrics import wilson_interval
from sentiment_cli.evaluation.scoring import has_learnt_validation
from sentiment_cli.inference.export import graphs_of
from sentiment_cli.inference.parity import MOST_APART, made_up_rows
from sentiment_cli.inference.predictor import class_probabilities, likeliest
from sentiment_cli.inference.scoring import score_ids
from sentiment_cli.layout import Column, table
from sentiment_cli.onnx.quantize import Precision
from sentiment_cli.onnx.runtime import ScoreFn, open_graph
from sentiment_cli.onnx.verify import check_graph
from sentiment_cli.runs.model_files import check_free, is_packed
from sentiment_cli.runs.saved_model import GRAPH, Artefact, pack_artefact
from sentiment_cli.storage import store

LEAST_AGREEMENT = 0.995
_TIMES_ONE, _TIMES_LOADED = 30, 3
_Found = TypeVar("_Found")


class EvalRows(NamedTuple):
    """Rows to test graphs on: token ids, labels (None for random rows) and expected outputs."""

    rows_ids: Sequence[NDArray[np.int32]]
    label_N: NDArray[np.int64] | None
    output: NDArray[np.float64]


@dataclass(frozen=True)
class GraphQuality:
    """Of a graph: bytes, seconds to load, seconds for one row of median length, and tokens per second of all rows.

    `outputs_apart` is how far raw outputs lie from the model's at most, None where one is no finite number. On
    validation there are also the accuracy, the share of rows that get the label that the model gives them, and how far
    probabilities (ratings, of star ratings) lie apart at most; None where the validation rows are not at hand, as the
    accuracy is where the model learnt them.
    """

    bytes: int
    load_s: float
    one_text_s: float
    tokens_per_second: float
    outputs_apart: float | None
    n: int | None = None
    accuracy: float | None = None
    accuracy_ci95: tuple[float, float] | None = None
    agreement: float | None = None
    apart: float | None = None


@dataclass(frozen=True)
class Export:
    """A graph that was asked for: where it is written, or why it is not.

    `kept` are the operators whose weights could not become whole numbers.
    """

    worth: GraphQuality
    kept: tuple[str, ...]
    path: Path | None
    refused: str | None

    def to_json(self) -> dict[str, Any]:
        place = None if self.path is None else str(self.path)
        return {"path": place, **dataclasses.asdict(self.worth), "kept": list(self.kept), "refused": self.refused}


def export_run(
    artefact: Artefact, paths: Mapping[Precision, Path | None], pack: Path | None = None, hint: str = "sentiment export"
) -> dict[Precision, Export]:
    """Write a model's graph in each precision that has a path, and the last one, with all else, packed in one file.

    What answers too unlike the model is not written. Raises UsageError, with `hint`, where something else is at one of
    the paths, and NoGraphError where no graph can be built. What was written goes again where a later step fails.
    """
    for taken in (path for path in paths.values() if path is not None):
        check_free(taken, _is_graph, hint)
    if pack is not None:
        check_free(pack, is_packed, hint)
    graphs = graphs_of(artefact, list(paths))
    trial = prepare_eval_rows(artefact)
    exports: dict[Precision, Export] = {}
    written: list[Path] = []
    try:
        for precision, path in paths.items():
            data, kept = graphs[precision]
            worth = measure(data, artefact, trial, precision)
            refused = reason_to_refuse(precision, worth)
            if refused is None and path is not None and store.write_once(path, data, hint):
                written.append(path)
            if refused is None and pack is not None:
                pack_artefact(artefact, pack, data)
            exports[precision] = Export(worth, kept, path if refused is None else None, refused)
    except BaseException:
        for path in written:  # else the same command would meet its own files
            with contextlib.suppress(MachineError):
                store.remove_file(path)
        raise
    return exports


def _is_graph(path: Path) -> bool:
    """Return whether a file is an exported graph."""
    try:
        check_graph(store.read_named(path))
    except DataError:
        return False
    return True


def prepare_eval_rows(artefact: Artefact) -> EvalRows:
    """Read the run's validation rows, or make rows up where its prepared data is not at hand, and ask the model.

    The model is that of the weights, in torch, or of a packed file without them, the graph it holds.
    """
    corpus = open_corpus(artefact.data_key, ("valid",))
    if corpus is not None and set(corpus.labels) != set(artefact.labels):
        console.warn("the data of the name that the model gives have other labels than the model, and are not read")
        corpus = None
    elif corpus is None:
        console.warn(
            "the data that the model was trained on is not prepared here, so there are no accuracy and no agreement"
        )
    if corpus is None:
        rows_ids, label_N = made_up_rows(len(artefact.vocabulary.entries)), None
    else:
        if has_learnt_validation([artefact]):
            console.warn("the model was trained on its validation rows, too (train.refit), so there is no accuracy")
        packed = corpus.split("valid")
        rows_ids = np.split(packed.ids_T, packed.starts_N1[1:-1])
        place = {label: i for i, label in enumerate(artefact.labels)}
        label_N = np.array([place[label] for label in corpus.labels])[packed.label_N]
    return EvalRows(rows_ids, label_N, _ask(_reference(artefact), artefact, rows_ids, "asking the model"))


def measure(graph: bytes, artefact: Artefact, trial: EvalRows, name: str) -> GraphQuality:
    """Test a graph on rows with known outputs."""
    load_s, (answers, _) = _median_s(lambda: open_graph(graph), _TIMES_LOADED)
    read_N = read_lengths(np.array([len(ids_L) for ids_L in trial.rows_ids]), artefact.reading)
    middle = trial.rows_ids[int(np.argsort(read_N)[len(read_N) // 2])]
    one_text_s, _ = _median_s(lambda: score_ids(answers, [middle], artefact.reading, artefact.n_logits), _TIMES_ONE)
    began = time.perf_counter()
    output = _ask(answers, artefact, trial.rows_ids, f"trying {name}")
    seconds = time.perf_counter() - began
    is_finite = bool(np.isfinite(output).all() and np.isfinite(trial.output).all())
    outputs_apart = float(np.abs(output - trial.output).max()) if is_finite else None
    worth = GraphQuality(len(graph), load_s, one_text_s, int(read_N.sum()) / seconds, outputs_apart)
    if trial.label_N is None or not is_finite:
        return worth
    n = len(trial.label_N)
    (found_N, shown), (expected_N, expected) = (_decide(artefact, values) for values in (output, trial.output))
    right = int((found_N == trial.label_N).sum())
    is_learnt = has_learnt_validation([artefact])
    return dataclasses.replace(
        worth,
        n=n,
        accuracy=None if is_learnt else right / n,
        accuracy_ci95=None if is_learnt else wilson_interval(right, n),
        agreement=float((found_N == expected_N).mean()),
        apart=float(np.abs(shown - expected).max()),
    )


def reason_to_refuse(precision: Precision, worth: GraphQuality) -> str | None:
    """Return what is wrong with an export, if anything."""
    if worth.outputs_apart is None:
        return "it, or the model itself, answers with numbers that are not finite"
    if precision == "fp32" and worth.outputs_apart > MOST_APART:
        return f"its outputs lie up to {worth.outputs_apart:.1e} from the model's, where {MOST_APART:.0e} is allowed"
    if worth.agreement is not None and worth.agreement < LEAST_AGREEMENT:
        return f"{worth.agreement:.2%} of validation get the model's label from it, where {LEAST_AGREEMENT:.1%} have to"
    return None


_COLUMNS = (
    Column(""),
    Column("bytes", is_right=True),
    Column("load ms", is_right=True, drop=3),
    Column("one text ms", is_right=True),
    Column("tokens/s", is_right=True, drop=2),
    Column("accuracy", is_right=True),
    Column("95 % interval", is_right=True, drop=1),
    Column("same label", is_right=True),
    Column("apart", is_right=True, drop=4),
)


def print_exports(exports: Mapping[Precision, Export]) -> None:
    """Print a table with a line per precision, and the written files."""
    for line in table(_COLUMNS, [_cells(name, one.worth) for name, one in exports.items()], console.terminal_width()):
        console.result(line)
    for name, one in exports.items():
        if one.kept:
            console.result(f"{name}: the weights of {', '.join(one.kept)} are in half precision, computed in float32")
    for one in exports.values():
        if one.path is not None:
            console.result(str(one.path))


def _cells(name: str, worth: GraphQuality) -> tuple[str, ...]:
    speeds = (f"{1000 * worth.load_s:.1f}", f"{1000 * worth.one_text_s:.2f}", f"{worth.tokens_per_second:,.0f}")
    accuracy = "" if worth.accuracy is None else f"{worth.accuracy:.2%}"
    interval = "" if worth.accuracy_ci95 is None else "{:.2%} to {:.2%}".format(*worth.accuracy_ci95)
    agreement = "" if worth.agreement is None else f"{worth.agreement:.2%}"
    apart = "" if worth.apart is None else f"{worth.apart:.1e}"
    return (name, f"{worth.bytes:,}", *speeds, accuracy, interval, agreement, apart)


def _reference(artefact: Artefact) -> ScoreFn:
    if not artefact.has_weights:
        return open_graph(artefact.read(GRAPH))[0]
    from sentiment_cli.inference.torch_model import answers_of, load_model

    return answers_of(load_model(artefact))


def _ask(answers: ScoreFn, artefact: Artefact, rows_ids: Sequence[NDArray[np.int32]], what: str) -> NDArray[np.float64]:
    n_read = 0

    def counted(ids_BL: NDArray[np.int64], length_B: NDArray[np.int64]) -> NDArray[np.float32]:
        nonlocal n_read
        n_read += int(length_B.sum())
        shown.update(n_read)
        return answers(ids_BL, length_B)

    read_N = read_lengths(np.array([len(ids_L) for ids_L in rows_ids]), artefact.reading)
    with console.progress(what, int(read_N.sum())) as shown:
        return score_ids(counted, rows_ids, artefact.reading, artefact.n_logits)


def _decide(artefact: Artefact, output: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each row's label, and the probabilities or the rating that a user is shown."""
    if artefact.target == "stars":
        return (output >= 0).astype(np.int64), ratings_of(output)
    probability_NC = class_probabilities(output / artefact.temperature)
    return likeliest(probability_NC), probability_NC


def _median_s(work: Callable[[], _Found], times: int) -> tuple[float, _Found]:
    """Return the median time in seconds of a function, and its result."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        found = work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), found
