"""Time and memory of preparing IMDb, relative to reading alone; with --scale, of corpora many times its size.

    SENTIMENT_IMDB=aclImdb_v1.tar.gz python benchmarks/prepare.py [--folder EXTRACTED] [--scale 10] [--rows 1000000]

Prints Markdown. Every preparation is a process of its own that begins with an empty cache.
"""

import argparse
import gzip
import json
import lzma
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.paths import local_imdb
from sentiment_cli.data.corpus.prepare import encode_ahead, prepare
from sentiment_cli.data.corpus.raw_texts import prepare_texts
from sentiment_cli.data.corpus.splits import assign_rows
from sentiment_cli.data.sources.archive import read_members
from sentiment_cli.data.sources.source import find_source
from sentiment_cli.data.tables.readers import Rejects
from sentiment_cli.data.tokens.chunks import ChunkEncoder
from sentiment_cli.data.tokens.tokenizer import train_tokenizer

_ROWS = 50_000
_MOST_WORDS = 60  # of a row of --rows
# A process of its own in between: the system counts a parent's memory as its child's.
_LAUNCH = """import resource, subprocess, sys, time
began = time.monotonic()
code = subprocess.call(sys.argv[1:])
print(time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="the corpus, extracted")
    parser.add_argument("--scale", type=int, help="compare so many times 50,000 synthetic reviews with 50,000")
    parser.add_argument("--rows", type=int, help="compare so many rows of a CSV file with a hundredth of them")
    parser.add_argument("--times", type=int, default=3, help="of repeated measurements the median is printed")
    asked = parser.parse_args()
    archive = local_imdb()
    if archive is None or not archive.is_file():
        parser.error("SENTIMENT_IMDB should name the archive")
    os.environ["GOMP_SPINCOUNT"] = "1000"
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["SENTIMENT_DATA"] = scratch
        whole(archive, asked.folder, asked.times)
        parts(archive)
        if asked.scale:
            growth("synthetic reviews", synthetic(Path(scratch)), _ROWS, asked.scale, ".jsonl", None)
        if asked.rows:
            growth("rows of CSV", synthetic(Path(scratch)), asked.rows // 100, 100, ".csv", _MOST_WORDS)


def whole(archive: Path, folder: Path | None, times: int) -> None:
    """Time whole commands."""
    print("| command, from an empty cache | seconds | peak memory |\n|---|---:|---:|")
    for name, source, words in [
        ("`prepare`, 50,000 labelled reviews, archive", archive, []),
        ("`prepare --all`, 100,000 reviews, archive", archive, ["--all"]),
        *([("`prepare`, 50,000 labelled reviews, folder", folder, [])] if folder else []),
    ]:
        runs = sorted(command(words, SENTIMENT_IMDB=str(source)) for _ in range(times))
        print(f"| {name} | {runs[times // 2][0]:.1f} | {max(peak for _, peak in runs):.0f} MB |", flush=True)


def parts(archive: Path) -> None:
    """Time the parts of preparing the labelled reviews, in this process, beside reading alone."""
    experiment = load_experiment(None)
    source = find_source(experiment.data)
    print("\n| part | seconds |\n|---|---:|")

    def row(name: str, work: Callable[[], object]) -> None:
        began = time.monotonic()
        work()
        print(f"| {name} | {time.monotonic() - began:.2f} |", flush=True)

    row("floor: decompressing the archive alone", lambda: exhaust(blocks(archive)))
    row("floor: splitting it into its 100,000 members", lambda: exhaust(read_members(archive, lambda member: True)))
    row("hash of the archive", lambda: source.digest("labelled"))
    row("labelled reviews, decoded and ordered", lambda: exhaust(source.rows("labelled", Rejects("stop"))))
    row("the same, kept as texts", lambda: prepare_texts(source, "labelled"))
    texts = prepare_texts(source, "labelled")
    splits = assign_rows(texts, experiment.data)
    learnt = []
    row(
        "vocabulary, from the training reviews",
        lambda: learnt.append(train_tokenizer(experiment.text, experiment.vocabulary, texts.read(*splits["train"]))[0]),
    )
    row("encoding train", lambda: exhaust(encode_ahead(ChunkEncoder(learnt[0]), texts.read("train"))))
    row("encoding test", lambda: exhaust(encode_ahead(ChunkEncoder(learnt[0]), texts.read("test"))))
    prepare(experiment)
    row("the stage when all is there, every hash checked", lambda: prepare(experiment))


def growth(
    what: str, words: Callable[[int, int | None], Iterator[str]], n: int, times: int, suffix: str, most: int | None
) -> None:
    """Compare n generated rows with so many times more."""
    print(f"\n| {what} | seconds | peak memory |\n|---|---:|---:|")
    found = []
    for n_rows in (n, n * times):
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / f"rows{suffix}"
            with path.open("w", encoding="utf-8") as handle:
                handle.write("text,label\n" if suffix == ".csv" else "")
                for i, text in enumerate(words(n_rows, most)):
                    row = {"text": text, "label": "ab"[i % 2]}
                    handle.write(f'"{text}",{row["label"]}\n' if suffix == ".csv" else json.dumps(row) + "\n")
            found.append(command(["--set", f"data.source={path}"]))
            print(f"| {n_rows:,} | {found[-1][0]:.1f} | {found[-1][1]:.0f} MB |", flush=True)
    (seconds, memory), (more_seconds, more_memory) = found
    print(
        f"\n{times} times the rows: {more_seconds / seconds:.1f} times the time, {more_memory / memory:.2f} the memory"
    )


def synthetic(scratch: Path) -> Callable[[int, int | None], Iterator[str]]:
    """Return a generator of texts of words drawn as often as IMDb's training reviews have them, of their lengths."""
    os.environ["SENTIMENT_DATA"] = str(scratch / "tutorial")
    corpus = prepare(load_experiment("tutorial-rnn"))
    os.environ["SENTIMENT_DATA"] = str(scratch)
    packed, words = corpus.split("train"), np.array(corpus.vocabulary.entries, dtype=object)
    generator = np.random.default_rng(0)

    def texts(n: int, most: int | None) -> Iterator[str]:
        for _ in range(n):
            length = int(generator.choice(packed.length_N))
            ids = generator.integers(0, len(packed.ids_T), min(length, most or length))
            yield " ".join(words[packed.ids_T[ids]])

    return texts


def command(words: list[str], **env: str) -> tuple[float, float]:
    """Run `sentiment prepare` with an empty cache; return its seconds and its peak memory in MB."""
    with tempfile.TemporaryDirectory() as empty:
        run = [sys.executable, "-c", _LAUNCH, sys.executable, "-m", "sentiment_cli", "prepare", *words]
        env = {**os.environ, "SENTIMENT_DATA": empty, **env}
        done = subprocess.run(run, env=env, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        seconds, kilobytes = done.stdout.split()[-2:]
        return float(seconds), int(kilobytes) / 1024


def blocks(archive: Path) -> Iterator[bytes]:
    opener = lzma.open if archive.open("rb").read(1) == b"\xfd" else gzip.open
    with opener(archive) as handle:
        while block := handle.read(1 << 20):
            yield block


def exhaust(rows: Iterator[object]) -> None:
    for _ in rows:
        pass


if __name__ == "__main__":
    main()
