"""Tables and sentences within a width: no line is longer, and no word is broken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_cli.layout import Column, cell_width, table, wrapped

COLUMNS = (Column("name"), Column("test %", is_right=True), Column("time", is_right=True, drop=1), Column("what"))
ROWS = [
    ("linear", "91.86", "7 s", "logistic regression on word n-grams"),
    ("gru-attention", "90.47", "9 min", "a GRU whose states are weighted by a learnt query"),
]
WIDE = """\
name           test %   time  what
linear          91.86    7 s  logistic regression on word n-grams
gru-attention   90.47  9 min  a GRU whose states are weighted by a learnt query"""
WITHOUT_TIME = """\
name           test %  what
linear          91.86  logistic regression on word n-grams
gru-attention   90.47  a GRU whose states are weighted by a learnt query"""
FOLDED = """\
name           test %  what
linear          91.86  logistic regression on word
                       n-grams
gru-attention   90.47  a GRU whose states are
                       weighted by a learnt query"""
VERTICAL = """\
name    linear
test %  91.86
what    logistic regression on
        word n-grams

name    gru-attention
test %  90.47
what    a GRU whose states are
        weighted by a learnt
        query"""


@pytest.mark.parametrize(
    ("width", "expected"), [(None, WIDE), (80, WIDE), (75, WITHOUT_TIME), (50, FOLDED), (30, VERTICAL)]
)
def test_a_table_drops_columns_then_wraps_then_goes_vertical(width: int | None, expected: str) -> None:
    assert table(COLUMNS, ROWS, width) == expected.splitlines()


@given(
    st.lists(st.tuples(*[st.text("abc ", max_size=12)] * 3, st.text("ab cd ", max_size=80)), max_size=4),
    st.integers(20, 130),
)
def test_no_line_is_wider_than_its_longest_word_asks_for(rows, width: int) -> None:
    longest = max((len(word) for row in rows for cell in row for word in cell.split()), default=0)
    for line in table(COLUMNS, rows, width):
        assert cell_width(line) <= max(width, longest + 9)


def test_wide_and_combining_characters_are_counted_as_a_terminal_shows_them() -> None:
    assert (cell_width("素晴らしい"), cell_width("é"), cell_width("naïve")) == (10, 1, 5)
    lines = table((Column("label"), Column("n", is_right=True)), [("素晴らしい", "1"), ("bad", "22")], 80)
    assert {cell_width(line) for line in lines} == {14}


def test_a_sentence_is_broken_between_words_only() -> None:
    assert wrapped("settings that differ: text.max_tokens and long-distance", 30, "  ") == [
        "settings that differ:",
        "  text.max_tokens and",
        "  long-distance",
    ]
    assert wrapped("as it is", None) == ["as it is"]
