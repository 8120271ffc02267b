"""Cases T2, T3, T7, T12 (real files and bug reports of others): files as they are published, from train to predict."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from sentiment_cli.cli.reading import load_data
from sentiment_cli.config.loader import load_experiment
from sentiment_cli.data.sources.path_kinds import format_of
from sentiment_cli.data.tables.readers import Rejects
from sentiment_cli.evaluation.evaluate import evaluate_data
from sentiment_cli.inference.batch.inputs import open_file
from sentiment_cli.inference.batch.predict_all import predict_all
from sentiment_cli.inference.predictor import open_predictor
from sentiment_cli.workflows.train import fit

N = 120
_WORDS = {"neg": "weak dull awful poor".split(), "pos": "fresh warm lovely bright".split()}


class Published(NamedTuple):
    """A file or folder, the settings it wants (one at most), what is predicted, and its rows, good and bad."""

    path: Path
    settings: tuple[str, ...]
    predicted: Path
    n_rows: int
    n_labels: int = 2


def texts(seed: int, n: int = N) -> list[tuple[str, str]]:
    """Return (text, label) pairs, of which one word tells the label and no two texts are alike."""
    draw = random.Random(seed)
    labels = [("neg", "pos")[i % 2] for i in range(n)]
    return [
        (f"the {draw.choice(['film', 'cast', 'plot'])} of week {i} was {draw.choice(_WORDS[label])} .", label)
        for i, label in enumerate(labels)
    ]


def rt_polarity(folder: Path) -> Published:
    """rt-polarity.pos and rt-polarity.neg: latin-1, a text a line, the label in the name."""
    root = folder / "rt-polaritydata"
    root.mkdir()
    (root / "README.txt").write_text("about the data\nand more\n")
    for label in ("neg", "pos"):
        lines = [f"{text} a caf\xe9 , na\xefve\n" for text, one in texts(1) if one == label]
        (root / f"rt-polarity.{label}").write_bytes("".join(lines).encode("latin-1"))
    return Published(root, (), root / "rt-polarity.pos", N)


def glue(folder: Path) -> Published:
    """GLUE's SST-2 and MR: tab-separated, nothing is quoted, and some texts begin or end with a quote."""
    lines = [f"{text}\t{int(label == 'pos')}" for text, label in texts(2)]
    lines[40], lines[43] = f'" {lines[40]}', lines[43].replace(" .\t", ' . "\t')
    lines[60] = f'"so" {lines[60]}'
    (folder / "train.tsv").write_text("sentence\tlabel\n" + "\n".join(lines) + "\n")
    return Published(folder / "train.tsv", (), folder / "train.tsv", N)


def kaggle(folder: Path) -> Published:
    """Kaggle's labeledTrainData.tsv: quotes within quoted texts have a backslash before them."""
    review = '"\\"The Thing\\" they say: {}<br />\\"C:\\\\\\""'
    rows = [
        f'"{i}_{9 if label == "pos" else 2}"\t{int(label == "pos")}\t{review.format(text)}\n'
        for i, (text, label) in enumerate(texts(3))
    ]
    (folder / "labeledTrainData.tsv").write_text("id\tsentiment\treview\n" + "".join(rows))
    return Published(folder / "labeledTrainData.tsv", (), folder / "labeledTrainData.tsv", N)


def spam(folder: Path) -> Published:
    """The SMS spam collection as spam.csv: columns v1 and v2 and three without a name, latin-1."""
    rows = [
        f'{"ham" if label == "pos" else "spam"},"{text} win \xa3{i}, now",,,\r\n'
        for i, (text, label) in enumerate(texts(4))
    ]
    (folder / "spam.csv").write_bytes(("v1,v2,,,\r\n" + "".join(rows)).encode("latin-1"))
    return Published(folder / "spam.csv", (), folder / "spam.csv", N)


def sentiment140(folder: Path) -> Published:
    """Sentiment140: no header, six columns, the label first, sorted by it, latin-1."""
    rows = [
        f'"{4 * (label == "pos")}","{1467810369 + i}","Mon Apr 06 22:19:45 PDT 2009","NO_QUERY","user{i % 31}",'
        f'"@bob {text} \xfcber, na\xefve"\n'
        for i, (text, label) in sorted(enumerate(texts(5)), key=lambda row: row[1][1])
    ]
    path = folder / "training.1600000.processed.noemoticon.csv"
    path.write_bytes("".join(rows).encode("latin-1"))
    return Published(path, (), path, N)


def fasttext(folder: Path) -> Published:
    """fastText's own form, as train.ft.txt has it."""
    lines = [f"__label__{1 + (label == 'pos')} {text}\n" for text, label in texts(6)]
    (folder / "train.ft.txt").write_text("".join(lines))
    return Published(folder / "train.ft.txt", (), folder / "train.ft.txt", N)


def json_array(folder: Path) -> Published:
    """One array of objects, over many lines, in a .json file."""
    rows = [{"id": i, "text": text, "label": label} for i, (text, label) in enumerate(texts(7))]
    (folder / "reviews.json").write_text(json.dumps(rows, indent=2))
    return Published(folder / "reviews.json", (), folder / "reviews.json", N)


def news(folder: Path) -> Published:
    """AG News: no header; class, title, description; both texts are joined by one setting."""
    rows = [
        f'"{1 + (label == "pos")}","Title, number {i}","{text} said ""them"" in town, and nobody else knew of it."\n'
        for i, (text, label) in enumerate(texts(8))
    ]
    (folder / "train.csv").write_text("".join(rows))
    return Published(folder / "train.csv", ("data.text_column=[2, 3]",), folder / "train.csv", N)


def polarity(folder: Path) -> Published:
    """Amazon's and Yelp's polarity: no header, the label and the text."""
    rows = [f'"{1 + (label == "pos")}","{text} Really, it was."\n' for text, label in texts(9)]
    (folder / "train.csv").write_text("".join(rows))
    return Published(folder / "train.csv", (), folder / "train.csv", N)


def uci(folder: Path) -> Published:
    """UCI's sentence files: text, tab, label, without a header, in a .txt file, which one setting says is a table."""
    rows = [f'{text} "quoted\t{int(label == "pos")}\n' for text, label in texts(10)]
    (folder / "imdb_labelled.txt").write_text("".join(rows))
    return Published(folder / "imdb_labelled.txt", ("data.delimiter=tab",), folder / "imdb_labelled.txt", N)


FORMS: dict[str, Callable[[Path], Published]] = {
    make.__name__: make
    for make in (rt_polarity, glue, kaggle, spam, sentiment140, fasttext, json_array, news, polarity, uci)
}

TINY = ["train.device=cpu", "model.linear.min_count=1", "vocabulary.min_count=1", "model.linear.ngrams=1"]


@pytest.mark.parametrize("form", FORMS)
def test_a_published_file_is_trained_on_scored_and_answered_row_for_row(form: str, tmp_path: Path, capsys) -> None:
    made = FORMS[form](tmp_path)
    assert len(made.settings) <= 1
    trained = fit(load_experiment("linear", [f"data.source={made.path}", *made.settings, *TINY]))
    scored = evaluate_data(trained.directory, load_data([f"data.source={made.path}", *made.settings]))
    assert scored.scores.n == made.n_rows
    assert scored.scores.accuracy == 1.0
    data = load_data(made.settings)
    source = open_file(made.predicted, data.text_column, "stop", format_of(data))
    out = tmp_path / "answers.jsonl"
    predict_all(open_predictor(trained.directory), source, "jsonl", out)
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(answers) == source.n_rows == (N // 2 if form == "rt_polarity" else N)
    assert all("\ufffd" not in json.dumps(row, ensure_ascii=False) for row in answers)
    label_of = {row.get("prediction_label", row["label"]) for row in answers}
    assert len(label_of) == (1 if form == "rt_polarity" else 2)
    talk = capsys.readouterr().err
    assert f"data: {made.path.name}: " in talk
    assert "\t" not in talk


def test_the_quotes_of_texts_that_quote_nothing_are_kept(tmp_path: Path) -> None:
    made = FORMS["glue"](tmp_path)
    source = open_file(made.path, None, "stop")
    found = [text for chunk in source.read(Rejects("stop")) for text in chunk.texts]
    plain = [text for text, _ in texts(2)]
    assert found[40] == f'" {plain[40]}'
    assert found[41:43] == plain[41:43]
    assert found[60] == f'"so" {plain[60]}'
