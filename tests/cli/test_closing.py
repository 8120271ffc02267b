"""The last lines of a training, word for word: what was reached, and what to type next."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentiment_cli.cli.closing import say_done
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.evaluation.metrics import Scores, cross_validated, score
from sentiment_cli.runs import records
from sentiment_cli.storage import store

LABEL_N = np.array([0, 0, 1, 1])
SCORES: Scores = score(LABEL_N, np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.7, 0.3]]), ("neg", "pos"))
NEXT = """\
Next:  sentiment eval my       score it on the held-out test rows
       sentiment predict "…"   try it
       sentiment report my     see curves and mistakes
"""


@pytest.mark.parametrize(
    ("seconds", "kept", "scores", "done"),
    [
        (8.2, "linear", SCORES, "Done in 8 s. Kept linear: 75.00% on validation."),
        (95.0, "gru", SCORES, "Done in 1 min 35 s. Kept gru: 75.00% on validation."),
        (7_500.0, "ensemble", SCORES, "Done in 2 h 5 min. Kept the ensemble: 75.00% on validation."),
        (
            1.0,
            "characters",
            cross_validated(SCORES, 10),
            "Done in 1 s. Kept characters: 75.00% ± 21.65% (standard error) by cross-validation in 10 folds.",
        ),
        (60.0, None, SCORES, "Done in 1 min 0 s. Kept epoch 3 of 7: 75.00% on validation."),
        (60.0, "ensemble", None, "Done in 1 min 0 s. Kept the ensemble."),
    ],
)
def test_the_ending_says_what_was_kept_and_what_comes_next(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    kept: str | None,
    scores: Scores | None,
    done: str,
) -> None:
    monkeypatch.setattr(records, "read_summary", lambda run: {"best_epoch": 3})
    store.write_file(runs_dir() / "my" / "experiment.yaml", b"extends: default\ntrain: {epochs: 7}\n")
    say_done(runs_dir() / "my", seconds, kept, scores)
    assert capsys.readouterr().err == f"{done}\n{NEXT}"


def test_a_run_elsewhere_is_named_by_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    say_done(tmp_path / "it's", 1.0, "linear", replace(SCORES, accuracy=1.0))
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "Done in 1 s. Kept linear: 100.00% on validation."
    assert said[1].startswith(f"""Next:  sentiment eval '{tmp_path}/it'"'"'s'  """)


def test_a_file_ends_with_the_run_on_stdout_and_the_ending_on_stderr(
    typed: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("sentiment_cli.console.say", lambda text, **options: said.append(text))
    source = tmp_path / "my.csv"
    source.write_text("text,label\n" + "".join(f"a {'good' if i % 2 else 'bad'} film {i},{i % 2}\n" for i in range(60)))
    assert typed("train", str(source)).out.strip() == str(runs_dir() / "my")
    ending = "\n".join(said[-4:])
    reached = r"\d+\.\d\d% ± \d+\.\d\d% \(standard error\) by cross-validation in 10 folds"
    done = rf"Done in \d+ s\. Kept (linear|characters): {reached}\."
    assert re.fullmatch(f"{done}\n{re.escape(NEXT.rstrip())}", ending)
