"""`sentiment train FILE` as typed, beside scikit-learn and fastText, on a folder of data sets: accuracy, F1, seconds.

    python benchmarks/datasets.py SETS [--only NAME …]

SETS holds NAME-train.csv and NAME-test.csv, columns text and label. Ours is trained in a process of its own, its test
rows are scored once, at the end. The others are logistic regression (C = 10) on TF-IDF of words and word pairs, and of
characters within words (char_wb, 2 to 5), and fastText with bigrams where it is installed. The results of a set replace
those of an earlier run in results/datasets.json, from which docs/datasets.md is written.
"""

import argparse
import csv
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
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
    asked = parser.parse_args()
    names = asked.only or sorted(path.name.removesuffix("-train.csv") for path in asked.sets.glob("*-train.csv"))
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in names:
        files = [asked.sets / f"{name}-{split}.csv" for split in ("train", "test")]
        train, test = (read_rows(file) for file in files)
        models = {
            OURS: ours(*files),
            WORDS: regression(train, test, "word"),
            CHARACTERS: regression(train, test, "char_wb"),
        }
        if importlib.util.find_spec("fasttext") is not None:
            models[FASTTEXT] = fasttext_scores(train, test)
        found[name] = {"train": len(train), "test": len(test), "labels": len({label for _, label in train})}
        found[name] |= {"models": models, "load": os.getloadavg()[0], "cores": os.cpu_count(), "commit": commit()}
        print(name, json.dumps(models), flush=True)
        RESULTS.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")
        write_page()


def write_page() -> None:
    """Write docs/datasets.md from all results."""
    found, tiny = (json.loads(path.read_text()) if path.exists() else {} for path in (RESULTS, TINY))
    PAGE.write_text(page(found, tiny))


def read_rows(path: Path) -> Rows:
    csv.field_size_limit(10**9)
    with path.open(newline="", encoding="utf-8") as handle:
        return [(row["text"], row["label"]) for row in csv.DictReader(handle)]


def ours(train: Path, test: Path) -> dict[str, Any]:
    """Train as typed, then open the test rows once."""
    sentiment = [sys.executable, "-m", "sentiment_cli"]
    with tempfile.TemporaryDirectory() as scratch:
        env = {**os.environ, "SENTIMENT_DATA": f"{scratch}/data", "SENTIMENT_RUNS": f"{scratch}/runs"}
        env.setdefault("GOMP_SPINCOUNT", "1000")
        began, before = time.monotonic(), cpu_seconds()
        command = [*sentiment, "train", str(train), "--test", str(test), "--json"]
        done = subprocess.run(command, check=True, capture_output=True, env=env)
        seconds, cpu, made = time.monotonic() - began, cpu_seconds() - before, json.loads(done.stdout)
        scored = subprocess.run([*sentiment, "eval", made["run"], "--json"], check=True, capture_output=True, env=env)
        scores = json.loads(scored.stdout)
    chosen = [
        line.removeprefix("chosen: ") for line in done.stderr.decode().splitlines() if line.startswith("chosen: ")
    ]
    tried = {
        one["name"]: {
            "valid_accuracy": one["scores"]["accuracy"],
            "valid_loss": one["scores"]["loss"],
            "seconds": one["seconds"],
        }
        for one in made["tried"]
    }
    found = {"accuracy": scores["accuracy"], "f1": scores["f1"], "seconds": seconds, "cpu_seconds": cpu}
    return {**found, "kept": made["kept"], "tried": tried, "chosen": chosen}


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
    names = [
        name for name in (OURS, WORDS, CHARACTERS, FASTTEXT) if any(name in one["models"] for one in found.values())
    ]
    lines = [
        "# Data sets that are not IMDb",
        "",
        "Test accuracy in % (macro F1; seconds) of `sentiment train FILE --test FILE` and of references",
        "trained on the same files: logistic regression (C = 10) on TF-IDF of words and word pairs, and of characters",
        "within words (`char_wb`, 2 to 5). Settings were chosen on validation rows of the training files, by no",
        "test row; one seed. Seconds are of the whole command, with the load that the next table gives. Written by",
        "`python benchmarks/datasets.py SETS`.",
        "",
        f"| set | train / test | labels | {' | '.join(f'`{name}`' if name == OURS else name for name in names)} |",
        f"|---|---:|---:|{'---:|' * len(names)}",
    ]
    for name, one in found.items():
        cells = [cell(one["models"].get(model)) for model in names]
        lines.append(f"| {name} | {one['train']:,} / {one['test']:,} | {one['labels']} | {' | '.join(cells)} |")
    if found:
        lines.append(f"| mean of {len(found)} | | | {' | '.join(mean_of(found, model) for model in names)} |")
    lines += [
        "",
        "What was tried, by validation accuracy in % (log loss; seconds of training), and what was kept. CPU seconds",
        "are of the whole command, all threads together:",
        "",
        "| set | linear | characters | network | ensemble | kept | CPU s | load, cores | commit |",
        "|---|---:|---:|---:|---:|---|---:|---|---|",
    ]
    for name, one in found.items():
        mine = one["models"][OURS]
        tried = mine["tried"]
        network = next((model for model in tried if model not in ("linear", "characters", "ensemble")), "")
        cells = [tried_cell(tried.get(model)) for model in ("linear", "characters", network, "ensemble")]
        cpu = f"{mine['cpu_seconds']:.0f}" if "cpu_seconds" in mine else "-"
        where = f"{one['load']:.1f}, {one['cores']} | {one['commit']}"
        lines.append(f"| {name} | {' | '.join(cells)} | {mine['kept']} | {cpu} | {where} |")
    return "\n".join([*lines, *tiny_lines(tiny)]) + "\n"


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


def mean_of(found: dict[str, Any], model: str) -> str:
    scores = [one["models"].get(model) for one in found.values()]
    return "-" if None in scores else f"{100 * statistics.fmean(one['accuracy'] for one in scores):.1f}"


def cell(scores: dict[str, float] | None) -> str:
    if scores is None:
        return "-"
    return f"{100 * scores['accuracy']:.1f} ({100 * scores['f1']:.1f}; {scores['seconds']:.0f} s)"


def tried_cell(one: dict[str, float] | None) -> str:
    if one is None:
        return "-"
    return f"{100 * one['valid_accuracy']:.1f} ({one['valid_loss']:.3f}; {one['seconds']:.0f} s)"


if __name__ == "__main__":
    main()
