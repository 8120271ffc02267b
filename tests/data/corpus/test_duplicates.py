"""Robustness case B13: planted duplicates, exact, but for case and marks, and near; found or not, as promised."""

import random

import numpy as np
import pytest

from sentiment_cli.data.checks.checks import check_data
from sentiment_cli.data.corpus.duplicates import count_duplicates, near_duplicates, normalised_hashes, signatures
from sentiment_cli.data.corpus.prepare import prepare

MASK = 2**64 - 1


def sentence(seed: int, n_words: int) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices("abcdefghijklmnop", k=6)) for _ in range(n_words)]


def slow_signature(text: str) -> list[int]:
    """The definition, word by word: hashes of bytes, then of five hashes, as polynomials; the least of each mixture."""
    base = 0x9E3779B97F4A7C15

    def polynomial(values: list[int]) -> int:
        return sum(value * pow(base, i, 2**64) for i, value in enumerate(values)) & MASK

    words = [polynomial([byte + 1 for byte in word.encode()]) for word in text.lower().split()]
    shingles = [polynomial(words[i : i + 5]) * base & MASK for i in range(len(words) - 4)]
    draws = np.random.default_rng(0).integers(2**63, size=32, dtype=np.uint64)
    factors = [2 * int(draw) + 1 for draw in draws]
    return [
        min(((s ^ (s >> 29)) * factor & MASK) >> 32 for s in shingles) if shingles else 2**32 - 1 for factor in factors
    ]


TEXTS = [
    "",
    "one",
    "one two three four",
    "One  two\tthree\nfour FIVE",
    "a b c d e f g h i",
    "",
    "naïve café 電影 \u00a0 \u2028 \x1c marks … and 🎬 emoji",
    " ".join(sentence(1, 300)),
    "x " * 50,
]


@pytest.mark.parametrize("chunks", [[TEXTS], [TEXTS[:2], [], TEXTS[2:]], [[text] for text in TEXTS], [[]], []])
def test_signatures_are_those_of_the_definition(chunks: list[list[str]]) -> None:
    expected = [slow_signature(text) for chunk in chunks for text in chunk]
    assert signatures(chunks).tolist() == expected


def shingles(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def share(one: list[str], other: list[str]) -> float:
    return len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))


def near(**texts_of: list[str]) -> dict[str, int]:
    exact = {name: normalised_hashes([[f"{text}"] for text in texts]) for name, texts in texts_of.items()}
    return near_duplicates({name: signatures([texts]) for name, texts in texts_of.items()}, exact)


@pytest.mark.parametrize(
    ("n_words", "changed", "expected_share", "least", "most"),
    [
        (100, [99], 0.980, 1.00, 1.00),  # the last word
        (100, [50], 0.901, 0.90, 1.00),  # one in the middle, which is in five shingles
        (40, [39], 0.946, 0.97, 1.00),
        (40, [20], 0.756, 0.10, 0.55),  # one word in forty: below the line, and found at times
        (100, [20, 40, 60, 80], 0.655, 0.00, 0.10),
        (40, [10, 20], 0.565, 0.00, 0.03),
        (100, list(range(67, 100)), 0.488, 0.00, 0.01),
    ],
)
def test_b13_how_near_is_near(
    n_words: int, changed: list[int], expected_share: float, least: float, most: float
) -> None:
    pairs = []
    for seed in range(200):
        one = sentence(seed, n_words)
        other = [word if i not in changed else f"other{i}" for i, word in enumerate(one)]
        pairs.append((one, other))
    assert share(*pairs[0]) == pytest.approx(expected_share, abs=0.001)
    one, other = ([" ".join(pair[side]) for pair in pairs] for side in (0, 1))
    assert near(train=one)["train"] == 0
    found = near(train=one, test=other)
    assert (found["train"], found["test"]) == (0, 0)
    assert least <= found["train_test"] / 200 <= most
    assert near(train=[text for pair in zip(one, other, strict=True) for text in pair])["train"] == found["train_test"]


def test_b13_short_texts_and_exact_repeats_are_not_near_ones() -> None:
    assert near(train=["one two three four", "one two three fore"], test=["one two three four", ""])["train_test"] == 0
    text = " ".join(sentence(3, 50))
    assert near(train=[text, text], test=[text]) == {"train": 0, "test": 0, "train_test": 0}


def test_b13_a_row_of_another_split_hides_no_pair() -> None:
    """Three splits hold versions of one text, and each pair of splits is told by itself; so are the texts inside."""
    words = sentence(5, 200)
    versions = [" ".join([*words[:-1], f"end{i}"]) for i in range(6)]
    assert near(train=versions[:1], test=versions[1:3], unsup=versions[3:]) == {
        "train": 0,
        "test": 1,
        "unsup": 2,
        "train_test": 1,
        "unsup_test": 3,
        "unsup_train": 3,
    }


def test_b13_among_many_versions_of_one_text_all_but_the_first_repeat() -> None:
    words = sentence(6, 300)
    versions = [" ".join([*words[: i + 20], f"v{i}", *words[i + 21 :]]) for i in range(200)]
    assert near(train=versions)["train"] >= 195


def test_b13_rows_that_share_a_band_by_chance_hide_no_pair() -> None:
    """Two texts agree in all hashes but one in each of six bands; between them stand others that share the last two."""
    signature_NH = np.random.default_rng(0).integers(2**31, size=(7, 32)).astype(np.uint32)
    signature_NH[1:, 24:] = signature_NH[0, 24:]
    signature_NH[6] = signature_NH[0]
    signature_NH[6, 0:24:4] += 1
    exact_N = np.arange(7, dtype=np.uint64)
    assert near_duplicates({"train": signature_NH}, {"train": exact_N}) == {"train": 1}
    split = {"train": signature_NH[:1], "test": signature_NH[1:]}
    assert near_duplicates(split, {"train": exact_N[:1], "test": exact_N[1:]})["train_test"] == 1
    assert near_duplicates(split, {"train": exact_N[:1], "test": exact_N[:6]})["train_test"] == 1
    assert near_duplicates(split, {"train": exact_N[:1], "test": exact_N[5::-1]})["train_test"] == 0  # to the letter


def test_counts_inside_are_of_rows_and_across_of_texts() -> None:
    hashes = {
        "train": np.array([1, 1, 1, 2, 3], np.uint64),
        "test": np.array([1, 1, 4], np.uint64),
        "unsup": np.array([3, 5, 4, 4], np.uint64),
    }
    assert count_duplicates(hashes) == {
        "train": 2,
        "test": 1,
        "unsup": 1,
        "train_test": 1,
        "unsup_test": 1,
        "unsup_train": 1,
    }
    assert count_duplicates({"train": hashes["train"]}) == {"train": 2}


def test_normalised_texts_are_equal_but_for_case_marks_and_space() -> None:
    one, two, three, other = normalised_hashes([["A fine\tfilm!", "a FINE film"], ["(afine film...)", "a fine filn"]])
    assert one == two == three != other


def test_b13_data_check_finds_what_was_planted(own, tmp_path) -> None:
    texts = [" ".join(sentence(i, 30)) for i in range(30)]
    train = [*texts[:20], texts[0], f" {texts[1].replace(' ', '  ')}", texts[2].upper() + "!", texts[3] + " more"]
    test = [*texts[20:], texts[4], texts[4], texts[5] + ".", "new " + texts[6]]
    for name, rows in (("x.csv", train), ("t.csv", test)):
        lines = [f'"{text}",{"ab"[i % 2]}' for i, text in enumerate(rows)]
        (tmp_path / name).write_text("\n".join(["text,label", *lines]))
    report = check_data(own("x.csv", None, f"data.test={tmp_path}/t.csv").data)
    assert report.duplicates == {"train": 2, "test": 1, "train_test": 1}
    assert report.duplicates_normalised == {"train": 3, "test": 1, "train_test": 2}
    # "more" and "new" are one shingle more, and with a mark the last word is another one
    assert report.duplicates_near == {"train": 2, "test": 0, "train_test": 2}
    told = {finding.what: (finding.severity, finding.count) for finding in report.findings}
    assert told["texts in both train and test"] == ("warning", 1)
    assert told["rows of train that repeat another"] == ("note", 2)


def test_b13_deduplicate_leaves_out_training_rows_alone(own) -> None:
    rows = [f"text  {i % 50},{'ab'[i % 2]}" for i in range(100)] + [f"text {i} ,{'ab'[i % 2]}" for i in range(50)]
    content = "\n".join(["text,label", *rows])
    every, once = prepare(own("x.csv", content)), prepare(own("x.csv", content, "data.deduplicate=true"))
    for split in ("valid", "test"):
        assert every.ids(split) == once.ids(split)
    kept, first = once.ids("train"), {}
    for name in every.ids("train"):
        first.setdefault(int(name) % 50, name)
    assert kept == list(first.values())
    assert len(kept) < len(every.ids("train"))
