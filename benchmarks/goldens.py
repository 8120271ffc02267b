"""Freeze what a refactoring must not change, and compare with it: bytes of seeded runs, keys, names and JSON.

    python benchmarks/goldens.py record goldens.json     # before
    python benchmarks/goldens.py compare goldens.json    # after; lists every difference and exits with 1

Trains one tiny seeded run per cell, kind of model and task through the command line, on one thread and on the bundled
sample, and records: the sha256 of weights and graph, the names and shapes of the tensors, the rows of metrics.jsonl
without times, the names of the cache's entries, and what `--json` prints. Records of different versions of torch or
different CPUs differ.
"""

import contextlib
import hashlib
import io
import json
import os
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

CELLS = (
    "lstm lstm-1997 lstm-peephole rnn rnn-relu rnn-output gru orthogonal goru mingru sru qrnn lstm-2d lstm-grid".split()
)
TINY = ["train.device=cpu", "train.threads=1", "train.epochs=1", "train.max_steps=4", "train.precision=fp32"]
SMALL = [*TINY, "model.embedding.width=8", "model.encoder.width=8"]
ENSEMBLES = {"two-members": ["cell-lstm", "linear"], "three-labels": ["three-linear", "three-lstm"]}
TIMES = {"seconds", "tokens_per_second", "run", "bytes", "ms", "load_ms", "text_ms"}


def main() -> None:
    if len(sys.argv) != 3 or sys.argv[1] not in ("record", "compare"):
        sys.exit(__doc__)
    is_record, path = sys.argv[1] == "record", Path(sys.argv[2]).resolve()
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    found = collect()
    if is_record:
        path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", "utf-8")
        print(f"{len(found)} goldens in {path}")
        return
    before = json.loads(path.read_text("utf-8"))
    different = [key for key in sorted(before.keys() | found.keys()) if before.get(key) != found.get(key)]
    for key in different:
        print(f"{key}:\n  before {before.get(key)}\n  now    {found.get(key)}")
    print(f"{len(different)} of {len(before.keys() | found.keys())} goldens differ")
    sys.exit(bool(different))


def collect() -> dict[str, Any]:
    """Return every golden by its name."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ.update(SENTIMENT_DATA=str(root / "data"), SENTIMENT_RUNS=str(root / "runs"))
        os.environ.pop("SENTIMENT_IMDB", None)
        os.chdir(root)
        write_reviews(root / "three.csv")
        for name, command, settings in experiments():
            run = root / "runs" / name
            sentiment(*command, "--name", name, *(part for one in settings for part in ("--set", one)))
            found |= {f"{name}/{key}": value for key, value in files_of(run).items()}
        for name, members in ENSEMBLES.items():
            found[f"json/{name}"] = without_times(
                json.loads(sentiment("ensemble", *members, "--name", name, "--json")), root
            )
        name, command, settings = student()
        sentiment(*command, "--name", name, *(part for one in settings for part in ("--set", one)))
        found |= {f"{name}/{key}": value for key, value in files_of(root / "runs" / name).items()}
        for name, argv in commands().items():
            found[f"json/{name}"] = without_times(json.loads(sentiment(*argv)), root)
        found["cache"] = sorted(
            path.name for path in (root / "data" / "cache").iterdir() if not path.name.startswith(".")
        )
    return found


def experiments() -> list[tuple[str, list[str], list[str]]]:
    """Return the name, the command and the settings of each run."""
    train = ["train", "sample"]
    runs = [(f"cell-{cell}", train, [*SMALL, f"model.encoder.cell={cell}", *stacked(cell)]) for cell in CELLS]
    small = "data.source=sample"
    runs += [
        ("linear", ["train", "linear"], [small, "train.threads=1"]),
        ("bag", ["train", "bag"], [small, *TINY, "model.embedding.width=8", "model.embedding.buckets=512"]),
        ("transformer", ["train", "transformer"], [small, *SMALL, "model.encoder.heads=2"]),
        ("attention", train, [*SMALL, "model.pooling=attention", "train.ema=0.9"]),
        ("refit", train, [*SMALL, "train.refit=true"]),
        ("stars", train, [*SMALL, "data.target=stars"]),
        ("three-lstm", train, ["data.source=three.csv", *SMALL]),
        ("three-linear", ["train", "linear"], ["data.source=three.csv", "train.threads=1"]),
        ("language-model", ["pretrain", "imdb-lm"], [small, *SMALL, "model.language.samples=32", "train.window=16"]),
        ("autoencoder", ["pretrain", "imdb-autoencoder"], [small, *SMALL, "model.language.samples=32"]),
        ("vectors", ["pretrain", "imdb-vectors"], [small, *TINY, "model.embedding.width=8", "train.window=16"]),
    ]
    return runs


def student() -> tuple[str, list[str], list[str]]:
    """Return a run that learns from an ensemble."""
    return "student", ["train", "sample"], [*SMALL, "teacher.run=[two-members]", "teacher.rows=both"]


def write_reviews(path: Path) -> None:
    """Write a table of three labels."""
    parts = {"good": "fine lovely great", "bad": "dull dreadful poor", "mixed": "uneven middling fair"}
    rows = []
    for i in range(180):
        label = list(parts)[i % 3]
        words = parts[label].split()
        rows.append(f"film {i % 7} was {words[i % 3]} and the rest {words[(i // 3) % 3] if i % 5 else 'long'},{label}")
    path.write_text("text,label\n" + "\n".join(rows) + "\n", "utf-8")


def stacked(cell: str) -> list[str]:
    return [] if cell in ("lstm-2d", "lstm-grid") else ["model.encoder.layers=2"]


def commands() -> dict[str, list[str]]:
    """Return the commands whose JSON is recorded."""
    text = "The plot was good, but the music was dreadful."
    return {
        "eval": ["eval", "cell-lstm", "--json"],
        "predict": ["predict", "--run", "cell-lstm", "--json", text],
        "predict-linear": ["predict", "--run", "linear", "--json", text],
        "explain-linear": ["predict", "--run", "linear", "--json", "--explain", text],
        "explain": ["predict", "--run", "cell-gru", "--json", "--explain", "--trace", text],
        "predict-stars": ["predict", "--run", "stars", "--json", "--explain", "--trace", text],
        "eval-stars": ["eval", "stars", "--json"],
        "eval-ensemble": ["eval", "two-members", "--json"],
        "predict-ensemble": ["predict", "--run", "two-members", "--json", "--explain", "--trace", text],
        "eval-three": ["eval", "three-labels", "--data", "three.csv", "--json"],
        "predict-three": ["predict", "--run", "three-labels", "--json", "--explain", "--trace", text],
        "explain-three": ["predict", "--run", "three-linear", "--json", "--explain", "a dull film, and uneven"],
        "explain-lstm-three": ["predict", "--run", "three-lstm", "--json", "--explain", "a dull film, and uneven"],
        "data-info": ["data", "info", "--set", "data.source=sample", "--json"],
        "data-check": ["data", "check", "--set", "data.source=sample", "--json"],
    }


def sentiment(*argv: str) -> str:
    """Run one command of the program in this process; return what it printed to stdout."""
    from sentiment_cli.cli import main as run_command_line

    out, error = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    sys.argv = ["sentiment", *argv]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            run_command_line()
        except SystemExit as ended:
            code = ended.code
    if code:
        sys.exit(f"sentiment {' '.join(argv)} ended with {code}:\n{error.getvalue()}")
    out.flush()
    printed: bytes = out.buffer.getvalue()  # type: ignore[attr-defined]
    return printed.decode("utf-8")


def files_of(run: Path) -> dict[str, Any]:
    """Return the goldens of one run directory."""
    found: dict[str, Any] = {}
    for path in sorted((run / "model").iterdir()):
        if path.suffix in (".onnx", ".safetensors") or path.name in (
            "tokenizer.json",
            "vocabulary.json",
            "labels.json",
        ):
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        if path.suffix == ".safetensors":
            found["tensors"] = {name: about["shape"] for name, about in tensors_of(path.read_bytes()).items()}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    found["metrics"] = without_times(rows, run)
    return found


def tensors_of(data: bytes) -> dict[str, Any]:
    (length,) = struct.unpack("<Q", data[:8])
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    return header


def without_times(value: Any, root: Path) -> Any:
    """Drop what differs from run to run: seconds, rates and the folder."""
    if isinstance(value, dict):
        return {key: without_times(one, root) for key, one in value.items() if key not in TIMES}
    if isinstance(value, list):
        return [without_times(one, root) for one in value]
    return value.replace(str(root), "ROOT") if isinstance(value, str) else value


if __name__ == "__main__":
    main()
