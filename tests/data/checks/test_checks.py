"""What `data check` finds, each thing planted once."""

import json
import shutil
from pathlib import Path

import pytest

from sentiment_cli.data.checks.checks import Report, check_data
from sentiment_cli.errors import DataError


def told(report: Report) -> dict[str, tuple[str, int, tuple[str, ...]]]:
    return {finding.what: (finding.severity, finding.count, finding.rows) for finding in report.findings}


def lines(*rows: tuple[str, object]) -> str:
    return "\n".join(json.dumps({"text": text, "label": label}) for text, label in rows)


CLEAN = [(f"a text {i}", i % 2) for i in range(20)]


def test_nothing_is_told_of_clean_data(own) -> None:
    report = check_data(own("x.jsonl", lines(*CLEAN)).data)
    assert report.findings == ()
    assert not report.is_bad
    assert report.to_json() == {
        "duplicates": {"train": 0},
        "duplicates_normalised": {"train": 0},
        "duplicates_near": {"train": 0},
        "findings": [],
    }


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "empty texts in train"),
        (" \t\n\u3000", "empty texts in train"),
        ("a \ufffd b", "texts with \ufffd, which replaces bytes that are not valid UTF-8, in train"),
        ("itâ€™s", "texts that look like UTF-8 read as Latin-1 in train"),
        ("cafÃ\xa9", "texts that look like UTF-8 read as Latin-1 in train"),
        ("a\x00b", "texts with control characters in train"),
        ("\x1b[2J", "texts with control characters in train"),
    ],
)
def test_b08_damage_is_told_with_the_row(own, text: str, what: str) -> None:
    found = told(check_data(own("x.jsonl", lines(*CLEAN[:7], (text, 1), *CLEAN[7:])).data))
    assert found == {what: ("warning", 1, ("train 8",))}


@pytest.mark.parametrize("text", ["Ça va, café Âge", "a\tb\nc\r\n", "👩\u200d👧 電影 e\u0301", "0"])
def test_honest_texts_are_no_damage(own, text: str) -> None:
    assert told(check_data(own("x.jsonl", lines(*CLEAN, (text, 1))).data)) == {}


def test_b12_contradicting_labels_are_told_with_their_rows(own, tmp_path: Path) -> None:
    rows = [*CLEAN, ("a  text 3", 0), ("a text 3", 0), ("once more", 1)]
    (tmp_path / "t.jsonl").write_text(lines(("once more ", 0), ("a text 4", 0), ("only here", 0), ("only  here", 1)))
    found = told(check_data(own("x.jsonl", lines(*rows), f"data.test={tmp_path}/t.jsonl").data))
    assert found["texts with more than one label"] == ("warning", 3, ("train 4", "train 21", "train 22"))
    (tmp_path / "t.jsonl").write_text(lines(("only here", 0), ("only  here", 1)))
    found = told(check_data(own("x.jsonl", lines(*CLEAN), f"data.test={tmp_path}/t.jsonl").data))
    assert found["texts with more than one label"] == ("warning", 1, ("test 1", "test 2"))


def test_groups_that_leak_are_told(own, tmp_path: Path) -> None:
    table = "text,label,movie\n" + "".join(f"train {i},{i % 2},m{i}\n" for i in range(9))
    (tmp_path / "t.csv").write_text("text,label,movie\n" + "".join(f"t {i},{i % 2},m{i + 5}\n" for i in range(9)))
    found = told(check_data(own("x.csv", table, f"data.test={tmp_path}/t.csv").data))
    assert found == {"groups in both train and test": ("warning", 4, ("m5", "m6", "m7"))}


def test_rows_left_out_are_told_and_a_bad_row_stops(own) -> None:
    content = lines(*CLEAN) + "\n{"
    with pytest.raises(DataError, match=r"row 21 \(line 21\): no JSON"):
        check_data(own("x.jsonl", content).data)
    (what,) = told(check_data(own("x.jsonl", content, "data.on_error=skip").data)).items()
    assert what[0].startswith("rows left out, listed in ")
    assert Path(what[0].rpartition(" ")[2]).read_text().count("\n") == what[1][1] == 1


def test_the_worst_comes_first_and_one_class_is_an_error(own) -> None:
    report = check_data(own("x.jsonl", lines(("", 1), ("a", 1), ("a", 1))).data)
    assert [finding.severity for finding in report.findings] == ["error", "warning", "note"]
    assert report.is_bad
    assert report.to_json()["findings"][0] == {
        "severity": "error",
        "what": "every training row is labelled 1",
        "count": 3,
        "rows": (),
    }


def test_every_split_of_the_sample_is_looked_at(own, tmp_path: Path, sample_folder: Path) -> None:
    shutil.copytree(sample_folder, tmp_path / "mine")
    shutil.copy(next((tmp_path / "mine/test/pos").iterdir()), next((tmp_path / "mine/train/unsup").iterdir()))
    report = check_data(own("mine", None).data)
    assert report.duplicates["unsup_test"] == 1
    assert list(report.duplicates) == ["train", "test", "unsup", "train_test", "unsup_test", "unsup_train"]
