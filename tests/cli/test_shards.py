"""`predict --workers`, `--parts`, `--shard`, `--merge`; folders, patterns and URLs as `--file`."""

import json
from pathlib import Path

import pytest

from sentiment_cli.cli import shards


@pytest.fixture
def here(quick_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to be in, with a table and a folder of two, where the quick run is the newest one."""
    monkeypatch.setenv("SENTIMENT_RUNS", str(quick_run.parent))
    monkeypatch.chdir(tmp_path)
    Path("logs").mkdir()
    for name, word in (("a.csv", "good"), ("logs/1.csv", "bad"), ("logs/2.csv", "fine"), ("logs/_SUCCESS", "")):
        Path(name).write_text("id,text\n" + "".join(f"{i},a {word} film\n" for i in range(20)) if word else "")
    return tmp_path


def test_one_process_two_workers_and_shards_write_the_same_bytes(typed, here: Path) -> None:
    assert typed("predict", "--file", "a.csv", "--out", "one.csv").code == 0
    assert typed("predict", "--file", "a.csv", "--out", "two.csv", "--workers", "2").code == 0
    assert typed("predict", "--file", "a.csv", "--out", "three.csv", "--parts", "parts").code == 0
    for k in (2, 1):
        assert typed("predict", "--file", "a.csv", "--parts", "sharded", "--shard", f"{k}/2").code == 0
    assert typed("predict", "--file", "a.csv", "--parts", "sharded", "--merge", "--out", "four.csv").code == 0
    one = Path("one.csv").read_bytes()
    assert all(Path(f"{name}.csv").read_bytes() == one for name in ("two", "three", "four"))


def test_a_merge_of_parts_that_are_not_there_says_which_and_how_to_score_them(typed, here: Path) -> None:
    found = typed("predict", "--file", "a.csv", "--parts", "parts", "--merge", "--out", "out.csv")
    assert found.code == 3
    assert found.error.startswith("1 of 1 parts are missing in parts: part-")
    assert found.hint == "sentiment predict --file a.csv --parts parts --out out.csv"
    assert not Path("out.csv").exists()


def test_folders_and_patterns_are_read_in_the_order_of_their_names(typed, here: Path) -> None:
    for source in ("logs", "logs/*.csv", "logs/?.csv"):
        assert typed("predict", "--file", source, "--out", "out.csv").code == 0
        rows = Path("out.csv").read_text().splitlines()[1:]
        assert [row.split(",")[1] for row in rows] == ["a bad film"] * 20 + ["a fine film"] * 20


def test_what_would_be_read_the_next_time_is_not_written(typed, here: Path) -> None:
    for source in ("logs", "logs/*.csv"):
        found = typed("predict", "--file", source, "--out", "logs/out.csv")
        assert found.code == 2
        assert found.error.startswith("logs/out.csv would be one of the files")
        assert found.hint.endswith("--out answers/out.csv")


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_urls_are_read_by_fsspec_and_nothing_of_them_stays(typed, here: Path, scheme: str, capsys) -> None:
    fsspec = pytest.importorskip("fsspec")
    root = f"memory://{here.name}" if scheme == "memory" else f"file://{here}"
    if scheme == "memory":
        for name in ("a.csv", "logs/1.csv", "logs/2.csv"):
            with fsspec.open(f"{root}/{name}", "wb") as file:
                file.write(Path(name).read_bytes())
    for name, n in (("a.csv", 20), ("logs", 40), ("logs/*.csv", 40)):
        assert typed("predict", "--file", f"{root}/{name}", "--out", "out.csv", "--workers", "2").code == 0
        assert len(Path("out.csv").read_text().splitlines()) == n + 1
    for k in (1, 2):
        found = typed("predict", "--file", f"{root}/a.csv", "--parts", "parts", "--shard", f"{k}/2")
        assert found.code == 0
    assert len(list(Path("parts").glob("plan-*"))) == 1  # of the second copy, too
    assert typed("predict", "--file", f"{root}/none.csv").code == 3
    assert not list(here.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("nothing://x/y.csv", 2, "fsspec knows no such scheme"),
        ("ftp://user:secret@127.0.0.1:1/y.csv", 4, "ftp://127.0.0.1:1/y.csv cannot be read: ConnectionRefusedError"),
    ],
)
def test_urls_that_cannot_be_read_are_said_without_their_password(typed, here: Path, url, code, said) -> None:
    found = typed("predict", "--file", url)
    assert found.code == code
    assert said in found.error
    assert "secret" not in found.error + found.hint.replace(url, "")


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (["good film", "--workers", "2"], "--workers goes with --file", "sentiment predict 'good film'"),
        (["--file", "a.csv", "--shard", "1/2"], "--shard goes with --parts", "--file a.csv --shard 1/2 --parts parts"),
        (["--file", "a.csv", "--merge"], "--merge goes with --parts", "--file a.csv --merge --parts parts"),
        (["--file", "a.csv", "--parts", "p", "--shard", "3/2"], "not K/N with K from 1 to N", "--shard 1/2"),
        (["--file", "a.csv", "--parts", "p", "--shard", "x"], "--shard is 'x'", "--shard 1/1"),
        (["--file", "a.csv", "--parts", "p", "--shard", "1/2", "--merge"], "both given", "--parts p --merge"),
        (["--file", "a.csv", "--parts", "p", "--shard", "1/2", "--out", "o.csv"], "has no --out", "--shard 1/2"),
        (["--file", "a.csv", "--parts", "p", "--merge", "--workers", "2"], "needs no --workers", "--parts p --merge"),
        (["--file", "a.csv", "--workers", "2", "--explain"], "do not go with --workers", "--file a.csv --explain"),
        (["--file", "a.csv", "--out", "s3://bucket/out.csv"], "and s3:/bucket/out.csv a URL", "--out out.csv"),
        (["--file", "logs/*.txt"], "no file matches the pattern", "ls"),
        (["--file", "a.csv", "--workers", "0"], "greater than or equal to 1", "--help"),
    ],
)
def test_options_that_do_not_go_together(typed, here: Path, words: list[str], said: str, hint: str) -> None:
    found = typed("predict", *words)
    assert found.code in (2, 3)
    assert said in found.error
    assert found.hint.endswith(hint) or hint in found.hint


def test_an_interrupted_run_says_that_its_parts_are_kept(typed, here: Path, monkeypatch, capsys) -> None:
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sentiment_cli.inference.batch.predict_all.write_answers", interrupt)
    scale = shards.Scale(1, Path("parts"))
    from sentiment_cli.data.tables.readers import Format
    from sentiment_cli.inference.batch.sources import Files
    from sentiment_cli.runs.directory import find_run

    source = scale.read(Files([Path("a.csv")], [1]), None, "stop", Format())
    with pytest.raises(KeyboardInterrupt):
        scale.predict(find_run(None), source, "csv", Path("o.csv"), on_error="stop", is_safe=True)
    assert "interrupted: what is finished is in parts, and the same command continues" in capsys.readouterr().err


def test_rows_of_json_that_no_model_reads_are_rejects_of_every_worker(typed, here: Path) -> None:
    rows = [{"text": "fine"}, {"text": None}, {"text": "x\ud800"}, {"other": 1}] * 3
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["predict", "--file", "in.jsonl", "--on-error", "skip"]
    assert typed(*words, "--out", "one.jsonl").code == 0
    assert typed(*words, "--out", "two.jsonl", "--workers", "2").code == 0
    assert Path("one.jsonl").read_bytes() == Path("two.jsonl").read_bytes()
    assert Path("one.jsonl.rejects.jsonl").read_bytes() == Path("two.jsonl.rejects.jsonl").read_bytes()
    assert typed("predict", "--file", "in.jsonl", "--workers", "2").code == 3


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (["--on", "ray"], "--on goes with --parts", "--on ray --parts parts"),
        (["--parts", "p", "--on", "spark"], "--on is 'spark', not ray", "--parts p --on ray"),
        (["--parts", "p", "--on", "ray://head.example"], "ray://HOST:PORT", "--on ray://head.example:6379"),
        (["--parts", "p", "--on", "ray", "--shard", "1/2"], "goes without --shard", "--parts p --on ray"),
        (["--parts", "p", "--on", "ray", "--merge"], "goes without --merge", "--parts p --on ray"),
        (["--parts", "p", "--on", "ray", "--workers", "2"], "goes without --workers", "--parts p --on ray"),
    ],
)
def test_what_does_not_go_with_ray_is_said_before_ray_is_loaded(typed, here: Path, words, said: str, hint: str) -> None:
    found = typed("predict", "--file", "a.csv", *words)
    assert found.code == 2
    assert said in found.error
    assert found.hint.endswith(hint)


def test_ray_that_is_not_installed_is_a_command_to_type(typed, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentiment_cli.extras.is_installed", lambda package: package != "ray")
    found = typed("predict", "--file", "a.csv", "--out", "o.csv", "--parts", "p", "--on", "ray")
    assert found.code == 4
    assert found.error == "--on ray needs ray, which is not installed"
    assert found.hint == "pip install 'sentiment-cli[ray]'"


def test_files_at_a_url_are_not_for_the_workers_of_a_cluster(typed, here: Path) -> None:
    words = ("predict", "--file", f"file://{here}/a.csv", "--parts", "p", "--on", "ray://auto")
    found = typed(*words)
    assert found.code == 2
    assert "is copied to this machine" in found.error
    assert found.hint.endswith("--parts p --on ray")
