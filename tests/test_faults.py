"""`make faults`, for some seconds: no fault goes wrong; and it is able to find what does."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
# Runs of faults.py, each in a fork: the world that all read takes as long to build as ten cases.
DRIVER = """
import json, os, sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import faults, fault_kinds
from sentiment_cli.data.sources import mirror
from sentiment_cli.storage import disk, store

mirror.SCHEMES = ("http",)
with tempfile.TemporaryDirectory() as root:
    world = faults.build_world(Path(root))
    faults.build_world = lambda root: world
    for setup, arguments, out in json.loads(sys.argv[2]):
        faults.STOP.clear()
        child = os.fork()
        if not child:
            os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT), 1)
            code = 70
            try:
                exec(setup)
                sys.argv[1:] = arguments
                faults.main()
                code = 0
            except SystemExit as ended:
                code = int(ended.code)
            finally:
                sys.stdout.flush()
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
BUGS = {
    "damage_entry": ("store.open_directory = lambda path, is_read=None: path", "silent wrong results"),
    "fail_place": ("disk.sweep_drafts = lambda directory: None", "manual repairs"),
}


def total(printed: str) -> list[int]:
    """Faults, silent wrong results, manual repairs, tracebacks."""
    found = re.search(r"^\| all \|(.*)\|$", printed, re.M)
    assert found, printed
    return [int(count.replace(",", "")) for count in found[1].split("|")]


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_invariant_1_random_faults_leave_nothing_wrong_and_a_bug_is_found_and_replayed(tmp_path: Path) -> None:
    failures = {name: tmp_path / f"{name}.jsonl" for name in ("none", *BUGS)}
    setups = {kind: f"{bug}; faults.KINDS = (fault_kinds.{kind},)" for kind, (bug, _) in BUGS.items()}
    runs = {"none": ("", ["--cases", "9", "--seed", "1", "--failures", str(failures["none"])])}
    for kind, setup in setups.items():
        runs[kind] = setup, ["--first", "--cases", "200", "--failures", str(failures[kind])]
    # The faults of both kinds hang on no time.
    runs["replay"] = setups["damage_entry"], ["--replay", str(failures["damage_entry"])]
    asked = [(*run, str(tmp_path / name)) for name, run in runs.items()]
    program = [sys.executable, "-c", DRIVER, str(BENCHMARKS), json.dumps(asked)]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    codes = dict(zip(runs, map(int, done.stdout.split()), strict=True))

    printed = (tmp_path / "none").read_text()
    n_faults, *found = total(printed)
    assert found == [0, 0, 0], failures["none"].read_text()
    assert n_faults > 5
    assert codes["none"] == 0
    assert re.search(r"^\*\*\d+ / 0 / 0\*\*", printed, re.M)

    for kind, (_, column) in BUGS.items():
        assert codes[kind] == 1, done.stderr
        assert total((tmp_path / kind).read_text())[["faults", "silent wrong results", "manual repairs"].index(column)]
        first = next(line for line in lines_of(failures[kind]) if line["found"][0][0] == column)
        assert first["stderr"]

    assert codes["replay"] == 0, done.stderr
    before, again = lines_of(failures["damage_entry"]), lines_of(tmp_path / "replay")
    assert [(one["done"], one["found"]) for one in again] == [(one["done"], one["found"]) for one in before]
