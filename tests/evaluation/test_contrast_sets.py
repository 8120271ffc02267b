import gzip
import json
from pathlib import Path

import pytest

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.errors import DataError
from sentiment_cli.evaluation.contrast_sets import LabelledPair, evaluate_pairs, print_pair_scores, read_contrast_pairs
from sentiment_cli.evaluation.metrics import wilson_interval

HEADER = "original,contrast,original_label,contrast_label\n"
PAIRS = "good,bad,good,bad\nso,good,so-so,good\nbad,bad good,bad,good\ngood bad,so,good,so-so\n"


def test_each_side_and_both_are_counted(three_labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The model reads "bad good" and "good bad" alike, as bad."""
    file = tmp_path / "My pairs.csv"
    file.write_text(HEADER + PAIRS)
    scores = evaluate_pairs(three_labels, load_experiment("default", [f"data.source={file}"]).data)
    kept = json.loads((three_labels / "evaluation" / "pairs-my-pairs.json").read_text())
    predicted = [(pair["original_predicted"], pair["contrast_predicted"]) for pair in kept["pairs"]]
    assert predicted == [("good", "bad"), ("so-so", "good"), ("bad", "bad"), ("bad", "so-so")]
    assert kept["n"] == 4
    assert (kept["accuracy_original"], kept["accuracy_contrast"], kept["consistency"]) == (0.75, 0.75, 0.5)
    low, high = kept["consistency_ci95"]
    assert (low, high) == wilson_interval(2, 4)
    capsys.readouterr()
    print_pair_scores(scores)
    printed = capsys.readouterr().out
    assert f"consistency               50.00%   95 % interval {low:.2%} to {high:.2%}   n 4\n" in printed
    assert "  bad for bad: bad\n  bad for good: bad good\n" in printed


def test_other_labels_are_refused_or_renamed(three_labels: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text(HEADER + "good,bad,Positive,Negative\n")
    settings = [f"data.source={file}"]
    with pytest.raises(DataError, match=r"'Positive' \(1\), 'Negative' \(1\); the training labels are 'so-so'"):
        evaluate_pairs(three_labels, load_experiment("default", settings).data)
    settings.append("data.label_map=[Positive=good, Negative=bad]")
    assert evaluate_pairs(three_labels, load_experiment("default", settings).data).to_json()["consistency"] == 1


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv", "pairs.jsonl", "pairs.csv.gz"])
def test_pairs_are_read_from_any_table(tmp_path: Path, name: str) -> None:
    pair = LabelledPair("It's good, I think.", 'He said "bad"', "1", "0")
    if name == "pairs.jsonl":
        text = json.dumps({**pair._asdict(), "original_label": 1, "contrast_label": 0.0, "note": "x"}) + "\n"
    elif name == "pairs.tsv":
        text = HEADER.replace(",", "\t") + 'It\'s good, I think.\t"He said ""bad"""\t1\t0\n'
    else:
        text = HEADER + '"It\'s good, I think.","He said ""bad""",1,0\n'
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert read_contrast_pairs(tmp_path / name) == [pair]


def test_half_a_character_does_not_stop_the_work(tmp_path: Path, three_labels: Path) -> None:
    pair = '{"original": "good \\ud83d", "contrast": "bad", "original_label": "good", "contrast_label": "bad"}'
    (tmp_path / "pairs.jsonl").write_text(pair + "\n")
    settings = load_experiment("default", [f"data.source={tmp_path / 'pairs.jsonl'}"])
    assert evaluate_pairs(three_labels, settings.data).shares()["consistency"] == (1, 1)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.txt", "", "pairs are read from .csv, .tsv"),
        ("p.csv", None, "cannot be read: No such file"),
        ("p.csv", "", "is empty"),
        ("p.csv", HEADER, "holds no pairs"),
        ("p.csv", "text,label\na,b\n", "no column 'original'; it has 'text', 'label'; a file of pairs has the columns"),
        ("p.csv", HEADER + "a,b,good,\n", "row 1: the label of its contrast is missing"),
        ("p.csv", HEADER + "a,b,good\n", r"row 1 \(line 2\): 3 fields where the header names 4"),
        ("p.csv", HEADER + "a,b,0.5,good\n", "row 1: its label 0.5 is a fraction"),
        (
            "p.jsonl",
            '{"original": "a", "original_label": 1, "contrast_label": 0, "contrast": null}\n',
            "text of its con",
        ),
    ],
)
def test_what_is_no_file_of_pairs(tmp_path: Path, name: str, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=said) as caught:
        read_contrast_pairs(tmp_path / name)
    assert caught.value.hint == ("sentiment eval --help" if "the columns" in str(caught.value) else None)
