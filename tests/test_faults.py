"""`make faults`, for some seconds: no fault goes wrong; and it is able to find what does."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); import faults, fault_kinds"


def run(*program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *program], capture_output=True, text=True, env=os.environ.copy())


def total(done: "subprocess.CompletedProcess[str]") -> list[int]:
    """Faults, silent wrong results, manual repairs, tracebacks."""
    found = re.search(r"^\| all \|(.*)\|$", done.stdout, re.M)
    assert found, done.stderr
    return [int(count.replace(",", "")) for count in found[1].split("|")]


def test_invariant_1_random_faults_leave_nothing_wrong_and_nothing_to_repair(tmp_path: Path) -> None:
    failures = tmp_path / "faults.jsonl"
    done = run(f"{BENCHMARKS / 'faults.py'}", "--cases", "16", "--seed", "1", "--failures", str(failures))
    n_faults, *found = total(done)
    assert found == [0, 0, 0], failures.read_text()
    assert n_faults > 10
    assert done.returncode == 0
    assert re.search(r"^\*\*\d+ / 0 / 0\*\*", done.stdout, re.M)


@pytest.mark.parametrize(
    ("bug", "kind", "column"),
    [
        ("store.open_directory = lambda path, is_read=None: path", "damage_entry", "silent wrong results"),
        ("disk.sweep_drafts = lambda directory: None", "kill_in_a_row", "manual repairs"),
    ],
)
def test_a_bug_is_found_and_replayed(tmp_path: Path, bug: str, kind: str, column: str) -> None:
    failures = tmp_path / "faults.jsonl"
    setup = f"from sentiment_cli.storage import disk, store; {bug}; faults.KINDS = (fault_kinds.{kind},)"
    program = f"{START}; {setup}; faults.main()"
    done = run("-c", program, str(BENCHMARKS), "--first", "--cases", "200", "--failures", str(failures))
    assert done.returncode == 1
    assert total(done)[["faults", "silent wrong results", "manual repairs"].index(column)] > 0
    failed = [json.loads(line) for line in failures.read_text().splitlines()]
    (first, *_) = [line for line in failed if line["found"][0][0] == column]
    assert first["stderr"]
    if kind == "damage_entry":  # its faults do not hang on the time
        failures.write_text(json.dumps(first) + "\n")
        replayed = run("-c", program, str(BENCHMARKS), "--replay", str(failures))
        again = json.loads(replayed.stdout)
        assert (again["done"], again["found"]) == (first["done"], first["found"])
