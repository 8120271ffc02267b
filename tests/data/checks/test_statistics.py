"""The facts of a corpus small enough to count by hand."""

from pathlib import Path

import pytest

from sentiment_cli.data.checks.statistics import corpus_facts, token_lengths
from sentiment_cli.data.corpus.prepare import prepare

TRAIN = [("A good, good film.", "pos", "m1"), ("bad", "neg", "m2"), ("good é", "pos", "m1"), ("so bad", "neg", "m2")]


def table(rows: list[tuple[str, str, str]]) -> str:
    return "\n".join(["text,label,movie", *(f'"{text}",{label},{movie}' for text, label, movie in rows)])


@pytest.fixture
def experiment(own, tmp_path: Path):
    (tmp_path / "t.csv").write_text(table([("A new film", "neg", "m2"), ("", "pos", "m3")]))
    (tmp_path / "u.csv").write_text("text\na new film\nA  new film\nbad bad bad\n")
    settings = [f"data.test={tmp_path}/t.csv", f"data.unlabelled={tmp_path}/u.csv", "text.max_tokens=2"]
    return own("x.csv", table(TRAIN), *settings, "data.valid.share=0.5", "data.valid.by=row")


def test_the_source_as_it_came(experiment) -> None:
    facts = corpus_facts(experiment)
    assert facts["name"] == "x"
    assert facts["labels"] == ["neg", "pos"]
    assert facts["source"]["train"] == {
        "rows": 4,
        "labels": {"neg": 2, "pos": 2},
        "bytes": 18 + 3 + 7 + 6,
        "words": {"mean": 9 / 4, "longest": 4, "in_all": 9},
        "characters_longest": 18,
        "groups": 2,
    }
    assert facts["source"]["test"]["words"] == {"mean": 1.5, "longest": 3, "in_all": 3}
    assert facts["source"]["unsup"] | {"bytes": 0} == {
        "rows": 3,
        "labels": {},
        "bytes": 0,
        "words": {"mean": 3.0, "longest": 3, "in_all": 9},
        "characters_longest": 11,
        "groups": 0,
    }
    assert facts["groups_shared"] == {"train_test": 1, "unsup_test": 0, "unsup_train": 0}


def test_the_rows_as_a_model_reads_them(experiment) -> None:
    facts = corpus_facts(experiment)
    corpus = prepare(experiment)
    known = set(corpus.vocabulary.entries)
    assert list(facts["splits"]) == ["train", "valid", "test", "unsup"]
    assert [facts["splits"][split]["rows"] for split in facts["splits"]] == [
        2,
        2,
        2,
        1,
    ]  # "A new film" stands in test, in either case
    test = facts["splits"]["test"]
    assert (test["tokens"], test["length_mean"], test["without_tokens"], test["truncated_share"]) == (3, 1.5, 1, 0.5)
    assert test["unknown_share"] == sum(word not in known for word in ("a", "new", "film")) / 3
    assert test["length_percentiles"]["0"] == 0
    assert test["length_percentiles"]["100"] == 3
    assert facts["splits"]["train"]["unknown_share"] == 0
    assert facts["vocabulary"]["entries"] == len(corpus.vocabulary.entries)
    assert all(word.isalnum() for word in facts["vocabulary"]["commonest"])
    assert token_lengths(experiment).tolist() == corpus.split("train").length_N.tolist()


def test_unlabelled_rows_that_all_stand_in_test_are_no_split(own, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\na,pos\nb,neg\n")
    (tmp_path / "u.csv").write_text("text\na\n b \n")
    rows = "".join(f"t{i},{'pos' if i % 2 else 'neg'}\n" for i in range(20))
    facts = corpus_facts(
        own("x.csv", f"text,label\n{rows}", f"data.test={tmp_path}/t.csv", f"data.unlabelled={tmp_path}/u.csv")
    )
    assert list(facts["splits"]) == ["train", "valid", "test"]
    assert facts["source"]["unsup"]["rows"] == 2
