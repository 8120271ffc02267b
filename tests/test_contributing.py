"""CONTRIBUTING and docs/architecture.md say what the code says: every place exists, and the module list is current."""

import re
import subprocess
from pathlib import Path

import module_list
import pytest

ROOT = Path(__file__).parents[1]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_the_list_of_modules_is_that_of_their_docstrings() -> None:
    assert module_list.PAGE.read_text("utf-8") == module_list.page(), "run: python tests/support/module_list.py"


@pytest.mark.parametrize(
    "page", ["CONTRIBUTING.md", "docs/architecture.md", "docs/index.md", "docs/glossary.md", "README.md"]
)
def test_every_place_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text("utf-8").partition("## Every module")[0]
    named = re.findall(r"`([\w/.]+/[\w/.-]*|\w+\.(?:py|md|toml))`", text) + re.findall(r"\]\((?!http)([^)#]+)", text)
    for name in named:
        bases = (ROOT, ROOT / "sentiment_cli", (ROOT / page).parent, *((ROOT / "sentiment_cli").iterdir()))
        is_of_a_run = name.split("/")[0] in (
            "runs",
            "checkpoints",
            "model",
            "validation",
            "rows",
            "evaluation",
            "raw",
            "cache",
        )
        is_place = name.startswith("./") or name in ("metrics.jsonl",) or is_of_a_run
        assert is_place or any((base / name).exists() for base in bases if base.is_dir()), name


def _worked(title: str) -> set[str]:
    section = CONTRIBUTING.partition(f"### {title}\n")[2].partition("\n##")[0]
    return set(re.findall(r"`(sentiment_cli/[\w/]+\.py)`", section))


def _files_with(pattern: str) -> set[str]:
    found = subprocess.run(
        ["grep", "-rlE", pattern, "sentiment_cli", "--include=*.py"], cwd=ROOT, capture_output=True, text=True
    )
    return set(found.stdout.split())


@pytest.mark.parametrize(
    ("title", "pattern"),
    [
        ("Add a recurrent cell", r'"qrnn"|class QRNN|QRNN[:,]'),
        ("Add a metric", r"\b(brier|average_precision)\b"),
        ("Add a setting", r"\bkeep_finished\b"),
    ],
)
def test_a_worked_example_names_every_file_that_an_earlier_change_touched(title: str, pattern: str) -> None:
    reading = {path for path in _files_with(pattern) if "keep_finished" in pattern and "/workflows/" in path}
    assert _files_with(pattern) - reading <= _worked(title)


def test_every_place_that_the_makefile_names_exists() -> None:
    named = re.findall(
        r"(?<![\w./-])(?:tests|benchmarks|configs|docs)/[\w/.-]+\.\w+", (ROOT / "Makefile").read_text("utf-8")
    )
    assert named
    for name in named:
        assert (ROOT / name).exists(), name
