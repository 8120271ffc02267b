"""Train the shipped experiments on IMDb, store each result as a small file, and write docs/leaderboard.md.

    python benchmarks/leaderboard.py                       # seed 0 of every experiment that has no result yet
    python benchmarks/leaderboard.py --seeds 3 default gru  # three seeds of some
    python benchmarks/leaderboard.py --keep runs gru       # and keep the finished runs in a folder
    python benchmarks/leaderboard.py --time gru            # train one again, for the time alone that it takes
    python benchmarks/leaderboard.py --prediction runs     # measure how fast kept runs predict, and how large they are
    python benchmarks/leaderboard.py --rates               # measure how fast each trains beside lstm-bi, taking turns
    python benchmarks/leaderboard.py --table               # only write the table and the picture

Each run is `sentiment train NAME --set seed=N`, then one `sentiment eval`, each in its own process.
benchmarks/results/NAME-seed-N.json holds their output, the experiment's settings, the commit, the hardware and the CPU
share of other processes. Times and rates enter the table only if that share was below 3 %; otherwise `--time` trains
seed 0 again, without evaluating on test. A result is kept until its file is removed; a result of a changed experiment
is reported and left out of the table. Prediction speed is that of the graph, built from the weights if the run has
none, on the validation rows, which must be prepared.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sentiment_cli.config.loader import experiment_values, load_experiment
from sentiment_cli.config.paths import recipes_dir
from sentiment_cli.config.schema import Experiment
from sentiment_cli.console import say

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
# What each line of the table is; the linear model, which all must beat, first.
EXPERIMENTS = {
    "linear": "linear on 1- to 3-grams, naive-Bayes weighted",
    "bag": "bag of words and hashed bigrams",
    "tutorial-rnn": "Elman RNN of a tutorial, width 32",
    "keras-lstm": "LSTM of the Keras example",
    "elman": "Elman RNN, forward",
    "elman-bi": "Elman RNN, both directions",
    "lstm": "LSTM, forward",
    "default": "LSTM, both directions, linear model beside it",
    "lstm-bi": "LSTM, both directions",
    "lstm-stacked": "LSTM, both directions, two layers",
    "lstm-1997": "LSTM of 1997, both directions, no forget gate",
    "gru": "GRU, both directions",
    "gru-attention": "GRU, both directions, attention",
    "goru": "gated orthogonal unit, both directions",
    "mingru": "minGRU, both directions, two layers",
    "lstm-grid": "grid LSTM, time × depth, forward",
    "lstm-2d": "two-dimensional LSTM, sentences × words",
    "transformer": "Transformer encoder",
    "best-labels": "GRU, both directions, linear model beside it",
    "gru-bigrams": "GRU, both directions, words and hashed bigrams",
}
_OTHERS_AT_MOST = 0.03  # of the machine
_ROUNDS, _ROUND_S = 5, 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(EXPERIMENTS)}")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the finished runs there")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--time", action="store_true", help="train seed 0 again, for its time; its scores stay")
    instead.add_argument("--prediction", type=Path, metavar="DIR", help="train nothing; measure the runs kept there")
    instead.add_argument("--rates", action="store_true", help="measure how fast each trains beside lstm-bi")
    instead.add_argument("--table", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    if arguments.time and not all(_is_of_this_machine(name) for name in arguments.names or [""]):
        parser.error(
            "--time needs names of experiments whose seed 0 has a result, of their settings now and this hardware"
        )
    if arguments.prediction:
        measure_prediction(arguments.prediction, arguments.names or list(EXPERIMENTS))
    if arguments.time:
        for name in arguments.names:
            measure_time(name, arguments.keep)
    if arguments.rates:
        measure_rates(arguments.names or list(EXPERIMENTS))
    scores_none = arguments.table or arguments.time or arguments.prediction or arguments.rates
    for seed in range(0 if scores_none else arguments.seeds):
        for name in arguments.names or EXPERIMENTS:
            path = _result_path(name, seed)
            if not path.exists():
                say(f"{name}, seed {seed}")
                result = train_and_score(name, seed, arguments.keep)
                RESULTS.mkdir(exist_ok=True)
                path.write_text(json.dumps(result, indent=2) + "\n")
                say(f"  valid {result['valid_accuracy']:.2%}, test {result['test_accuracy']:.2%} in {path}")
                write_table()
    write_table()


def settings(name: str) -> dict[str, Any]:
    """Give an experiment's settings that are not the schema's own, by dotted key, without its name and seed."""
    plain = _by_key(experiment_values(Experiment(name=name)))
    return {
        key: value
        for key, value in _by_key(experiment_values(load_experiment(name))).items()
        if key not in ("name", "seed") and value != plain.get(key)
    }


def _by_key(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _by_key(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return found


def train_and_score(name: str, seed: int, keep: Path | None) -> dict[str, Any]:
    """Train and score one experiment in processes of their own, and throw the run away unless it is to be kept."""
    with _runs(keep) as environment:
        trained, times = _train(environment, name, seed)
        scored = _sentiment(environment, "eval", trained["run"], "--json")
        weights = Path(trained["run"]) / "model" / "weights.safetensors"
        return {
            "name": name,
            "seed": seed,
            "settings": settings(name),
            "parameters": _count_parameters(weights),
            "model_bytes": weights.stat().st_size,
            "valid_accuracy": trained["valid"]["accuracy"],
            "test_accuracy": scored["accuracy"],
            "test_accuracy_ci95": scored["accuracy_ci95"],
            "test_loss": scored["loss"],
            "n_test": scored["n"],
            "best_epoch": json.loads((Path(trained["run"]) / "summary.json").read_text())["best_epoch"],
            **times,
            "hardware": _hardware(),
            "commit": _commit(),
        }


def measure_time(name: str, keep: Path | None) -> None:
    """Train seed 0 again, and if that had the machine to itself, put its time in the place of the one in the result."""
    say(f"{name}, seed 0, for its time")
    with _runs(keep) as environment:
        trained, times = _train(environment, name, 0)
    if not _was_alone(times["others_share"]):
        say("  left out: it did not have the machine to itself")
        return
    path = _result_path(name, 0)
    result, accuracy = json.loads(path.read_text()), trained["valid"]["accuracy"]
    times["timed"] = {"commit": _commit(), "valid_accuracy": accuracy}
    path.write_text(json.dumps(result | times, indent=2) + "\n")
    say(f"  {times['process_seconds']:.0f} s, valid {accuracy:.2%} (before: {result['valid_accuracy']:.2%}) in {path}")


def _result_path(name: str, seed: int | str) -> Path:
    return RESULTS / f"{name}-seed-{seed}.json"


def _is_of_this_machine(name: str) -> bool:
    path = _result_path(name, 0)
    if name not in EXPERIMENTS or not path.exists():
        return False
    result = json.loads(path.read_text())
    return bool(result["settings"] == settings(name) and result["hardware"] == _hardware())


def _was_alone(others_share: float | None) -> bool:
    return others_share is not None and others_share < _OTHERS_AT_MOST


def measure_rates(names: list[str]) -> None:
    """Train all experiments in turn, some seconds each, and add to results what their tokens/s are of lstm-bi's.

    A ratio is the median of those of the rounds, so that a machine that slows down slows all of a round.
    """
    from steps import run_for, train

    others, trainings, rates = _Others(), {}, defaultdict[str, list[float]](list)
    for name in ("lstm-bi", *names):
        experiment = load_experiment(name)
        if experiment.model.kind != "linear" and name not in trainings and _result_path(name, 0).exists():
            trainings[name] = train(experiment)
            next(trainings[name])
    for round_ in range(_ROUNDS):
        for name, steps in trainings.items():
            n_tokens, _, spent = run_for(steps, _ROUND_S)
            rates[name].append(n_tokens / spent)
            say(f"round {round_ + 1}, {name}: {rates[name][-1]:,.0f} tokens/s")
    share = others.share()
    for name, found in rates.items():
        ratio = statistics.median(own / base for own, base in zip(found, rates["lstm-bi"], strict=True))
        fields = {"rate_of_lstm_bi": ratio, "rate_others_share": share, "rate_commit": _commit()}
        path = _result_path(name, 0)
        path.write_text(json.dumps(json.loads(path.read_text()) | fields, indent=2) + "\n")


@contextmanager
def _runs(keep: Path | None) -> Iterator[dict[str, str]]:
    """Give the environment in which runs are written to a folder, by default to one that goes away."""
    with tempfile.TemporaryDirectory(prefix="leaderboard-") as folder:
        yield {**os.environ, "SENTIMENT_RUNS": str((keep or Path(folder)).absolute())}


def _train(environment: dict[str, str], name: str, seed: int) -> tuple[Any, dict[str, Any]]:
    """Train, and return what the command printed and how long it took."""
    began, others = time.monotonic(), _Others()
    trained = _sentiment(environment, "train", name, "--set", f"seed={seed}", "--name", f"{name}-{seed}", "--json")
    return trained, {
        "process_seconds": time.monotonic() - began,
        "seconds": trained["seconds"],
        "tokens_per_second": trained["tokens_per_second"],
        "others_share": others.share(),
    }


def measure_prediction(kept: Path, names: list[str]) -> None:
    """Add to the results of kept runs how fast their graphs are and how large."""
    from sentiment_cli.evaluation.export_quality import measure, prepare_eval_rows, reason_to_refuse
    from sentiment_cli.inference.export import graphs_of
    from sentiment_cli.onnx.builder import NoGraphError
    from sentiment_cli.runs.saved_model import open_artefact

    for run in sorted(kept.iterdir()):
        name, _, seed = run.name.rpartition("-")
        path = _result_path(name, seed)
        if name not in names or not path.exists() or not (run / "model").is_dir():
            continue
        artefact = open_artefact(run)
        try:
            graph = graphs_of(artefact, ["fp32"])["fp32"].data
        except NoGraphError as error:
            say(f"{run.name} has no graph: {error}")
            continue
        trial, others = prepare_eval_rows(artefact), _Others()
        worth = measure(graph, artefact, trial, run.name)
        if reason := reason_to_refuse("fp32", worth):
            say(f"{run.name} is left out: {reason}")
            continue
        fields = {
            "predict_tokens_per_second": worth.tokens_per_second,
            "predict_one_ms": worth.one_text_s * 1000,
            "graph_bytes": worth.bytes,
            "predict_others_share": others.share(),
        }
        path.write_text(json.dumps(json.loads(path.read_text()) | fields, indent=2) + "\n")
        say(f"{run.name}: {worth.tokens_per_second:,.0f} tokens/s, {worth.one_text_s * 1000:.1f} ms in {path}")


def _sentiment(environment: dict[str, str], *args: str) -> Any:
    command = [sys.executable, "-m", "sentiment_cli", *args]
    done = subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
    return json.loads(done.stdout)


class _Others:
    """Measure the CPU share of processes other than our children (Linux)."""

    def __init__(self) -> None:
        self._busy, self._own, self._began = _busy_s(), _children_s(), time.monotonic()

    def share(self) -> float | None:
        busy = _busy_s()
        if busy is None or self._busy is None:
            return None
        spent = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        return max(0.0, busy - self._busy - (_children_s() - self._own)) / spent


def _busy_s() -> float | None:
    try:
        user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split()[1:9])
    except OSError:
        return None
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _children_s() -> float:
    times = os.times()
    return times.children_user + times.children_system + times.user + times.system


def _count_parameters(path: Path) -> int:
    """Return the number of parameters in a safetensors file, from its JSON header."""
    with path.open("rb") as handle:
        header = json.loads(handle.read(int.from_bytes(handle.read(8), "little")))
    shapes = [
        tensor["shape"] for name, tensor in header.items() if name != "__metadata__" and tensor["dtype"][0] == "F"
    ]
    return sum(_product(shape) for shape in shapes)


def _product(shape: list[int]) -> int:
    found = 1
    for size in shape:
        found *= size
    return found


def _hardware() -> str:
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return f"{os.cpu_count()} cores of {model}"


def _processor(result: dict[str, Any]) -> str:
    """Return the maker and family of a result's processor: two words, without the marks."""
    named = result["hardware"].partition(" cores of ")[2].replace("(R)", "")
    return " ".join(named.split()[:2])


def _commit() -> str:
    return _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "sentiment_cli") else "")


def _git(*args: str) -> str:
    return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def write_table() -> None:
    """Write docs/leaderboard.md and docs/leaderboard.svg from the results there are."""
    shipped = {path.stem for path in recipes_dir().glob("*.yaml")}
    rows, to_come, points = [], [], []
    for name, what in EXPERIMENTS.items():
        found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob(f"{name}-seed-*.json"))]
        current = [one for one in found if name in shipped and one["settings"] == settings(name)]
        if len(current) < len(found):
            say(f"{name}: {len(found) - len(current)} results are of another experiment than configs/{name}.yaml now")
        if not current:
            to_come.append(f"| {what} | `{name}` | | | | | | | | | | to come |")
            continue
        alone = [one for one in current if _was_alone(one["others_share"])]
        seconds = (
            statistics.mean(one["process_seconds"] - one["seconds"]["prepare"] for one in alone) if alone else None
        )
        rate = statistics.mean(one["tokens_per_second"] for one in alone) if alone else None
        test = _mean(current, "test_accuracy")
        cells = [
            what,
            f"`{name}`",
            f"{current[0]['parameters']:,}",
            _shown(current, "valid_accuracy"),
            _shown(current, "test_accuracy"),
            "beside others" if seconds is None else f"{seconds:,.0f}",
            "" if rate is None else f"{rate:,.0f}",
            _rate_cell(current[0]),
            *_prediction_cells(current),
            f"n = {len(current)}, {', '.join(sorted({one['commit'] for one in current}))}{_timed_at(alone)}, "
            f"{', '.join(sorted({_processor(one) for one in current}))}",
        ]
        rows.append((test, f"| {' | '.join(cells)} |"))
        if seconds is not None:
            points.append((name, seconds, test))
    lines = [row for _, row in sorted(rows, reverse=True)] + to_come
    (ROOT / "docs" / "leaderboard.md").write_text(_PAGE.format(rows="\n".join(lines)))
    _draw(points)


_PAGE = """# Leaderboard

Accuracy of each model on IMDb, trained on labels only, best first. `python benchmarks/leaderboard.py` trains the
models, evaluates each finished run on test once, and writes this page from `benchmarks/results/`. All choices were made
on validation rows, held out by movie (for `tutorial-rnn` and `keras-lstm` by row, as in the originals). Figures are
means, with the standard deviation over n seeds where n > 1. Seconds are those of the whole process without data
preparation, on two cores of the processor that the row names, without other load on the machine: if no evaluated run
qualifies, seed 0 is trained again. Seconds on different processors should not be compared. The machine is shared, and
training can take twice as long in some hours. × lstm-bi is independent of that: it is the training speed in tokens/s
relative to `lstm-bi`, with interleaved measurements (`--rates`). Predicted tokens per second (all validation reviews)
and milliseconds (one review of median length) are those of the exported float32 graph
on tokenized texts; megabytes are its size. With one seed, differences below half a point are not reliable.

| model | experiment | parameters | validation % | test % | seconds | tokens/s | × lstm-bi | predicted/s | one, ms \
| MB | runs, commit, processor |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|
{rows}

![Accuracy against training time](leaderboard.svg)
"""


def _prediction_cells(results: list[dict[str, Any]]) -> list[str]:
    """Give rate and time of prediction, of results that were measured alone, and size; blank where there are none."""
    sizes = [one["graph_bytes"] for one in results if "graph_bytes" in one]
    alone = [one for one in results if _was_alone(one.get("predict_others_share"))]
    rate, one_ms = "", ""
    if alone:
        rate, one_ms = f"{_mean(alone, 'predict_tokens_per_second'):,.0f}", f"{_mean(alone, 'predict_one_ms'):.1f}"
    return [rate, one_ms, f"{statistics.mean(sizes) / 1e6:.1f}" if sizes else ""]


def _rate_cell(result: dict[str, Any]) -> str:
    return f"{result['rate_of_lstm_bi']:.2f}" if _was_alone(result.get("rate_others_share")) else ""


def _timed_at(results: list[dict[str, Any]]) -> str:
    commits = sorted({one["timed"]["commit"] for one in results if "timed" in one})
    return f", timed at {', '.join(commits)}" if commits else ""


def _mean(results: list[dict[str, Any]], key: str) -> float:
    return float(statistics.mean(one[key] for one in results))


def _shown(results: list[dict[str, Any]], key: str) -> str:
    mean = _mean(results, key) * 100
    if len(results) == 1:
        return f"{mean:.2f}"
    return f"{mean:.2f} ± {statistics.stdev(one[key] * 100 for one in results):.2f}"


def _draw(points: list[tuple[str, float, float]]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "leaderboard"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for name, seconds, accuracy in points:
        axes.plot(seconds, accuracy * 100, "o", color="tab:red" if name == "linear" else "tab:blue")
        axes.annotate(name, (seconds, accuracy * 100), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("seconds of training, two CPU cores")
    axes.set_ylabel("test accuracy, %")
    axes.grid(alpha=0.3)
    figure.savefig(ROOT / "docs" / "leaderboard.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
