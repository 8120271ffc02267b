"""People's own data from the first command to the last: trained, evaluated, predicted."""

import csv
import gzip
import io
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

QUICK = "model.encoder.width=16 model.embedding.width=16 train.epochs=12 train.lr=1e-2 train.batch_tokens=256".split()
QUICK += ["vocabulary.min_count=1", "text.max_tokens=20", "train.device=cpu", "model.embedding.word_dropout=0"]
SETTINGS = [word for setting in QUICK for word in ("--set", setting)]
WORDS = {"bad": "awful dull poor".split(), "fair": "plain fine usual".split(), "good": "lovely fresh bright".split()}


def rows(n: int, seed: int = 0) -> list[tuple[str, str]]:
    """Sentences of which one word tells the label."""
    draw = random.Random(seed)
    labels = [draw.choice(list(WORDS)) for _ in range(n)]
    return [
        (f"The {draw.choice(['film', 'cast', 'plot'])} was {draw.choice(WORDS[label])}.", label) for label in labels
    ]


def csv_file(folder: Path) -> Path:
    text = io.StringIO()
    csv.writer(text).writerows([("review", "sentiment"), *rows(400)])
    (folder / "mine.csv").write_text(text.getvalue())
    return folder / "mine.csv"


def class_folders(folder: Path) -> Path:
    for number, (text, label) in enumerate(rows(400)):
        (folder / "mine" / label).mkdir(parents=True, exist_ok=True)
        (folder / "mine" / label / f"{number}.txt").write_text(text)
    return folder / "mine"


def gzipped_json_lines(folder: Path) -> Path:
    lines = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows(400))
    (folder / "mine.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return folder / "mine.jsonl.gz"


@pytest.mark.parametrize("make", [csv_file, class_folders, gzipped_json_lines])
def test_three_classes_are_trained_evaluated_and_predicted(cli, tmp_path: Path, make: Callable[[Path], Path]) -> None:
    trained = cli("train", "--set", f"data.source={make(tmp_path)}", *SETTINGS)
    assert trained.returncode == 0, trained.stderr
    run = trained.stdout.strip()
    evaluated = cli("eval", run, "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    scores = json.loads(evaluated.stdout)
    assert scores["n"] == 40
    assert scores["accuracy"] > 0.95
    assert list(scores["f1_per_label"]) == ["bad", "fair", "good"]
    predicted = cli("predict", "--run", run, "--json", "The plot was lovely.", "The film was usual.")
    answers = [json.loads(line) for line in predicted.stdout.splitlines()]
    assert [answer["label"] for answer in answers] == ["good", "fair"]
    assert all(sum(answer["probabilities"].values()) == pytest.approx(1) for answer in answers)


@pytest.fixture(scope="module")
def run_of_two_labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sentiment_cli.config.loader import load_experiment
    from sentiment_cli.workflows.train import fit

    root = tmp_path_factory.mktemp("two")
    (root / "train.csv").write_text(
        "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows(600) if label != "fair")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTIMENT_DATA", str(root / "data"))
        patch.setenv("SENTIMENT_RUNS", str(root / "runs"))
        return fit(load_experiment(None, [f"data.source={root / 'train.csv'}", *QUICK])).directory


def test_b12_data_labelled_otherwise_are_refused_with_both_maps_or_translated(
    cli, tmp_path: Path, run_of_two_labels: Path
) -> None:
    data = tmp_path / "new.csv"
    names = {"good": "Positive", "bad": "Negative"}
    lines = [f"{text},{names[label]}\n" for text, label in rows(200, seed=1) if label in names]
    data.write_text("body,stars,sentiment\n" + "".join(lines).replace(",", ",9,"))
    refused = cli("eval", str(run_of_two_labels), "--data", str(data))
    assert refused.returncode == 3
    n_good = sum("Positive" in line for line in lines)
    assert f"'Positive' ({n_good})" in refused.stderr
    assert f"'Negative' ({len(lines) - n_good})" in refused.stderr
    assert "the training labels are 'bad', 'good'" in refused.stderr
    assert "--label-map OLD=NEW,OLD=NEW says which is which" in refused.stderr
    assert f"try: head -n 5 {data}\n" in refused.stderr
    done = cli(
        "eval", str(run_of_two_labels), "--data", str(data), "--label-map", "Positive=good,Negative=bad", "--json"
    )
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    assert scores["split"] == "new"
    assert scores["n"] == len(lines)
    assert scores["accuracy"] > 0.95
    swapped = cli(
        "eval", str(run_of_two_labels), "--data", str(data), "--label-map", "Positive=bad,Negative=good", "--json"
    )
    assert json.loads(swapped.stdout)["accuracy"] < 0.05
    kept = run_of_two_labels / "evaluation"
    assert len((kept / "data-new-predictions.jsonl").read_text().splitlines()) == len(lines)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--label-map", "a=b"], "--label-map goes with --data"),
        (["--data", "x.csv", "--split", "test"], "--split and --data do not go together"),
        (["--data", "x.csv", "--label-map", "ab"], "'ab' is not OLD=NEW"),
        (["--slice", "city"], "--slice city is none of stars, length,"),
    ],
)
def test_options_that_cannot_be_meant(cli, run_of_two_labels: Path, args: list[str], said: str) -> None:
    done = cli("eval", str(run_of_two_labels), *args)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("content", "hint", "then"),
    [
        ("text,label\na,good\nb\n", "new.csv --on-error skip\n", ["--on-error", "skip"]),
        ("a,b\nx,good\n", "new.csv --text-column a\n", ["--text-column", "a", "--label-column", "b"]),
        ("text,label\na,good\nb,Good\n", "--label-map Good=good", ["--label-map", "Good=good"]),
        (
            "text,label\na,good\nb,Good\nc,GOOD\n",
            "--label-map GOOD=good,Good=good",
            ["--label-map", "GOOD=good,Good=good"],
        ),
    ],
)
def test_b10_b12_eval_of_own_rows_advises_options_that_it_has(
    cli, tmp_path: Path, run_of_two_labels: Path, content: str, hint: str, then: list[str]
) -> None:
    (tmp_path / "new.csv").write_text(content)
    refused = cli("eval", str(run_of_two_labels), "--data", str(tmp_path / "new.csv"))
    assert refused.returncode == 3
    assert hint in refused.stderr
    assert "--set" not in refused.stderr.splitlines()[-1]
    done = cli("eval", str(run_of_two_labels), "--data", str(tmp_path / "new.csv"), *then, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n"] == content.lower().count(",good")


def test_eval_of_a_file_that_is_missing_advises_the_one_beside_it(cli, tmp_path: Path, run_of_two_labels: Path) -> None:
    (tmp_path / "new.csv").write_text("text,label\na,good\n")
    refused = cli("eval", str(run_of_two_labels), "--data", str(tmp_path / "nwe.csv"))
    assert f"try: sentiment eval {run_of_two_labels} --data {tmp_path / 'new.csv'}\n" in refused.stderr


def test_labels_beyond_the_basic_plane_are_mapped(cli, tmp_path: Path, run_of_two_labels: Path) -> None:
    signs = {"good": "👍", "bad": "👎"}
    lines = [f"{text},{signs[label]}\n" for text, label in rows(60, seed=1) if label in signs]
    (tmp_path / "new.csv").write_text("text,label\n" + "".join(lines))
    mapped = ("--label-map", "👍=good,👎=bad")
    done = cli("eval", str(run_of_two_labels), "--data", str(tmp_path / "new.csv"), *mapped, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n"] == len(lines)


def test_two_files_of_one_name_do_not_take_each_other_s_place(cli, tmp_path: Path, run_of_two_labels: Path) -> None:
    kept = run_of_two_labels / "evaluation"
    before = {path.name for path in kept.glob("data-mine*.json")}
    for language, seed in (("en", 1), ("de", 2), ("en", 1)):
        lines = [f"{text},{label}\n" for text, label in rows(60, seed=seed) if label in ("good", "bad")]
        (tmp_path / f"mine.{language}.csv").write_text("text,label\n" + "".join(lines))
        done = cli("eval", str(run_of_two_labels), "--data", str(tmp_path / f"mine.{language}.csv"))
        assert done.returncode == 0, done.stderr
    names = {path.name for path in kept.glob("data-mine*.json")} - before
    assert len(names) == 2
    assert "data-mine.json" in names


def test_a_column_comes_before_the_slice_of_its_name(cli, tmp_path: Path, run_of_two_labels: Path) -> None:
    lines = [f"{text},{label},{i % 2},m{i % 3}\n" for i, (text, label) in enumerate(rows(60)) if label != "fair"]
    (tmp_path / "new.csv").write_text("text,label,stars,movie\n" + "".join(lines))
    asked = ("--slice", "stars", "--slice", "movie")
    done = cli("eval", str(run_of_two_labels), "--data", str(tmp_path / "new.csv"), *asked, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, set[str]] = {}
    for one in json.loads(done.stdout)["slices"]:
        found.setdefault(one["slice"], set()).add(one["value"])
    assert found["stars"] == {"0", "1"}
    assert found["movie"] == {"m0", "m1", "m2"}


def test_rows_that_are_read_as_nothing_are_said_each_time_with_their_splits(cli, tmp_path: Path) -> None:
    texts = [
        ("<br />" if i % 10 == 3 else "\u200b" if i % 40 == 7 else text, label)
        for i, (text, label) in enumerate(rows(240))
    ]
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *texts])
    data = str(tmp_path / "mine.csv")
    prepared = cli("prepare", "--data", data).stderr
    (line,) = re.findall(r"30 rows without a single token \((\d+) train, (\d+) valid, (\d+) test\)", prepared)
    assert sum(map(int, line)) == 30
    settings = ["--set", "data.label_map=[fair=good]"]
    for _ in range(2):  # read, then found in the cache
        said = cli("train", "linear", "--data", data, *settings).stderr
        (n,) = re.findall(r"(\d+) rows without a single token", said)
        assert 0 < int(n) <= 30, "training opens no test rows"
        assert said.count("data: mine.csv: text in 'text'") == 1, "what was found in the file is said once a command"


def test_a_missing_file_names_the_near_one(cli, tmp_path: Path, run_of_two_labels: Path) -> None:
    (tmp_path / "review.csv").write_text("text,label\n")
    done = cli("eval", str(run_of_two_labels), "--data", str(tmp_path / "reviews.csv"))
    assert done.returncode == 3
    assert "reviews.csv: there is no such file or folder" in done.stderr
    assert "review.csv" in done.stderr
