"""Scripts of texts, and what they and rare labels look like in `data info` and `data check`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sentiment_cli.data.checks.scripts import language_of, script_shares

RARE = {"common": 30, "other": 20, "rare": 3, "rarer": 2}


@pytest.mark.parametrize(
    ("text", "script", "language"),
    [
        ("Das ist ein guter Film, ça va", "Latin", None),
        ("这部电影很好看", "Han", "Chinese"),
        ("この映画はとても良い", "Hiragana", "Japanese"),
        ("映画館内全席禁煙喫煙所有の", "Han", "Japanese"),
        ("이 영화는 정말 재미있어요", "Hangul", "Korean"),
        ("หนังเรื่องนี้ดีมาก", "Thai", "Thai"),
        ("ຮູບເງົາ", "Lao", "Lao"),
        ("ខ្មែរ", "Khmer", "Khmer"),
        ("မြန်မာ", "Burmese", "Burmese"),
        ("הסרט הזה טוב", "Hebrew", "Hebrew"),
        ("هذا الفيلم جيد", "Arabic", "Arabic, Persian or Urdu"),
        ("यह फिल्म अच्छी है", "Devanagari", "Hindi, Marathi or Nepali"),
        ("Этот фильм хорош", "Cyrillic", "Russian or another Slavic language"),
        ("12 + 3 = !!! 😀", None, None),
        ("", None, None),
    ],
)
def test_a_script_tells_a_language_where_it_is_of_one(text: str, script: str | None, language: str | None) -> None:
    shares = script_shares([text])
    assert next(iter(shares), None) == script
    assert language_of(shares) == language


def test_shares_are_of_the_letters_and_names_of_other_scripts_are_left_out() -> None:
    assert script_shares(["ab日本 12", "語!"]) == {"Han": 0.6, "Latin": 0.4}
    assert script_shares(["好" * 999 + "a"]) == {"Han": 0.999}


def test_data_info_says_the_script(typed: Callable[..., Any], tmp_path: Path) -> None:
    source = tmp_path / "x.csv"
    source.write_text("text,label\n" + "".join(f"这部电影很好看第{i}部,{i % 2}\n" for i in range(40)), "utf-8")
    assert json.loads(typed("data", "info", "--data", str(source), "--json").out)["scripts"] == {"Han": 1.0}
    assert "Han 100.0% of the letters; the script tells Chinese" in typed("data", "info", "--data", str(source)).out


def test_data_check_names_labels_with_few_rows(typed: Callable[..., Any], tmp_path: Path) -> None:
    source, test = tmp_path / "x.csv", tmp_path / "test.csv"
    rows = [f"text {label} {i},{label}\n" for label, n in RARE.items() for i in range(n)]
    source.write_text("text,label\n" + "".join(rows))
    test.write_text("text,label\n" + "".join(f"test {i},common\n" for i in range(9)))
    said = " ".join(typed("data", "check", "--data", str(source), "--test", str(test)).out.split())
    assert "labels with fewer than 10 training rows, of which little is learnt: rarer 2, rare 3" in said
