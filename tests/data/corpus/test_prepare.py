import gzip
import io
import lzma
import os
import shutil
import signal
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.data.checks import checks
from sentiment_cli.data.checks.statistics import corpus_facts
from sentiment_cli.data.corpus import cache
from sentiment_cli.data.corpus import prepare as prepare_module
from sentiment_cli.data.corpus.packed import SPLITS, Corpus
from sentiment_cli.data.corpus.prepare import corpus_keys, prepare
from sentiment_cli.data.corpus.raw_texts import SPLITS_OF, key_of
from sentiment_cli.data.sources import sample
from sentiment_cli.data.sources.review import Review
from sentiment_cli.data.sources.source import find_source
from sentiment_cli.data.tables.readers import Rejects
from sentiment_cli.errors import DataError, UsageError
from sentiment_cli.storage.store import read_manifest


def words_of(prepared: Corpus, split: str) -> list[list[str]]:
    packed = prepared.split(split)
    rows = np.split(packed.ids_T, packed.starts_N1[1:-1])
    return [[prepared.vocabulary.entries[i] for i in row] for row in rows]


def reviews_of(source: str, *parts: str) -> list[tuple[str, Review]]:
    found = find_source(load_experiment(source).data)
    return [row for part in parts for row in found.rows(part, Rejects("stop"))]


def test_the_bundled_sample_is_the_generators_output() -> None:
    assert sorted(reviews_of("sample", "labelled", "unlabelled")) == sorted(sample.generate_reviews())


def test_the_sample_is_as_promised() -> None:
    rows = list(sample.generate_reviews())
    movies = {split: Counter(r.group for s, r in rows if s == split) for split in ("train", "test", "unsup")}
    assert Counter(split for split, _ in rows) == {"train": 2000, "test": 1000, "unsup": 2000}
    assert len(movies["train"]) == 100
    assert max(max(counts.values()) for counts in movies.values()) <= 30
    assert not movies["train"].keys() & (movies["test"].keys() | movies["unsup"].keys())
    for split in ("train", "test"):
        both = {(r.group, r.label) for s, r in rows if s == split}
        assert len(both) == 2 * len(movies[split])
    assert all((r.stars >= 7) == (r.label == "pos") and r.stars not in (5, 6) for s, r in rows if s != "unsup")


def test_movies_of_training_and_validation_are_disjoint(experiment) -> None:
    prepared = prepare(experiment())
    train, valid, test = (prepared.split(split) for split in ("train", "valid", "test"))
    assert not set(train.group_N) & set(valid.group_N)
    assert not set(train.group_N) & set(test.group_N)
    assert len(train.label_N) + len(valid.label_N) == 2000
    assert not set(prepared.ids("train")) & set(prepared.ids("valid"))


def test_packs_hold_the_reviews_words_in_order(experiment) -> None:
    prepared = prepare(experiment("vocabulary.size=null"))
    texts = {review.id: review for split, review in sample.generate_reviews() if split == "test"}
    packed = prepared.split("test")
    for name, label, stars, words in zip(
        prepared.ids("test")[:50], packed.label_N, packed.stars_N, words_of(prepared, "test"), strict=False
    ):
        review = texts[name]
        assert (prepared.labels[label], stars) == (review.label, review.stars)
        text = review.text.lower().replace("<br />", " ")
        known = [word for word in words if word != "<unk>"]
        position = 0
        for word in known:  # each word stands in the text, after the one before
            position = text.index(word, position) + len(word)


@pytest.mark.parametrize("splits", [("train",), ("train", "valid"), ("valid",)])
def test_invariant_10_the_vocabulary_comes_from_the_named_rows_only(experiment, splits) -> None:
    prepared = prepare(
        experiment(f"vocabulary.from=[{', '.join(splits)}]", "vocabulary.size=null", "vocabulary.min_count=1")
    )
    counted = Counter(word for split in splits for row in words_of(prepared, split) for word in row)
    vocabulary = prepared.vocabulary
    assert set(vocabulary.entries[2:]) == set(counted)
    words = {
        name: {w for s, r in sample.generate_reviews() if s == name for w in r.text.lower().split()} for name in SPLITS
    }
    test_only = words["test"] - words["train"]
    assert test_only
    assert not test_only & set(vocabulary.entries)


def test_cache_hit_and_miss(experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    build = prepare_module._build
    monkeypatch.setattr(prepare_module, "_build", lambda *args: built.append(args) or build(*args))
    first = prepare(experiment())
    for setting in ("train.lr=1", "seed=5", "text.max_tokens=10", "model.encoder.width=3", "name=other"):
        assert prepare(experiment(setting)).key == first.key
    assert len(built) == 1
    for setting in ("vocabulary.size=50", "text.lowercase=false", "data.valid.seed=1", "text.markup=keep"):
        assert prepare(experiment(setting)).key != first.key
    assert len(built) == 5


@pytest.mark.parametrize("name", ["vocabulary.json", "train-ids_T.int32", "valid-label_N.int64", "manifest.json"])
def test_invariant_2_a_damaged_cache_rebuilds_itself_with_a_warning(experiment, capsys, name: str) -> None:
    first = prepare(experiment())
    good = {path.name: path.read_bytes() for path in first.directory.iterdir()}
    (first.directory / name).write_bytes(good[name][:-1] + bytes([good[name][-1] ^ 1]))
    again = prepare(experiment())
    assert "preparing it again" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in again.directory.iterdir()} == good


def test_the_sample_is_not_decided_by_single_words() -> None:
    """Bags of one, two and three words stay well below what reading in order reaches (sample.yaml: 96.6 %)."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    rows = list(sample.generate_reviews())
    train, test = ([review for s, review in rows if s == split] for split in ("train", "test"))
    for longest in (1, 2, 3):
        bag = CountVectorizer(ngram_range=(1, longest), token_pattern=r"[\w']+")
        model = LogisticRegression(C=0.3, max_iter=2000)
        model.fit(bag.fit_transform([r.text for r in train]), [r.label for r in train])
        assert 0.75 < model.score(bag.transform([r.text for r in test]), [r.label for r in test]) < 0.85


def test_an_entry_serves_by_its_key_without_its_source(experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(experiment())

    def no_source(data):
        raise AssertionError("the source was looked for")

    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "find_source", no_source)
        assert prepare(experiment(), key=first.key).key == first.key
    with pytest.raises(DataError, match=f"the data at hand is {first.key}, other reviews than other-0123456789abcdef"):
        prepare(experiment(), key="other-0123456789abcdef")


def test_f16_who_finds_the_data_whole_removes_what_a_killed_process_left(experiment, forked, tmp_path: Path) -> None:
    # Its fourth flush of a directory is the one after the pack has its name and before the lock is given back.
    assert forked(lambda: prepare(experiment()), "flush_directory:4:kill") == -signal.SIGKILL
    raw, entries = tmp_path / "data" / "raw", tmp_path / "data" / "cache"
    raw.mkdir()
    (raw / ".aclImdb_v1.tar.gz.lock").touch()
    assert len(list(entries.glob(".*.lock"))) == 1
    before = prepare(experiment()).directory.stat()
    assert {path.name[0] for path in entries.iterdir()} == {"s", "t"}
    assert not list(raw.iterdir())
    assert prepare(experiment()).directory.stat().st_ino == before.st_ino


def test_f14_parts_of_one_table_that_change_places_are_made_again(experiment, tmp_path: Path) -> None:
    rows = [f"sentence {number},{('bad', 'good', '')[number % 3]}\n" for number in range(90)]
    (tmp_path / "x.csv").write_text("text,label\n" + "".join(rows))
    settings = experiment(f"data.source={tmp_path / 'x.csv'}", "data.without_label=unlabelled")
    first = prepare(settings, (*SPLITS, "unsup"))
    source = find_source(settings.data)
    one, other = (cache.directory_of(key_of(source, part).directory_name) for part in SPLITS_OF)
    manifests = read_manifest(one), read_manifest(other)
    between = tmp_path / "between"
    one.rename(between)
    other.rename(one)
    between.rename(other)
    for directory in set(first.directories.values()):
        shutil.rmtree(directory)
    assert prepare(settings, (*SPLITS, "unsup")) == first
    assert (read_manifest(one), read_manifest(other)) == manifests


def test_rows_of_the_url_list_without_a_movie_shift_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample_folder: Path
) -> None:
    shutil.copytree(sample_folder, tmp_path / "aclImdb")
    urls = tmp_path / "aclImdb" / "train" / "urls_pos.txt"
    lines = urls.read_text().splitlines()
    urls.write_text("\n".join(["no movie here", *lines[1:]]))
    monkeypatch.setenv("SENTIMENT_IMDB", str(tmp_path))
    rows = reviews_of("default", "labelled")
    groups = {review.id.partition("_")[0]: review.group for split, review in rows if split == "train"}
    assert groups["pos/0"] is None
    assert groups["pos/1"] in lines[1]


def test_an_archive_and_its_folder_make_one_entry_of_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample_folder: Path
) -> None:
    keys = []
    for kind in ("gz", "xz", "folder"):
        path = sample_folder
        if kind != "folder":
            path = tmp_path / f"a.tar.{kind}"
            with (
                tarfile.open(path, f"w:{kind}", preset=0)
                if kind == "xz"
                else tarfile.open(path, f"w:{kind}") as archive
            ):
                archive.add(sample_folder, "aclImdb")
        monkeypatch.setenv("SENTIMENT_IMDB", str(path))
        keys.append(prepare(load_experiment("default")).key)
    assert len(set(keys)) == 1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: None, "does not exist"),
        (lambda p: p.write_bytes(b"not an archive"), "is not a readable tar archive"),
        (lambda p: p.write_bytes(b""), "is not"),
        (lambda p: p.mkdir(), "is not the IMDb corpus"),
        (lambda p: tarfile.open(p, "w:gz").close(), "is not the IMDb corpus"),
        (lambda p: truncated(p), "is not a readable tar archive"),
    ],
)
def test_what_is_not_imdb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make, said: str) -> None:
    path = tmp_path / "a.tar.gz"
    make(path)
    monkeypatch.setenv("SENTIMENT_IMDB", str(path))
    with pytest.raises(DataError, match=said) as caught:
        prepare(load_experiment("default"))
    assert str(path) in str(caught.value)
    assert "SENTIMENT_IMDB" in (caught.value.hint or "")
    assert list((tmp_path / "data").rglob("*.*")) == []


def truncated(path: Path) -> None:
    review = tarfile.TarInfo("aclImdb/train/pos/0_9.txt")
    review.size = 100_000
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(review, io.BytesIO(os.urandom(review.size)))
    path.write_bytes(path.read_bytes()[:20_000])


@pytest.fixture
def unpacked_imdb(imdb_path: Path, tmp_path: Path) -> Iterator[Path]:
    """The real corpus as a plain tar file: it is read twice and unpacked once."""
    opened = {".xz": lzma.open, ".gz": gzip.open}.get(imdb_path.suffix)
    if opened is None:
        yield imdb_path
        return
    plain = tmp_path / "aclImdb.tar"
    with opened(imdb_path) as packed, plain.open("wb") as file:
        shutil.copyfileobj(packed, file, 2**20)
    yield plain
    plain.unlink()  # 200 MB, which pytest would keep


def no_shingles(texts: Iterable[list[str]]) -> NDArray[np.uint32]:
    """Signatures of texts that are like no other."""
    return np.full((sum(map(len, texts)), 32), 2**32 - 1, dtype=np.uint32)


@pytest.mark.corpus
def test_b13_the_real_corpus_has_its_published_counts_and_duplicates(
    unpacked_imdb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTIMENT_IMDB", str(unpacked_imdb))
    facts = corpus_facts(load_experiment("tutorial-rnn"))
    assert {split: row["rows"] for split, row in facts["splits"].items()} == {
        "train": 18_750,
        "valid": 6_250,
        "test": 25_000,
        "unsup": 49_730,  # 270 rows, 266 texts, stand in test
    }
    came = facts["source"]
    assert [came[split]["labels"] for split in ("train", "test")] == [{"neg": 12_500, "pos": 12_500}] * 2
    assert came["unsup"]["rows"] == 50_000
    assert sum(row["bytes"] for row in came.values()) == 131_990_302
    assert round(came["train"]["words"]["mean"], 1) == 233.8
    assert came["train"]["words"]["longest"] == 2_470
    assert max(row["characters_longest"] for row in came.values()) == 14_282
    assert {split: row["groups"] for split, row in came.items()} == {"train": 3_456, "test": 3_581, "unsup": 7_091}
    assert facts["groups_shared"] == {"train_test": 1, "unsup_test": 0, "unsup_train": 0}
    vocabulary = facts["vocabulary"]
    assert vocabulary["entries"] - vocabulary["specials"] == 121_364
    assert vocabulary["specials"] == 1
    assert vocabulary["commonest"] == {
        "the": 334_691,
        "and": 162_228,
        "a": 161_940,
        "of": 145_326,
        "to": 135_042,
        "is": 106_855,
        "in": 93_028,
        "it": 77_099,
        "i": 75_719,
        "this": 75_190,
    }
    monkeypatch.setattr(checks, "signatures", no_shingles)  # near duplicates are counted in test_duplicates.py
    found = checks.check_data(load_experiment("tutorial-rnn").data)
    names = ["train", "test", "unsup", "train_test", "unsup_test", "unsup_train"]
    assert found.to_json()["duplicates"] == dict(zip(names, [96, 199, 493, 123, 266, 354], strict=True))
    assert list(found.duplicates_near) == names


def test_folds_are_in_the_key_only_where_they_are_asked_for_and_then_the_share_is_not(experiment) -> None:
    prepare(experiment(), ("train",))

    def valid(*settings: str) -> dict[str, object]:
        return corpus_keys(experiment(*settings))[-1].depends_on["data"]["valid"]

    assert valid() == {"by": "auto", "share": experiment().data.valid.share, "seed": 0}
    folds = ("data.valid.folds=5", "data.valid.fold=2")
    assert valid(*folds) == valid(*folds, "data.valid.share=0.3") == {"by": "auto", "seed": 0, "folds": 5, "fold": 2}


@pytest.mark.parametrize("unknown", ["own", "padding"])
def test_a_start_token_is_an_entry_and_in_no_pack_but_in_the_key(experiment, unknown: str) -> None:
    settings = ("vocabulary.size=null", f"vocabulary.unknown={unknown}", "model.embedding.word_dropout=0")
    without, with_start = (prepare(experiment(*settings, f"text.start={on}")) for on in ("false", "true"))
    assert without.key != with_start.key
    assert with_start.vocabulary.entries[1] == "<start>"
    assert (without.vocabulary.start_id, with_start.vocabulary.start_id) == (None, 1)
    assert with_start.vocabulary.specials == without.vocabulary.specials + 1
    ids_T, ids_with_T = without.split("train").ids_T, with_start.split("train").ids_T
    assert 1 not in ids_with_T
    assert np.array_equal(
        np.where(ids_T >= without.vocabulary.unknown_id + (unknown == "padding"), ids_T + 1, 0), ids_with_T
    )
    assert (
        "start" not in corpus_keys(experiment(*settings))[-1].depends_on["text"]
    )  # of packs without one, the key stays


def test_star_ratings_are_the_last_numbers_of_the_file_names(experiment) -> None:
    corpus = prepare(experiment("data.target=stars"))
    for split in ("train", "valid", "test"):
        stars_N = corpus.split(split).stars_N
        assert stars_N.tolist() == [int(name.rsplit("_")[-1]) for name in corpus.ids(split)]
        assert set(stars_N.tolist()) <= {1, 2, 3, 4, 7, 8, 9, 10}
    assert corpus.key == prepare(experiment()).key


def test_stars_are_asked_of_a_source_that_has_none(own, small_csv: str) -> None:
    with pytest.raises(UsageError) as caught:
        prepare(own("my.csv", small_csv, "data.target=stars"))
    said = str(caught.value)
    assert said.startswith("data.target is stars, and data.source is ")
    assert "my.csv, which has labels alone: imdb, sample and what is laid out as IMDb is have star ratings" in said
    assert caught.value.hint == "--set data.target=label"


def test_rows_without_stars_are_refused_where_they_are_to_be_learnt(own, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    for split in ("train", "test"):
        for label, stars in (("neg", 2), ("pos", 8)):
            (root / split / label).mkdir(parents=True)
            (root / split / f"urls_{label}.txt").write_text("".join(f"/title/tt{i:07d}/\n" for i in range(40)))
            for i in range(40):
                rating = 0 if (split, label) == ("test", "neg") else stars
                (root / split / label / f"{i}_{rating}.txt").write_text(f"a {label} film {i} {split}")
    experiment = own("corpus", None, "data.target=stars", "data.valid.by=row")
    assert set(prepare(experiment).split("test").stars_N.tolist()) == {0, 8}  # nothing is learnt from test rows
    for i in range(40):
        (root / "train" / "pos" / f"{i}_8.txt").rename(root / "train" / "pos" / f"{i}_{(0, 11, 99)[i % 3]}.txt")
    with pytest.raises(DataError) as caught:
        prepare(experiment)
    assert "data.target is stars, and 36 of the 72 train reviews of " in str(caught.value)
    assert "have no rating from 1 to 10, as in the file name 0_7.txt" in str(caught.value)
    assert caught.value.hint == "--set data.target=label"
    assert prepare(own("corpus", None, "data.valid.by=row"))
