"""Shared by the tests of the data stage: people's own files, and experiments on them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.schema import Experiment

Own = Callable[..., Experiment]


@pytest.fixture
def own(tmp_path: Path) -> Own:
    """Write a file of one's own and build an experiment on it, with further KEY=VALUE settings."""

    def build(name: str, content: str | bytes | None, *settings: str) -> Experiment:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return load_experiment("sample", ["vocabulary.min_count=1", f"data.source={path}", *settings])

    return build


@pytest.fixture
def small_csv() -> str:
    """Forty rows of two labels, no text twice."""
    rows = [f"{'good fine' if i % 2 else 'bad poor'} film number {i},{'pos' if i % 2 else 'neg'}" for i in range(40)]
    return "\n".join(["text,label", *rows]) + "\n"
