import pytest

from sentiment_cli import console


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\nnext", "plain\ttext\nnext"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x1b]52;c;aGk=\x07", r"\x1b]52;c;aGk=\x07"),
        ("over\rwritten", r"over\x0dwritten"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb", r"a\u202eb"),
        ("[link=x]y[/link]", "[link=x]y[/link]"),
        ("naïve 🎬", "naïve 🎬"),
    ],
)
def test_sanitize_shows_what_a_terminal_would_obey(text: str, shown: str) -> None:
    assert console.sanitize(text) == shown


def test_results_go_to_stdout_and_talk_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.result("answer\x1b")
    console.say("talk")
    console.report_error("wrong", "do this")
    out, err = capsys.readouterr()
    assert out == "answer\\x1b\n"
    assert err == "talk\nerror: wrong\n  try: do this\n"


def test_progress_prints_no_bar_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("work", 10) as shown:
        shown.update(5)
    assert capsys.readouterr() == ("", "")
