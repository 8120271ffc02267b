"""The only module that prints: results on stdout, talk on stderr, and nothing that a terminal would obey.

Text that came from outside (a review, a file name, a YAML value) passes `sanitize` on its way out.
"""

import contextlib
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO

from sentiment_cli.errors import MachineError

# Everything a terminal obeys rather than shows: C0 and C1 controls, and the characters that reorder or break lines.
_UNSAFE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
_SECONDS_BETWEEN_PLAIN_LINES, _MINUTES_FROM = 15.0, 90
_SHORTEST_BAR, _LONGEST_BAR, _NOTE_WIDTH = 8, 30, 40  # columns; the last are kept for the figures beside a bar
_WRAPPER = textwrap.TextWrapper(subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
_STYLES = {"error:": "1;31", "warning:": "33", "try:": "1"}  # bold red, yellow, bold
_is_muted = False
_volume = 0  # -1 for --quiet, 1 for --verbose
_colour = "auto"
_listeners: list[Callable[[str], object]] = []
_said: set[str] = set()  # by this command, of what is said once


def mute() -> None:
    """Print nothing but errors from now on: another process of the same job speaks for this one."""
    global _is_muted
    _is_muted = True


def set_manner(*, volume: int | None = None, colour: str | None = None) -> None:
    """Begin a command: how much it says (-1 warnings and errors alone, 1 details too), and its colours."""
    global _volume, _colour
    _said.clear()
    _volume, _colour = _volume if volume is None else volume, colour or _colour


def manner() -> list[str]:
    """Return the options that choose the same for another process."""
    colour = [] if _colour == "auto" else ["--color", _colour]
    return [*{-1: ["--quiet"], 0: [], 1: ["--verbose"]}[_volume], *colour]


@contextlib.contextmanager
def heard_by(listener: Callable[[str], object]) -> Iterator[None]:
    """Pass all that is said in the block to a listener, too, sanitized, whether it is printed or not."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def sanitize(text: str) -> str:
    r"""Show control characters as escapes (ESC as \x1b); keep newlines and tabs."""
    return _UNSAFE.sub(lambda match: _escape(ord(match.group())), text)


def one_line(text: str) -> str:
    r"""Show a name (a label, an id) within a line: control characters, line breaks (as \n) and tabs as escapes."""
    return sanitize(text).replace("\n", "\\n").replace("\t", "\\t")


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def result(text: str) -> None:
    """Print what the command was asked for, on stdout.

    Where the reader has gone (`| head -1`) the program ends quietly; where stdout takes nothing, MachineError.
    """
    _print(sanitize(text))


def result_piece(text: str) -> None:
    """Print a piece of a line of what the command was asked for, on stdout; result("") ends it."""
    _print(sanitize(text), end="")


def has_colour() -> bool:
    """Say whether results are coloured: as --color says, else on a terminal unless NO_COLOR or TERM=dumb is set."""
    return _has_colour(sys.stdout)


def _has_colour(stream: TextIO | None) -> bool:
    if _colour != "auto":
        return _colour == "always"
    is_plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") in (None, "", "dumb")
    return stream is not None and stream.isatty() and not is_plain


def can_show(text: str) -> bool:
    """Say whether the encoding of stdout has all these characters."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding) == text


def coloured_result(pieces: Iterable[tuple[str, str]], indent: str = "") -> None:
    """Print pieces of text, each in its style (rich's names for them, ours alone), as one result for a terminal.

    Lines are broken between words where the terminal ends, and begin with `indent`.
    """
    from rich.console import Console
    from rich.text import Text

    has_any = has_colour()
    shown = Console(highlight=False, soft_wrap=True, no_color=not has_any, force_terminal=has_any or None)
    text = Text.assemble(*((sanitize(text), style) for text, style in pieces))
    width = terminal_width()
    lines = [text] if width is None else text.wrap(shown, max(1, width - len(indent)))
    for line in lines:
        line.rstrip()
        with shown.capture() as captured:
            shown.print(Text(indent) + line, end="")
        _print(captured.get())


def _print(text: str, end: str = "\n") -> None:
    if not _is_muted:
        with _stdout() as stdout:
            _write(stdout, text, end)


def result_bytes(data: bytes) -> None:
    """Print lines of a file's format, on stdout: as they are, but to a terminal as `result` would."""
    if _is_muted:
        return
    with _stdout() as stdout:
        if stdout.isatty():
            _write(stdout, sanitize(data.decode().removesuffix("\n")))
        else:
            stdout.flush()
            stdout.buffer.write(data)


def terminal_width() -> int | None:
    """Return the columns of the terminal that results go to; None where they go elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else None


def talk_width() -> int | None:
    """Return the columns of the terminal that talk goes to; None where it goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stderr is not None and sys.stderr.isatty() else None


@contextlib.contextmanager
def _stdout() -> Iterator[TextIO]:
    """Yield stdout, and flush it after the block."""
    if sys.stdout is None:
        raise MachineError("standard output is closed; there is nowhere to print the result")
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its end
        raise SystemExit(0) from None
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise MachineError(f"standard output cannot be written: {error.strerror}") from error


def say(text: str, *, once: bool = False) -> None:
    """Print talk, on stderr, unless --quiet is given; with `once` no second time in a command."""
    if not _is_muted:
        _pass_on(text)
        if _volume >= 0 and not (once and text in _said):
            _say(text)
            _said.update([text] if once else ())


def detail(text: str) -> None:
    """Print talk that only --verbose shows."""
    if not _is_muted:
        _pass_on(text)
        if _volume > 0:
            _say(text)


def warn(text: str) -> None:
    """Print a warning, on stderr, with --quiet too."""
    if not _is_muted:
        _pass_on(f"warning: {text}")
        _say(text, "warning:")


def report_error(message: str, hint: str | None) -> None:
    """Print an error and the next thing to type."""
    _say(message, "error:")
    if hint:
        _say(hint, "try:", "  ")


def _pass_on(text: str) -> None:
    for listener in tuple(_listeners):
        listener(sanitize(text))


def _say(text: str, label: str = "", indent: str = "") -> None:
    if sys.stderr is None:
        return
    shown = f"{indent}{label}{' ' if label else ''}{sanitize(text)}"
    if label != "try:":  # a command is copied, and a shell would take each line for one
        shown = _folded(shown, talk_width())
    if label and _has_colour(sys.stderr):
        shown = shown.replace(label, f"\x1b[{_STYLES[label]}m{label}\x1b[0m", 1)
    with contextlib.suppress(OSError):
        _write(sys.stderr, shown)


def _folded(text: str, width: int | None) -> str:
    """Break the sentences that are longer than a width between words; lines with columns stay as they are."""
    lines = []
    _WRAPPER.width = width or 0
    for line in text.split("\n"):
        is_sentence = width is not None and len(line) > width and "  " not in line.strip()
        lines += _WRAPPER.wrap(line) if is_sentence else [line]
    return "\n".join(lines)


def _write(stream: TextIO, text: str, end: str = "\n") -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + end)


def _fitting(note: str, room: int) -> str:
    """Return as many figures of a note as there is room for."""
    kept = ""
    for part in filter(None, note.split("  ")):
        longer = f"{kept}  {part}" if kept else part
        if len(longer) > room:
            break
        kept = longer
    return kept


class ProgressBar:
    """How far a long job is: a bar on a terminal, elsewhere a plain line now and then. Use `progress(...)`."""

    def __init__(self, label: str, total: float | None) -> None:
        self._label, self._total = label, total
        self._began = self._printed_at = time.monotonic()
        self._bar = None
        is_shown = not _is_muted and _volume >= 0 and sys.stderr is not None and sys.stderr.isatty()
        if is_shown and os.environ.get("TERM") != "dumb":
            from rich import progress as bars  # 40 ms that only a terminal needs
            from rich.console import Console

            shown = Console(stderr=True, no_color=not _has_colour(sys.stderr))
            width = max(_SHORTEST_BAR, min(_LONGEST_BAR, shown.width - len(label) - _NOTE_WIDTH))
            self._room = shown.width - len(label) - width - len("  100 %  ")
            self._bar = bars.Progress(
                bars.TextColumn("{task.description}", markup=False),
                bars.BarColumn(width),
                bars.TextColumn("{task.percentage:>3.0f} %" if total else "", markup=False),
                bars.TextColumn("{task.fields[note]}", markup=False),
                console=shown,
                transient=True,
            )
            self._task = self._bar.add_task(sanitize(label), total=total, note="")
            self._bar.start()

    def update(self, done: float, note: str = "") -> None:
        """Show how much of the total is done; `note` holds figures, two spaces apart, the most important first.

        A terminal shows as many of them as it has room for, and the time left where the note does not say it.
        """
        if self._bar is not None:
            if self._total and done and " left" not in note:
                left = (time.monotonic() - self._began) * (self._total - done) / done
                note = f"{note}  {left:.0f} s left" if left < _MINUTES_FROM else f"{note}  {left / 60:.0f} min left"
            elif self._total is None:
                note = note or f"{done:,.0f}"
            self._bar.update(self._task, completed=done, note=_fitting(sanitize(note), self._room))
        elif time.monotonic() - self._printed_at > _SECONDS_BETWEEN_PLAIN_LINES:
            self._printed_at = time.monotonic()
            share = f"{done:,.0f}" if self._total is None else f"{done / self._total:.0%}"
            say(f"{self._label}: {share}{'  ' + note if note else ''}")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


@contextlib.contextmanager
def progress(label: str, total: float | None) -> Iterator[ProgressBar]:
    """Yield a Progress that is cleared away at the end of the block; a total of None is one that nobody knows yet."""
    shown = ProgressBar(label, total)
    try:
        yield shown
    finally:
        shown.close()
