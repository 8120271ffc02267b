"""`sentiment train FILE` as typed, beside scikit-learn and fastText, on a folder of data sets: accuracy, F1, seconds.

    python benchmarks/datasets.py SETS [--only NAME …] [--seeds 0 1 2]

SETS holds NAME-train.csv and NAME-test.csv, columns text and label. Ours is trained in a process of its own, its test
rows are scored once, at the end; so are those of the candidates, the linear model and the network alone. The others are
logistic regression (C = 10) on TF-IDF of words and word pairs, and of characters within words (char_wb, 2 to 5), and
fastText with bigrams where it is installed; nothing is drawn in them, and they are trained once. The results of a seed
replace those of an earlier run in results/datasets.json, from which docs/datasets.md is written.
"""

import argparse
import csv
import importlib.util
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS, TINY, PAGE = (
    HERE / "results" / "datasets.json",
    HERE / "results" / "tiny-sets.json",
    HERE.parent / "docs" / "datasets.md",
)
OURS, WORDS, CHARACTERS, FASTTEXT = "sentiment train FILE", "words 1-2 + LR", "characters 2-5 + LR", "fastText"
Rows = list[tuple[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", metavar="SETS", type=Path)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these sets alone")
    parser.add_argument("--seeds", nargs="+", metavar="N", type=int, default=[0], help="the seeds of ours")
    asked = parser.parse_args()
    names = asked.only or sorted(path.name.removesuffix("-train.csv") for path in asked.sets.glob("*-train.csv"))
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for seed, name in itertools.product(asked.seeds, names):
        files = [asked.sets / f"{name}-{split}.csv" for split in ("train", "test")]
        train, test = (read_rows(file) for file in files)
        one = found.setdefault(name, {"seeds": {}, "references": {}})
        one |= {"train": len(train), "test": len(test), "labels": len({label for _, label in train})}
        one["seeds"][str(seed)] = ours(*files, seed)
        print(name, seed, json.dumps(one["seeds"][str(seed)]), flush=True)
        if not one["references"]:
            one["references"] = references(train, test)
        RESULTS.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")
        write_page()


def references(train: Rows, test: Rows) -> dict[str, dict[str, float]]:
    found = {WORDS: regression(train, test, "word"), CHARACTERS: regression(train, test, "char_wb")}
    if importlib.util.find_spec("fasttext") is not None:
        found[FASTTEXT] = fasttext_scores(train, test)
    return found


def write_page() -> None:
    """Write docs/datasets.md from all results."""
    found, tiny = (json.loads(path.read_text()) if path.exists() else {} for path in (RESULTS, TINY))
    PAGE.write_text(page(found, tiny))


def read_rows(path: Path) -> Rows:
    csv.field_size_limit(10**9)
    with path.open(newline="", encoding="utf-8") as handle:
        return [(row["text"], row["label"]) for row in csv.DictReader(handle)]


def ours(train: Path, test: Path, seed: int) -> dict[str, Any]:
    """Train as typed, then open the test rows once for what was kept and for each candidate alone."""
    sentiment = [sys.executable, "-m", "sentiment_cli"]
    with tempfile.TemporaryDirectory() as scratch:
        env = {**os.environ, "SENTIMENT_DATA": f"{scratch}/data", "SENTIMENT_RUNS": f"{scratch}/runs"}
        env.setdefault("GOMP_SPINCOUNT", "1000")
        began, before = time.monotonic(), cpu_seconds()
        command = [*sentiment, "train", str(train), "--test", str(test), "--json"]
        command += ["--set", f"seed={seed}"] if seed else []
        load = os.getloadavg()[0]
        done = subprocess.run(command, check=True, capture_output=True, env=env)
        seconds, cpu, made = time.monotonic() - began, cpu_seconds() - before, json.loads(done.stdout)
        runs = {made["kept"]: made["run"]}
        for one in made["tried"]:
            runs.setdefault(one["name"], f"{made['run']}/candidates/{one['name']}")
        if made["kept"] != "ensemble":
            runs.pop("ensemble", None)
        scores = {}
        for name, run in runs.items():
            scored = subprocess.run([*sentiment, "eval", run, "--json"], check=True, capture_output=True, env=env)
            scores[name] = {key: json.loads(scored.stdout)[key] for key in ("accuracy", "f1")}
    chosen = [
        line.removeprefix("chosen: ") for line in done.stderr.decode().splitlines() if line.startswith("chosen: ")
    ]
    tried = {
        one["name"]: {
            "valid_accuracy": one["scores"]["accuracy"],
            "valid_loss": one["scores"]["loss"],
            "seconds": one["seconds"],
            **{f"test_{key}": value for key, value in scores.get(one["name"], {}).items()},
        }
        for one in made["tried"]
    }
    found = {**scores[made["kept"]], "seconds": seconds, "cpu_seconds": cpu, "kept": made["kept"], "tried": tried}
    return {**found, "chosen": chosen, "load": load, "cores": os.cpu_count(), "commit": commit()}


def cpu_seconds() -> float:
    """Return the CPU seconds of the processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def regression(train: Rows, test: Rows, analyzer: str) -> dict[str, float]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    orders = (1, 2) if analyzer == "word" else (2, 5)
    began = time.monotonic()
    vectorizer = TfidfVectorizer(analyzer=analyzer, ngram_range=orders, sublinear_tf=True)
    model = make_pipeline(vectorizer, LogisticRegression(C=10, max_iter=1000))
    model.fit([text for text, _ in train], [label for _, label in train])
    predicted = model.predict([text for text, _ in test])
    return scores_of([label for _, label in test], list(predicted), time.monotonic() - began)


def fasttext_scores(train: Rows, test: Rows) -> dict[str, float]:
    import fasttext

    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("".join(f"__label__{label} {' '.join(text.lower().split())}\n" for text, label in train))
        file.flush()
        began = time.monotonic()
        model = fasttext.train_supervised(file.name, lr=0.5, epoch=25, wordNgrams=2, thread=1, verbose=0)
    predicted = [model.predict(" ".join(text.lower().split()))[0][0].removeprefix("__label__") for text, _ in test]
    return scores_of([label for _, label in test], predicted, time.monotonic() - began)


def scores_of(truth: list[str], predicted: list[str], seconds: float) -> dict[str, float]:
    from sklearn.metrics import accuracy_score, f1_score

    f1 = f1_score(truth, predicted, average="macro")
    return {"accuracy": accuracy_score(truth, predicted), "f1": float(f1), "seconds": seconds}


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True)
    return done.stdout.strip()


def page(found: dict[str, Any], tiny: dict[str, Any]) -> str:
    """Return docs/datasets.md: the sets as they are, then a few of their rows."""
    found = {name: one for name, one in found.items() if one["seeds"]}
    names = [name for name in (WORDS, CHARACTERS, FASTTEXT) if any(name in one["references"] for one in found.values())]
    lines = [
        "# Data sets that are not IMDb",
        "",
        "Test accuracy in % (macro F1) of `sentiment train FILE --test FILE`, of its candidates alone, and of",
        "references trained on the same files: logistic regression (C = 10) on TF-IDF of words and word pairs, and of",
        "characters within words (`char_wb`, 2 to 5). Of several seeds, the mean and the standard deviation are given;",
        "the linear model draws nothing. Settings were chosen on validation rows of the training files, by no test",
        "row. Written by `python benchmarks/datasets.py SETS --seeds 0 1 2`.",
        "",
        f"| set | train / test | labels | seeds | `{OURS}` | linear alone | network alone | {' | '.join(names)} |",
        f"|---|---:|---:|---:|---:|---:|---:|{'---:|' * len(names)}",
    ]
    for name, one in found.items():
        seeds = list(one["seeds"].values())
        cells = [spread(seeds), *(spread([alone for seed in seeds if (alone := of(seed))]) for of in (linear, network))]
        cells += [spread([one["references"][model]]) for model in names]
        counts = f"{one['train']:,} / {one['test']:,} | {one['labels']} | {len(seeds)}"
        lines.append(f"| {name} | {counts} | {' | '.join(cells)} |")
    if found:
        ours = statistics.fmean(mean(one["seeds"].values()) for one in found.values())
        means = [statistics.fmean(one["references"][model]["accuracy"] for one in found.values()) for model in names]
        cells = [f"{100 * ours:.1f}", "", "", *(f"{100 * value:.1f}" for value in means)]
        lines.append(f"| mean of {len(found)} | | | | {' | '.join(cells)} |")
    lines += [
        "",
        "What was tried, by validation accuracy in % (log loss), and what was kept. Seconds are of the whole command,",
        "CPU seconds of all threads together; all are those of the quickest seed, with the load at its start:",
        "",
        "| set | linear | characters | network | ensemble | kept, by seed | seconds | CPU s | load, cores | commit |",
        "|---|---:|---:|---:|---:|---|---:|---:|---|---|",
    ]
    for name, one in found.items():
        seeds = list(one["seeds"].values())
        quickest, kept = min(seeds, key=lambda seed: seed["seconds"]), Counter(seed["kept"] for seed in seeds)
        tried = quickest["tried"]
        cells = [tried_cell(tried.get(model)) for model in ("linear", "characters", network_of(quickest), "ensemble")]
        said = ", ".join(f"{model} {n}" for model, n in sorted(kept.items()))
        where = f"{quickest['load']:.1f}, {quickest['cores']} | {quickest['commit']}"
        spent = f"{quickest['seconds']:.0f} | {quickest['cpu_seconds']:.0f}"
        lines.append(f"| {name} | {' | '.join(cells)} | {said} | {spent} | {where} |")
    return "\n".join([*lines, *tiny_lines(tiny)]) + "\n"


def network_of(seed: dict[str, Any]) -> str:
    """Return the name of the network that was tried; empty where there was none."""
    return next((model for model in seed["tried"] if model not in ("linear", "characters", "ensemble")), "")


def linear(seed: dict[str, Any]) -> dict[str, float] | None:
    return alone(seed, "linear")


def network(seed: dict[str, Any]) -> dict[str, float] | None:
    return alone(seed, network_of(seed))


def alone(seed: dict[str, Any], model: str) -> dict[str, float] | None:
    """Return the test scores of a candidate alone."""
    tried = seed["tried"].get(model)
    return None if tried is None else {"accuracy": tried["test_accuracy"], "f1": tried["test_f1"]}


def tiny_lines(tiny: dict[str, Any]) -> list[str]:
    """Return the section on a few rows."""
    if not tiny:
        return []
    lines = [
        "",
        "## A few rows",
        "",
        "Mean test accuracy in %, and its standard deviation over the draws. The gain is over the better reference of",
        "each line, on the same draws, with its standard error. Written by `python benchmarks/tiny_sets.py SETS`.",
        "",
        f"| set | rows | draws | `{OURS}` | {WORDS} | {CHARACTERS} | gain | kept | commit |",
        "|---|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    for one in sorted(tiny.values(), key=lambda one: (one["set"], one["rows"])):
        draws = one["draws"]
        of = {model: [draw[model]["accuracy"] for draw in draws] for model in (OURS, WORDS, CHARACTERS)}
        spreads = [f"{100 * statistics.fmean(of[model]):.1f} ± {100 * deviation(of[model]):.1f}" for model in of]
        gain, error = gain_of(draws)
        kept = Counter(draw[OURS]["kept"] for draw in draws)
        said = ", ".join(f"{model} {n}" for model, n in sorted(kept.items()))
        cells = f"{' | '.join(spreads)} | {100 * gain:+.1f} ± {100 * error:.1f} | {said} | {one['commit']}"
        lines.append(f"| {one['set']} | {one['rows']:,} | {len(draws)} | {cells} |")
    return lines


def gain_of(draws: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the mean gain over the reference that is better on average, and its standard error over the draws."""
    references = (WORDS, CHARACTERS)
    best = max(references, key=lambda model: statistics.fmean(draw[model]["accuracy"] for draw in draws))
    gains = [draw[OURS]["accuracy"] - draw[best]["accuracy"] for draw in draws]
    return statistics.fmean(gains), deviation(gains) / len(gains) ** 0.5


def deviation(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def mean(scores: Iterable[dict[str, float]], key: str = "accuracy") -> float:
    return statistics.fmean(one[key] for one in scores)


def spread(scores: list[dict[str, float]]) -> str:
    """Return accuracy and macro F1 in %: their means, and the deviation of the accuracy over different scores."""
    if not scores:
        return "-"
    values = [100 * one["accuracy"] for one in scores]
    about = f" ± {deviation(values):.1f}" if len(set(values)) > 1 else ""
    return f"{statistics.fmean(values):.1f}{about} ({100 * mean(scores, 'f1'):.1f})"


def tried_cell(one: dict[str, float] | None) -> str:
    return "-" if one is None else f"{100 * one['valid_accuracy']:.1f} ({one['valid_loss']:.3f})"


if __name__ == "__main__":
    main()
