"""Labels are texts of a user's: each survives every command, and none is obeyed by a terminal or breaks a line."""

import csv
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sentiment_cli import console
from sentiment_cli.inference.batch.predict_all import plain_line
from sentiment_cli.inference.predictor import Prediction

LABELS = {
    "escape": "po\x1b[2Js",
    "bell": "po\x07s",
    "carriage return": "po\rs",
    "line break": "po\ns",
    "tab": "po\ts",
    "C1": "po\x9b31ms",
    "bidi": "po\u202es",
    "line separator": "po\u2028s",
    "comma and quotes": 'po,"s',
    "formula": "=po",
    "option": "--po",
    "not ASCII": "größte",
}
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("what", LABELS)
def test_a5_a_line_of_an_answer_is_one_line_that_nothing_obeys(what: str) -> None:
    """A5: labels were printed as they are; a line break made two lines of one."""
    label = LABELS[what]
    answer = Prediction("good", label, 0.9, {label: 0.9, "neg": 0.1}, 1, 0, truncated=False, low_evidence=False)
    line = plain_line(answer)
    assert not OBEYED.search(line)
    assert "\n" not in line
    shown, figure, text = line.split("\t")
    assert (figure, text) == ("0.9000", "good")
    assert shown == console.one_line(label)
    assert shown.isascii() == label.isascii() or "\\" in shown


DRIVER = """
import json, sys
from sentiment_cli.cli import main
for words in json.load(open("commands.json")):
    sys.argv = ["sentiment", *words]
    print("$", words[0], flush=True)
    try:
        main()
    except SystemExit as end:
        if end.code:
            sys.exit(f"{words}: {end.code}")
"""


def test_a5_a_label_survives_every_command(tmp_path: Path) -> None:
    """One training with all the labels, then each command that says them, in one process."""
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["text", "label"])
    for i, (word, label) in itertools.product(range(8), LABELS.items()):
        writer.writerow([f"{word} film {i}", label])
    (tmp_path / "my.csv").write_text(table.getvalue(), newline="")
    run = ["--run", "mine", "--file", "my.csv"]
    commands = [
        ["train", "linear", "--set", "data.source=my.csv", "--set", "train.refit=false", "--name", "mine"],
        ["eval", "mine", "--data", "my.csv"],
        ["eval", "mine", "--split", "valid"],
        ["predict", *run, "--out", "a.jsonl"],
        ["predict", *run, "--out", "a.csv"],
        ["predict", *run, "--out", "a.tsv"],
        ["predict", *run, "--format", "text", "--out", "a.txt"],
        ["predict", *run, "--format", "text"],
        ["predict", "--run", "mine", "escape film", "line break film", "--explain", "--trace"],
        ["export", "mine", "--out", "."],
        ["export", "mine", "--pack", "mine.model"],
        ["predict", "--run", "mine.model", "escape film"],
        ["report", "mine"],
        ["report", "mine", "--markdown"],
        ["runs", "show", "mine"],
        ["data", "info", "linear", "--set", "data.source=my.csv"],
        ["data", "check", "linear", "--set", "data.source=my.csv"],
    ]
    (tmp_path / "commands.json").write_text(json.dumps(commands))
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "1000"}
    done = subprocess.run([sys.executable, "-c", DRIVER], cwd=tmp_path, env=env, capture_output=True)
    printed = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 0, printed[-3000:]
    assert not OBEYED.search(printed), OBEYED.search(printed)
    assert not re.search(r"^s(\s|$)", printed, re.M)  # the second half of a label that was broken
    answers = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert {answer["prediction_label"] for answer in answers} == {*LABELS.values()}
    assert all({*answer["probabilities"]} == {*LABELS.values()} for answer in answers)
    with (tmp_path / "a.csv").open(newline="") as handle:
        assert len({row["prediction_label"] for row in csv.DictReader(handle)}) == len(LABELS)
    lines = (tmp_path / "a.txt").read_text().split("\n")
    assert len(lines) == len(answers) + 1
    assert {line.partition("\t")[0] for line in lines[:-1]} == {*map(console.one_line, LABELS.values())}
    (scores,) = [
        json.loads(path.read_text()) for path in (tmp_path / "runs" / "mine" / "evaluation").glob("data-*.json")
    ]
    assert {*scores["f1_per_label"]} == {*LABELS.values()}
    for page in ("report.html", "README.md"):
        assert not OBEYED.search((tmp_path / "runs" / "mine" / page).read_text())


def test_a5_labels_in_tsv_keep_to_their_line(tmp_path: Path, three_labels: Path, cli) -> None:
    from sentiment_cli.runs.model_files import pack
    from sentiment_cli.runs.saved_model import open_artefact, packed_files
    from sentiment_cli.storage.store import dump_json

    files = packed_files(open_artefact(three_labels))
    about = json.loads(files["model.json"])
    files["model.json"] = dump_json({**about, "labels": ["so\nso", "go\tod", "b\x1bad"]})
    pack(files, tmp_path / "odd.model")
    (tmp_path / "in.csv").write_text("text\nso\ngood\nbad\n")
    for out in ("out.tsv", "out.txt"):
        done = cli(
            "predict",
            "--run",
            str(tmp_path / "odd.model"),
            "--file",
            str(tmp_path / "in.csv"),
            "--out",
            str(tmp_path / out),
        )
        assert done.returncode == 0, done.stderr
        lines = (tmp_path / out).read_text().splitlines()
        assert [re.search(r"so\\nso|go\\tod|b\\x1bad", line) is not None for line in lines[-3:]] == [True] * 3
        assert len(lines) == 3 + (out == "out.tsv")
    done = cli("export", str(tmp_path / "odd.model"), "--out", str(tmp_path / "x.onnx"), "--precision", "fp32")
    assert done.returncode == 0, done.stderr
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
