"""`sentiment prepare` and `sentiment data …` on people's own data, through the command line."""

import json
import re
from pathlib import Path

import pytest

from sentiment_cli.config.paths import data_dir
from sentiment_cli.data.corpus.cache import find_entry
from sentiment_cli.errors import UsageError
from sentiment_cli.storage.store import open_directory

THREE = "text,label\n" + "".join(f"film {i} {'abc'[i % 3] * 4},{('bad', 'fair', 'good')[i % 3]}\n" for i in range(90))


@pytest.fixture
def reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.csv").write_text(THREE)
    return tmp_path / "reviews.csv"


def test_own_data_are_prepared_described_and_checked(cli, reviews: Path) -> None:
    own = ("sample", "--set", "data.source=reviews.csv")
    prepared = cli("prepare", *own)
    assert prepared.returncode == 0, prepared.stderr
    directory = open_directory(Path(prepared.stdout.strip()))
    assert directory.name.startswith("reviews-")
    assert "data: reviews.csv: text in 'text', label in 'label'" in prepared.stderr
    info = cli("data", "info", *own, "--json", "--plot", "lengths.svg")
    assert info.returncode == 0, info.stderr
    assert info.stderr.count("data: prepared before, in ") == 2  # nothing is made twice
    facts = json.loads(info.stdout)
    assert facts["labels"] == ["bad", "fair", "good"]
    assert facts["source"]["train"]["labels"] == {"bad": 30, "fair": 30, "good": 30}
    assert "<svg" in (reviews.parent / "lengths.svg").read_text()
    shown = cli("data", "info", *own).stdout
    assert re.search(r"^train +90 reviews \(bad 30, fair 30, good 30\)", shown, re.M)
    assert re.search(r"most frequent words: film 7\d", shown)
    assert re.search(r"^ +\d+-\d+ +#+ +7\d$", shown, re.M)
    check = cli("data", "check", *own)
    assert check.returncode == 0
    assert re.search(r"^exact +0$", check.stdout, re.M)


def test_b12_one_class_fails_the_check_with_exit_code_3_and_its_report(cli, reviews: Path) -> None:
    reviews.write_text(re.sub("bad|fair", "good", THREE) + ",good\n")
    done = cli("data", "check", "sample", "--set", "data.source=reviews.csv")
    assert done.returncode == 3
    assert "error: the data cannot be trained on: every training row is labelled good" in done.stderr
    assert re.search(r"^error +91  every training row is labelled good$", done.stdout, re.M)
    assert re.search(r"^warning +1  empty texts in train: train 91$", done.stdout, re.M)
    as_json = cli("data", "check", "sample", "--set", "data.source=reviews.csv", "--json")
    assert as_json.returncode == 3
    assert [finding["severity"] for finding in json.loads(as_json.stdout)["findings"]] == ["error", "warning"]
    prepared = cli("prepare", "sample", "--set", "data.source=reviews.csv")
    assert (prepared.returncode, prepared.stdout) == (3, "")
    assert "a classifier needs two labels at least\n  try: sentiment data check --set data.source=" in prepared.stderr


def test_b10_a_bad_row_is_exit_code_3_with_what_to_type(cli, reviews: Path) -> None:
    reviews.write_text(THREE.replace("film 5 ", 'film\x1b[2J "5", '))
    done = cli("prepare", "sample", "--set", "data.source=reviews.csv")
    assert done.returncode == 3
    assert "reviews.csv, row 6 (line 7): 3 fields where the header names 2" in done.stderr
    assert "try: sentiment prepare sample --set data.source=reviews.csv --set data.on_error=skip" in done.stderr
    skipping = ("--set", "data.source=reviews.csv", "--set", "data.on_error=skip")
    assert cli("prepare", "sample", *skipping).returncode == 0
    check = cli("data", "check", "sample", *skipping)
    assert re.search(r"^warning +1  rows left out, listed in .*rejects\.jsonl$", check.stdout, re.M)


def test_a_wrong_name_suggests_the_near_one(cli, reviews: Path) -> None:
    done = cli("prepare", "sample", "--set", "data.source=reveiws.csv")
    assert done.returncode == 3
    assert f"data.source is {reviews.parent}/reveiws.csv: there is no such file" in done.stderr
    assert f"try: sentiment prepare sample --set data.source={reviews}\n" in done.stderr


def test_a_picture_that_cannot_be_made_is_told_before_any_work(cli, reviews: Path) -> None:
    done = cli("data", "info", "sample", "--set", "data.source=reviews.csv", "--plot", "my picture.bmp")
    assert done.returncode == 2
    assert "the name should end in .png, .svg or .pdf\n" in done.stderr
    assert "try: sentiment data info sample --set data.source=reviews.csv --plot 'my picture.bmp.svg'" in done.stderr
    assert not data_dir().exists()


def test_cache_commands(cli, reviews: Path) -> None:
    own = ("sample", "--set", "data.source=reviews.csv")
    assert "there are no prepared data yet" in cli("data", "cache", "list").stderr
    why = cli("data", "cache", "why", *own)
    assert re.fullmatch(r"texts-labelled-reviews-\w{16} is not prepared, and nothing similar is\n", why.stdout)
    pack = Path(cli("prepare", *own).stdout.strip()).name
    rows = json.loads(cli("data", "cache", "list", "--json").stdout)
    assert [row["name"] for row in rows] == [pack, *(row["name"] for row in rows[1:])]
    assert all(row["bytes"] > 1000 for row in rows)
    assert [row["name"].rpartition("-")[0] for row in rows] == ["reviews", "texts-labelled-reviews"]
    listed = cli("data", "cache", "list").stdout
    assert re.search(rf"^ +0\.0 MB  \d{{4}}-\d\d-\d\d \d\d:\d\d  {pack}$", listed, re.M)
    texts = rows[1]["name"]
    assert cli("data", "cache", "why", *own).stdout == f"{texts} is prepared\n{pack} is prepared\n"
    changed = (*own, "--set", "text.lowercase=false", "--set", "train.lr=1", "--json")
    found, missed = json.loads(cli("data", "cache", "why", *changed).stdout)
    assert (found["name"], found["is_there"], missed["is_there"]) == (texts, True, False)
    assert (missed["nearest"], missed["differs"]) == (pack, ["text.lowercase: true → false"])
    reviews.write_text(THREE + "one more,good\n")
    edited = cli("data", "cache", "why", *own).stdout
    assert re.search(rf'; {texts} differs in:\n  source: "\w{{12}}…" → "\w{{12}}…"\n$', edited)


def test_cache_remove_takes_names_of_entries_and_nothing_else(cli, reviews: Path, tmp_path: Path) -> None:
    pack = Path(cli("prepare", "sample", "--set", "data.source=reviews.csv").stdout.strip())
    cache = pack.parent
    (cache / "not").mkdir()
    (tmp_path / "mine-1").mkdir()
    for name in ("..", "../../mine-1", str(pack), f"{pack.name}/", "not"):
        done = cli("data", "cache", "remove", "--", pack.name, name)
        assert done.returncode == 2, name
        assert f"there is no cache entry {name!r}" in done.stderr
        assert "try: sentiment data cache list" in done.stderr
    assert pack.is_dir()  # nothing is removed when one of the names is wrong
    for name in ("", ".", "../x", "*", "*-*", str(tmp_path / "mine-1"), f"./{pack.name}", f"../cache/{pack.name}"):
        with pytest.raises(UsageError, match="there is no cache entry"):
            find_entry(name)
    for wrong in ([], [pack.name, "--all"]):
        done = cli("data", "cache", "remove", *wrong)
        assert (done.returncode, "name the entries to remove, or add --all" in done.stderr) == (2, True)
    assert cli("data", "cache", "remove", pack.name, pack.name).stdout == f"{pack}\n"
    assert not pack.exists()
    assert len(cli("data", "cache", "remove", "--all").stdout.splitlines()) == 1
    assert {path.name for path in cache.iterdir()} == {"not"}
    assert (tmp_path / "mine-1").is_dir()
    assert reviews.exists()
    assert cli("data", "cache", "remove", "--all").returncode == 0
