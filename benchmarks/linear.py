"""The linear model beside scikit-learn's and fastText's on the IMDb archive: seconds, memory, test accuracy.

    SENTIMENT_IMDB=aclImdb_v1.tar.gz python benchmarks/linear.py [--fasttext PYTHON]

Prints Markdown. Every row is a process of its own. Ours reads the archive, trains with validation held out, validates,
trains on all 25,000 reviews and writes the run; `training` is the last training alone, from tokens at hand. The others
are given texts in a file and train once on all 25,000; `training` includes making tokens of them.

scikit-learn: binary counts of words and bigrams, logistic regression, all else by default. fastText: the settings of
its own classification-results.sh; PYTHON is one that can import fasttext.
"""

import argparse
import itertools
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.data.corpus.raw_texts import prepare_texts
from sentiment_cli.data.sources.source import find_source

# A process of its own in between: the system counts a parent's memory as its child's.
_LAUNCH = """import resource, subprocess, sys, time
began = time.monotonic()
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)"""
_FASTTEXT = """import fasttext, json, sys, time
train, test, answer, n = sys.argv[1:]
began = time.monotonic()
model = fasttext.train_supervised(
    train, dim=10, lr=0.5, epoch=5, minCount=1, bucket=10_000_000, wordNgrams=int(n), thread=2, verbose=0
)
spent = time.monotonic() - began
json.dump([spent, model.test(test)[1]], open(answer, "w"))"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fasttext", metavar="PYTHON", help="compare with fastText, too")
    parser.add_argument("--scikit-learn", nargs=2, metavar=("TEXTS", "ANSWER"), type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.scikit_learn:
        scikit_learn(*asked.scikit_learn)
        return
    os.environ["GOMP_SPINCOUNT"] = "1000"
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        os.environ["SENTIMENT_DATA"], os.environ["SENTIMENT_RUNS"] = str(root / "data"), str(root / "runs")
        print("| model | training | whole process | peak memory | test accuracy |\n|---|---:|---:|---:|---:|")
        ours(root)
        answer = root / "answer.json"
        write_texts(root)
        own = [sys.executable, __file__, "--scikit-learn", str(root), str(answer)]
        row("scikit-learn, 1 to 2 words", own, answer)
        for n in (2, 3) if asked.fasttext else ():
            files = [str(root / f"{split}.fasttext") for split in ("train", "test")]
            command = [asked.fasttext, "-W", "ignore", "-c", _FASTTEXT, *files, str(answer), str(n)]
            row(f"fastText, 1 to {n} words", command, answer)


def ours(root: Path) -> None:
    """Train and evaluate the shipped experiment."""
    sentiment = [sys.executable, "-m", "sentiment_cli"]
    whole_s, megabytes = launch([*sentiment, "train", "linear", "--name", "linear"])
    rows = [json.loads(line) for line in (root / "runs" / "linear" / "metrics.jsonl").read_text().splitlines()]
    scored = subprocess.run([*sentiment, "eval", "linear", "--json"], check=True, capture_output=True)
    training_s = rows[1]["seconds"] - rows[0]["seconds"]
    show("`sentiment train linear`", training_s, whole_s, megabytes, json.loads(scored.stdout)["accuracy"])


def write_texts(root: Path) -> None:
    """Write the labelled texts, shuffled, as JSON Lines and as fastText reads them; it learns them in their order."""
    texts = prepare_texts(find_source(load_experiment(None).data), "labelled")
    for split in ("train", "test"):
        rows = list(zip(texts.rows(split).label_N.tolist(), itertools.chain(*texts.read(split)), strict=True))
        random.Random(0).shuffle(rows)
        with (root / f"{split}.jsonl").open("w") as lines, (root / f"{split}.fasttext").open("w") as marked:
            for label, text in rows:
                lines.write(json.dumps([label, text]) + "\n")
                words = re.findall(r"\w+(?:'\w+)*|[^\w\s]", text.replace("<br />", " ").lower())
                marked.write(f"__label__{label} {' '.join(words)}\n")


def scikit_learn(root: Path, answer: Path) -> None:
    """Train and score, in the process that is measured."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    rows = {split: [json.loads(line) for line in (root / f"{split}.jsonl").open()] for split in ("train", "test")}
    labels, texts = zip(*rows["train"], strict=True)
    began = time.monotonic()
    vectorizer = CountVectorizer(binary=True, ngram_range=(1, 2))
    model = LogisticRegression(max_iter=1000).fit(vectorizer.fit_transform(texts), labels)
    spent = time.monotonic() - began
    labels, texts = zip(*rows["test"], strict=True)
    answer.write_text(json.dumps([spent, float(model.score(vectorizer.transform(texts), labels))]))


def row(name: str, command: list[str], answer: Path) -> None:
    """Measure a command that writes its training seconds and its accuracy into `answer`."""
    whole_s, megabytes = launch(command)
    training_s, accuracy = json.loads(answer.read_text())
    show(name, training_s, whole_s, megabytes, accuracy)


def launch(command: list[str]) -> tuple[float, float]:
    """Run a command; return its seconds and its peak memory in MB."""
    done = subprocess.run([sys.executable, "-c", _LAUNCH, *command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    seconds, kilobytes = map(float, done.stdout.split())
    return seconds, kilobytes * 1024 / 1e6


def show(name: str, training_s: float, whole_s: float, megabytes: float, accuracy: float) -> None:
    print(f"| {name} | {training_s:.1f} s | {whole_s:.1f} s | {megabytes:,.0f} MB | {accuracy:.2%} |", flush=True)


if __name__ == "__main__":
    main()
