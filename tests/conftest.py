"""Shared by all tests: folders of their own, a tiny experiment, and the real corpus where there is one."""

import gc
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import forking
import hypothesis
import pytest
import torch
from hints import complaint

from sentiment_cli import console
from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.schema import Experiment
from sentiment_cli.errors import SentimentError
from sentiment_cli.storage import failpoints

hypothesis.settings.register_profile("any machine", deadline=None)  # the default fails beside other work, at 200 ms
hypothesis.settings.load_profile("any machine")


class Said(NamedTuple):
    """What a command line came to."""

    code: int
    error: str
    hint: str
    out: str


Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def folders(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Give each test its own data and runs, and keep the real corpus out unless a test asks for it."""
    monkeypatch.setenv("SENTIMENT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SENTIMENT_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("SENTIMENT_IMDB", raising=False)
    console.set_manner(volume=0, colour="auto")  # what another test said once is said again
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path_factory.getbasetemp() / "matplotlib"))  # one list of fonts for all
    yield
    failpoints.arm(None)
    torch.set_deterministic_debug_mode("default")


@pytest.fixture(autouse=True)
def hints(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """See to it that the hint of each error that a test meets is a command that works."""
    met: dict[str, str] = {}
    initialise = SentimentError.__init__

    def noting(self: SentimentError, message: str, hint: str | None = None, *args: Any, **kwargs: Any) -> None:
        initialise(self, message, hint, *args, **kwargs)
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_name == "__init__":
            frame = frame.f_back
        where = str(frame.f_globals.get("__name__"))
        if hint is not None and where.startswith("sentiment_cli."):
            met[hint] = f"{where}: {message}"

    monkeypatch.setattr(SentimentError, "__init__", noting)
    yield
    wrong = {hint: said for hint in met if (said := complaint(hint)) is not None}
    assert not wrong, [f"{met[hint]!r} suggests {hint!r}: {said}" for hint, said in wrong.items()]


@pytest.fixture(scope="session")
def imdb_path() -> Path:
    """The real corpus."""
    path = _IMDB
    if not path:
        pytest.skip("SENTIMENT_IMDB does not name the real corpus")
    return Path(path).resolve()


_IMDB = os.environ.get("SENTIMENT_IMDB")  # read before `folders` hides it


@pytest.fixture
def experiment() -> Callable[..., Experiment]:
    """Build an experiment on the sample from KEY=VALUE settings."""

    def build(*settings: str) -> Experiment:
        return load_experiment("sample", ["train.device=cpu", *settings])

    return build


@pytest.fixture
def cli() -> Cli:
    """Run the command line in a process of its own, a fork of one that has imported torch."""

    def run(*args: str, stdin: str | bytes = "", **env: str) -> "subprocess.CompletedProcess[str]":
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = forking.run(args, data, {**os.environ, **env})
        said = done.stderr.decode()
        for hint in re.findall(r"^  try: (.*)$", said, re.MULTILINE):
            assert complaint(hint, args) is None, (args, hint, complaint(hint, args))
        return subprocess.CompletedProcess(args, done.returncode, done.stdout.decode(), said)

    return run


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run the command line in this process; return the exit code, the error and the hint."""
    from sentiment_cli import cli

    monkeypatch.setattr(cli, "spare_pydantic", lambda: None)  # it changes Typer for good

    def run(*args: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["sentiment", *args])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        message, _, hint = err.partition("  try: ")
        return Said(int(ended.value.code or 0), message.partition("error: ")[2].strip(), hint.strip(), out)

    return run


@pytest.fixture
def three_labels(tmp_path: Path, experiment: Callable[..., Experiment]) -> Path:
    """A run whose model reads `so`, `good` and `bad` as so-so, good and bad; no training, no corpus."""
    from sentiment_cli.data.tokens.tokenizer import build_tokenizer
    from sentiment_cli.data.tokens.vocabulary import Vocabulary
    from sentiment_cli.models.classifier import build_classifier
    from sentiment_cli.onnx.classifier import build_graph
    from sentiment_cli.runs.saved_model import save_artefact

    settings = experiment(
        "model.embedding.width=3", "model.encoder.width=3", "model.encoder.bidirectional=false", "model.pooling=max"
    )
    vocabulary = Vocabulary(("<pad>", "<unk>", "so", "good", "bad"), 1)
    model = build_classifier(settings, vocabulary, 3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.embedding.weight[2:] = torch.eye(3)
        (lstm,) = model.encoder.forward_layers
        lstm.bias_ih_l0.copy_(torch.tensor([9.0] * 3 + [-9.0] * 3 + [0.0] * 3 + [9.0] * 3))  # gates: i, f, g, o
        lstm.weight_ih_l0[6:9] = 3 * torch.eye(3)
        model.output.weight.copy_(5 * torch.eye(3))
    tokenizer = build_tokenizer(settings.text, vocabulary.entries, "<unk>")
    corpus: Any = SimpleNamespace(
        labels=("so-so", "good", "bad"),
        key="toy-0123456789abcdef",
        vocabulary=vocabulary,
        tokenizer_json=tokenizer.to_str().encode(),
    )
    run = tmp_path / "three"
    save_artefact(run, settings, corpus, model.state_dict(), graph=build_graph(model.eval()))
    return run


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled sample as a folder in IMDb's layout; tests copy it before they change it."""
    from sentiment_cli.data.sources import sample

    folder = tmp_path_factory.mktemp("sample")
    for name, data in sample.sample_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="session")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run on the sample."""
    from sentiment_cli.workflows.train import fit

    root = tmp_path_factory.mktemp("quick")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTIMENT_DATA", str(root / "data"))
        patch.setenv("SENTIMENT_RUNS", str(root / "runs"))
        small = ["model.encoder.width=8", "model.embedding.width=8", "train.epochs=1"]
        return fit(load_experiment("sample", small), "quick").directory


@pytest.fixture
def forked() -> Callable[..., int]:
    """Do some work in a child process; return its exit code, or minus the signal that ended it."""

    def run(work: Callable[[], object], fail: str | None = None) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on, for a parent with threads
            child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        code = 1
        gc.freeze()  # a session of onnxruntime that is collected here would wait for threads that only the parent has
        try:
            failpoints.arm(fail)
            work()
            code = 0
        except SentimentError as error:
            code = error.exit_code
        finally:
            os._exit(code)

    return run


@pytest.fixture
def places_of(forked: Callable[..., int], tmp_path: Path) -> Callable[..., list[str]]:
    """Return the failpoints that some work passes, as SITE:K."""

    def places(work: Callable[[], object]) -> list[str]:
        visited = tmp_path / "visited"
        visited.write_text("")
        assert forked(work, f"list:{visited}") == 0
        visits = visited.read_text().split()
        visited.unlink()
        return [f"{site}:{visits[: i + 1].count(site)}" for i, site in enumerate(visits)]

    return places
