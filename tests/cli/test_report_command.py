"""`sentiment report`: where it writes, and what it refuses before anything slow."""

import shutil
from pathlib import Path

import pytest

from sentiment_cli import extras
from sentiment_cli.cli.report import report
from sentiment_cli.errors import MachineError


@pytest.fixture
def run(quick_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(quick_run, tmp_path / "runs" / "quick"))


def test_report_writes_a_page_or_a_card_and_prints_where(cli, run: Path, tmp_path: Path) -> None:
    done = cli("report", "quick")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{run / 'report.html'}\n"
    assert (run / "report.html").read_bytes().startswith(b"<!doctype html>")

    card = cli("report", "quick", "--markdown")
    assert card.stdout == f"{run / 'README.md'}\n"
    assert (run / "README.md").read_text().startswith("# quick\n")

    shutil.copytree(run, run.with_name("quick-2"))
    both = cli("report", "quick", "quick-2", "--markdown", "--out", str(tmp_path / "both.md"))
    assert both.stdout == f"{tmp_path / 'both.md'}\n"
    assert (tmp_path / "both.md").read_text().startswith("# quick and quick-2\n")


def test_a_run_that_there_is_not_is_refused_with_the_nearest_name(cli, run: Path) -> None:
    done = cli("report", "quik")
    assert done.returncode == 2
    assert "Did you mean 'quick'?" in done.stderr


def test_without_a_name_the_report_is_of_the_newest_finished_run(cli, run: Path) -> None:
    done = cli("report")
    assert (done.returncode, done.stdout) == (0, f"{run / 'report.html'}\n")


def test_without_matplotlib_no_run_is_read(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "summary.json").write_text("damaged")
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match="matplotlib"):
        report(["quick"])
    assert not (run / "report.html").exists()
