"""Cost of prediction: files against the bare onnxruntime session, precisions, memory, start-up, fastText.

    python benchmarks/prediction.py RUN [--rows 20000] [--rounds 3] [--million] [--fasttext]

Texts are the train reviews of the run's own source, never test's. Tokens are those that the model reads. Every rate is
of whole rounds that take turns, so that a machine that slows down slows all of them; the median of the rounds counts.
Lines for a reader go to stderr, lines of JSON to stdout.

files      `sentiment predict --file texts.csv --out answers.jsonl`, the whole process
bare       a session of onnxruntime on the same tokens, made before, in batches of rows of one length: nothing padded
int8, fp16 the same with the weights in another precision
fastText   a supervised model of words and bigrams, trained on the same texts, asked for all of them at once
memory     the peak of `predict --file` on 10,000 and 100,000 short rows, with --million on 1,000,000
start-up   `sentiment predict TEXT`, the whole process, median of ten
"""

import argparse
import csv
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.config.loader import experiment_from_values
from sentiment_cli.data.batching.truncation import SavedTextLimits, concatenate_rows, gather_rows, read_lengths
from sentiment_cli.data.corpus.raw_texts import prepare_texts
from sentiment_cli.data.sources.source import find_source
from sentiment_cli.data.tokens.tokenizer import encode
from sentiment_cli.inference.export import graphs_of
from sentiment_cli.inference.torch_model import BATCH_TOKENS
from sentiment_cli.runs.directory import find_run
from sentiment_cli.runs.saved_model import Artefact, open_artefact, pack_artefact

_SENTIMENT = [sys.executable, "-m", "sentiment_cli"]
_SHORT = 100  # characters of a row where only the number of rows matters
# A process of its own in between: the system counts a parent's memory as its child's.
_LAUNCH = """import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)"""

Batch = dict[str, NDArray[np.int64]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run directory or name, or a packed model")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--million", action="store_true", help="measure memory on a million rows, too")
    parser.add_argument("--fasttext", action="store_true", help="needs the Python module fasttext")
    asked = parser.parse_args()
    artefact = open_artefact(find_run(asked.run))
    source = find_source(experiment_from_values(artefact.settings).data)
    texts = list(itertools.islice(itertools.chain(*prepare_texts(source, "labelled").read("train")), asked.rows))
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        graphs = {name: lowered.data for name, lowered in graphs_of(artefact, ["fp32", "int8", "fp16"]).items()}
        packed = root / "packed"
        pack_artefact(artefact, packed, graphs["fp32"])
        measure_rates(artefact, graphs, packed, texts, asked.rounds, root, with_fasttext=asked.fasttext)
        measure_memory(packed, texts, [10_000, 100_000] + [1_000_000] * asked.million, root)
        measure_start(packed)


def measure_rates(
    artefact: Artefact,
    graphs: dict[Any, bytes],
    packed: Path,
    texts: list[str],
    rounds: int,
    root: Path,
    *,
    with_fasttext: bool,
) -> None:
    """Let files, bare sessions and fastText take turns on the same texts."""
    batches = list(unpadded(artefact, texts))
    n_tokens = sum(int(batch["length_B"].sum()) for batch in batches)
    table = write_csv(texts, root / "texts.csv")
    sessions = {name: session(data) for name, data in graphs.items()}
    work: dict[str, Callable[[], object]] = {"files": lambda: predict_file(packed, table)}
    for name, one in sessions.items():
        work["bare" if name == "fp32" else f"bare {name}"] = lambda one=one: [one.run(None, batch) for batch in batches]
    if with_fasttext:
        lines = [" ".join(re.findall(r"\w+(?:'\w+)*|[^\w\s]", text.lower())) for text in texts]
        model = fasttext_model(artefact, lines, root)
        work["fastText"] = lambda: model.predict(lines)
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, run in work.items():
            seconds[name].append(time_of(run))
    for name, spent in seconds.items():
        middle, of_bare = statistics.median(spent), statistics.median(seconds["bare"]) / statistics.median(spent)
        show(
            name,
            f"{n_tokens / middle:>12,.0f} tokens/s  {len(texts) / middle:>8,.0f} texts/s  {of_bare:>6.2f} of bare",
            tokens_per_second=n_tokens / middle,
            texts_per_second=len(texts) / middle,
            of_bare=of_bare,
            seconds=spent,
        )


def unpadded(artefact: Artefact, texts: list[str]) -> Iterator[Batch]:
    """Yield batches of rows that are equally long as the model reads them."""
    reading = SavedTextLimits.from_json(artefact.settings["text"])
    rows = concatenate_rows(list(encode(artefact.tokenizer, texts)))
    read_N = read_lengths(rows.length_N, reading)
    for length in np.unique(read_N).tolist():
        row_N = np.flatnonzero(read_N == length)
        for row_B in np.array_split(row_N, -(-len(row_N) * length // BATCH_TOKENS)):
            ids_BL, length_B = gather_rows(rows, row_B, length, reading)
            yield {"ids_BL": ids_BL, "length_B": length_B}


def session(graph: bytes) -> Any:
    import onnxruntime  # after the package, which turns its telemetry off

    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def fasttext_model(artefact: Artefact, lines: list[str], root: Path) -> Any:
    """Train a small model on the texts; what it learns does not matter to how long it takes to answer."""
    import fasttext

    path = root / "train.fasttext"
    path.write_text("".join(f"__label__{i % 2} {line}\n" for i, line in enumerate(lines)))
    return fasttext.train_supervised(str(path), dim=10, epoch=1, bucket=2_000_000, wordNgrams=2, thread=2, verbose=0)


def measure_memory(packed: Path, texts: list[str], sizes: list[int], root: Path) -> None:
    """Show the peak memory of files of so many rows; only the number of rows differs."""
    for size in sizes:
        short = (text[:_SHORT] for text in itertools.islice(itertools.cycle(texts), size))
        megabytes = predict_file(packed, write_csv(short, root / "short.csv"))
        show(f"memory {size:,}", f"{megabytes:,.0f} MB", rows=size, megabytes=megabytes)


def measure_start(packed: Path) -> None:
    command = [*_SENTIMENT, "predict", "--run", str(packed), "I just really loved the movie"]
    run = lambda: subprocess.run(command, check=True, capture_output=True)  # noqa: E731
    run()  # reads the program into the system's cache
    spent = [time_of(run) for _ in range(10)]
    middle = statistics.median(spent)
    show("start-up", f"{middle:.3f} s ({min(spent):.3f} to {max(spent):.3f})", seconds=spent, median=middle)


def predict_file(packed: Path, table: Path) -> float:
    """Answer a table; return the megabytes that it took at most."""
    command = [*_SENTIMENT, "predict", "--run", str(packed), "--file", str(table)]
    command += ["--out", str(table.with_suffix(".jsonl"))]
    done = subprocess.run([sys.executable, "-c", _LAUNCH, *command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout) * 1024 / 1e6


def write_csv(texts: Any, path: Path) -> Path:
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text"])
        writer.writerows([text] for text in texts)
    return path


def time_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def show(name: str, said: str, **figures: Any) -> None:
    """Print a line for a reader, and one of JSON."""
    print(f"{name:>16}  {said}", file=sys.stderr, flush=True)
    print(json.dumps({"name": name, "cores": os.cpu_count(), **figures}), flush=True)


if __name__ == "__main__":
    main()
