"""Robustness cases M10 and B17 at the printing boundary."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment_cli import console

# Unicode's own lists: controls but newline and tab, and the format characters that reorder text.
BIDI = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C}


def is_obeyed(character: str) -> bool:
    return (unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") and character not in "\n\t") or ord(
        character
    ) in BIDI


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\nnext", "plain\ttext\nnext"),
        ("\x1b[2J\x1b[A", r"\x1b[2J\x1b[A"),
        ("\x1b]52;c;aGk=\x07", r"\x1b]52;c;aGk=\x07"),
        ("\x1b]8;;http://x\x1b\\y", r"\x1b]8;;http://x\x1b" + "\\y"),
        ("\x1bPq\x1b\\", r"\x1bPq\x1b" + "\\"),
        ("over\rwritten", r"over\x0dwritten"),
        ("\x9b31m\x90", r"\x9b31m\x90"),
        ("a\u202eb\u2066c", r"a\u202eb\u2066c"),
        ("[link=x]y[/link] [red]", "[link=x]y[/link] [red]"),
        ("naïve 🎬", "naïve 🎬"),
        ("\ud800", r"\ud800"),
    ],
)
def test_m10_what_a_terminal_would_obey_is_shown(text: str, shown: str) -> None:
    assert console.sanitize(text) == shown


@given(st.text() | st.text(alphabet=[chr(code) for code in sorted(BIDI)]))
def test_m10_nothing_a_terminal_obeys_gets_through(text: str) -> None:
    assert not [character for character in console.sanitize(text) if is_obeyed(character)]


def test_results_go_to_stdout_and_talk_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.result("answer\x1b")
    console.say("talk")
    console.report_error("wrong", "do this")
    out, err = capsys.readouterr()
    assert out == "answer\\x1b\n"
    assert err == "talk\nerror: wrong\n  try: do this\n"


def test_what_is_said_once_is_printed_once_in_a_command_and_logged_each_time(capsys) -> None:
    heard: list[str] = []
    console.set_manner()
    with console.heard_by(heard.append):
        for line in ("data: my.csv", "other", "data: my.csv"):
            console.say(line, once=True)
    assert capsys.readouterr().err == "data: my.csv\nother\n"
    assert heard == ["data: my.csv", "other", "data: my.csv"]
    console.set_manner()
    console.say("data: my.csv", once=True)
    assert capsys.readouterr().err == "data: my.csv\n"


def test_progress_prints_no_bar_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("work", 10) as shown:
        shown.update(5)
    assert capsys.readouterr() == ("", "")
