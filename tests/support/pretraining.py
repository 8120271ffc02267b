"""Small corpora in tables, and experiments that pretrain on them."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.sources import sample

TINY = (
    "train.device=cpu",
    "train.threads=1",
    "train.precision=fp32",
    "vocabulary.min_count=1",
    "train.batch_tokens=512",
    "text.max_tokens=null",
)
WIDTH = "model.embedding.width=8"
SMALL = (WIDTH, "text.start=true", "model.encoder.width=8", "model.encoder.cell=gru", "model.language.softmax=full")
SETTINGS = {
    "language-model": (*SMALL, "train.window=16"),
    "vectors": (WIDTH, "train.window=16", "model.language.samples=32"),
    "regions": ("model.regions.width=8", "train.window=16", "model.language.samples=32"),
    "autoencoder": SMALL,
    "pairs": SMALL,
}


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def write_reviews(folder: Path, n: int = 300) -> None:
    """Write labelled reviews with their movies, and as many without labels."""
    labelled, unlabelled = [], []
    for split, review in sample.generate_reviews():
        if split == "unsup":
            unlabelled.append((review.text, "", review.group))
        elif split == "train":
            labelled.append((review.text, review.label, review.group))
    step = len(labelled) // n
    write_table(folder / "reviews.csv", ("text", "label", "group"), labelled[::step])
    write_table(folder / "more.csv", ("text", "label", "group"), unlabelled[::step])


def pretraining(folder: Path, task: str, *settings: str) -> Experiment:
    """Return an experiment on the tables in a folder: reviews.csv and more.csv, or for pairs pairs.csv."""
    (folder / "small.yaml").write_text("name: small\n")
    files = {"data.source": "pairs.csv" if task == "pairs" else "reviews.csv"}
    if task != "pairs" and (folder / "more.csv").exists():
        files["data.unlabelled"] = "more.csv"
    source = [f"{key}={folder / name}" for key, name in files.items()]
    return load_experiment(folder / "small.yaml", [f"task={task}", *source, *TINY, *SETTINGS[task], *settings])
