"""`sentiment train FILE` on a few rows, beside the best reference: 50, 200 and 1,000 rows, five draws of each.

    python benchmarks/tiny_sets.py SETS [--only NAME …] [--rows N …] [--draws N]

SETS is as for datasets.py. A draw takes rows from NAME-train.csv, of each label its share, and each model is scored
once on all of NAME-test.csv. The result of a set and a size replaces that of an earlier run in results/tiny-sets.json,
from which datasets.py writes its page. Everything runs in this process, one model after another.
"""

import argparse
import contextlib
import csv
import io
import json
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from datasets import CHARACTERS, OURS, TINY, WORDS, Rows, commit, gain_of, read_rows, regression, write_page

NAMES, SIZES, DRAWS = ("sms", "sst2", "waimai"), (50, 200, 1000), 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", metavar="SETS", type=Path)
    parser.add_argument("--only", nargs="+", metavar="NAME", default=NAMES, help="these sets alone")
    parser.add_argument("--rows", nargs="+", metavar="N", type=int, default=SIZES, help="these sizes alone")
    parser.add_argument("--draws", metavar="N", type=int, default=DRAWS)
    asked = parser.parse_args()
    for name in asked.only:
        train, test = (read_rows(asked.sets / f"{name}-{split}.csv") for split in ("train", "test"))
        for n_rows in asked.rows:
            began = time.monotonic()
            draws = [score_draw(draw(train, n_rows, seed), test) for seed in range(asked.draws)]
            found: dict[str, Any] = json.loads(TINY.read_text()) if TINY.exists() else {}
            found[f"{name}-{n_rows}"] = {
                "set": name,
                "rows": n_rows,
                "draws": draws,
                "seconds": time.monotonic() - began,
                "load": os.getloadavg()[0],
                "commit": commit(),
            }
            print(name, n_rows, *(f"{100 * figure:+.2f}" for figure in gain_of(draws)), flush=True)
            TINY.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")
            write_page()


def draw(rows: Rows, n_rows: int, seed: int) -> Rows:
    """Return that many rows, of each label its share, one at least."""
    generator, left = random.Random(seed), n_rows
    of_label: dict[str, Rows] = {}
    for row in rows:
        of_label.setdefault(row[1], []).append(row)
    drawn = Rows()
    labels = sorted(of_label, key=lambda label: len(of_label[label]))
    for i, label in enumerate(labels):
        is_last = i == len(labels) - 1
        n = left if is_last else max(1, round(n_rows * len(of_label[label]) / len(rows)))
        drawn += generator.sample(of_label[label], n)
        left -= n
    generator.shuffle(drawn)
    return drawn


def score_draw(train: Rows, test: Rows) -> dict[str, Any]:
    """Train ours and the references on the rows; return accuracy and macro F1 on test."""
    references = {WORDS: regression(train, test, "word"), CHARACTERS: regression(train, test, "char_wb")}
    return {OURS: ours(train, test), **references}


def ours(train: Rows, test: Rows) -> dict[str, Any]:
    from sentiment_cli.cli import build_app

    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch) / f"{split}.csv" for split in ("train", "test")]
        for file, rows in zip(files, (train, test), strict=True):
            with file.open("w", newline="", encoding="utf-8") as handle:
                csv.writer(handle).writerows([("text", "label"), *rows])
        os.environ |= {"SENTIMENT_DATA": f"{scratch}/data", "SENTIMENT_RUNS": f"{scratch}/runs"}
        answers = []
        for words in (["train", str(files[0]), "--test", str(files[1])], ["eval"]):
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
                build_app()([*words, "--json"], standalone_mode=False)
            answers.append(json.loads(out.getvalue()))
    made, scores = answers
    valid = made["valid"]
    return {
        "accuracy": scores["accuracy"],
        "f1": scores["f1"],
        "kept": made["kept"],
        **{f"valid_{key}": valid.get(key) for key in ("accuracy", "accuracy_se")},
    }


if __name__ == "__main__":
    main()
