"""Record docs/terminal.svg: real commands in a pseudo-terminal, drawn as one SVG without fonts or files from elsewhere.

    python benchmarks/terminal_picture.py              trains the sample in a folder of its own: about a minute

Numbers of seconds and tokens differ from one recording to the next; all else is the same.
"""

import fcntl
import os
import pty
import re
import struct
import sys
import tempfile
import termios
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "terminal.svg"
COLUMNS = 84
COMMANDS = (
    ("train", "sample"),
    ("eval",),
    ("predict", "Although the music was lovely, the plot was not good.", "--explain"),
)
_HIDDEN = re.compile(
    r"data: |calibration: |run: |loading torch|training: |stopped: |there are only runs on the bundled sample"
)
_EPOCHS_SHOWN = 2  # the first and the last; a line of dots for those between
_CELL, _LINE, _SIZE, _MARGIN = 8.4, 19, 14, 18
_BACK, _TEXT, _DIM, _PROMPT = "#16181d", "#d7dae0", "#8b919c", "#7fd1a0"
_BASIC = ("#16181d", "#f2777a", "#7fd1a0", "#f0c674", "#6fa8dc", "#c397d8", "#70c0b1", "#d7dae0")
_SEQUENCE = re.compile(r"\x1b\[([\d;?]*)([A-Za-z])|\x1b[=>]")


class Style(NamedTuple):
    """How a character looks."""

    colour: str = _TEXT
    back: str | None = None
    bold: bool = False
    underline: bool = False
    dim: bool = False


Cell = tuple[str, Style]


def screen(output: str) -> list[list[Cell]]:
    """Return what a terminal shows after some output: characters that were written over or erased are gone."""
    rows: list[list[Cell]] = [[]]
    y, x, style, place = 0, 0, Style(), 0
    while place < len(output):
        if found := _SEQUENCE.match(output, place):
            place, (values, action) = found.end(), found.groups("")
            if action == "m":
                style = restyled(style, [int(value or 0) for value in values.split(";")])
            elif action == "A":
                y = max(0, y - int(values or 1))
            elif action == "K":
                rows[y] = [] if values == "2" else rows[y][:x]
            continue
        sign, place = output[place], place + 1
        if sign == "\n":
            y += 1
            rows += [[]] * (y == len(rows))
        elif sign == "\r":
            x = 0
        elif sign == "\t":
            x += 8 - x % 8
        elif sign >= " ":
            if y == len(rows):
                rows.append([])
            row = rows[y] = rows[y] + [(" ", Style())] * (x - len(rows[y]))
            row[x : x + 1] = [(sign, style)]
            x += 1
    return rows


def restyled(style: Style, codes: Sequence[int]) -> Style:
    """Return a style after the codes of a sequence that selects colours."""
    rest = list(codes)
    while rest:
        code = rest.pop(0)
        if code == 0:
            style = Style()
        elif code in (1, 2, 4):
            style = style._replace(**{{1: "bold", 2: "dim", 4: "underline"}[code]: True})
        elif code in (38, 48) and rest:
            kind = rest.pop(0)
            colour = _of_palette(rest.pop(0)) if kind == 5 else "#" + "".join(f"{rest.pop(0):02x}" for _ in range(3))
            style = style._replace(**{"colour" if code == 38 else "back": colour})
        elif 30 <= code < 38:
            style = style._replace(colour=_BASIC[code - 30])
        elif 40 <= code < 48:
            style = style._replace(back=_BASIC[code - 40])
    return style


def _of_palette(number: int) -> str:
    """Return a colour of the 256: the basic ones, a cube of six shades each, and greys."""
    if number < 16:
        return _BASIC[number % 8]
    if number < 232:
        shades = [(0, 95, 135, 175, 215, 255)[(number - 16) // step % 6] for step in (36, 6, 1)]
        return "#" + "".join(f"{shade:02x}" for shade in shades)
    return "#" + 3 * f"{8 + 10 * (number - 232):02x}"


def drawn(rows: Sequence[Sequence[Cell]]) -> str:
    """Return the rows as an SVG; each run of a style is as wide as its cells, whatever the font."""
    width, height = round(2 * _MARGIN + COLUMNS * _CELL), 2 * _MARGIN + len(rows) * _LINE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="A terminal: {escape("; ".join(map(_typed, COMMANDS)), quote=True)}">',
        "<style>text{font:" + f"{_SIZE}px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;"
        "white-space:pre}</style>",
        f'<rect width="{width}" height="{height}" rx="10" fill="{_BACK}" stroke="#3a3f4a"/>',
    ]
    for i, row in enumerate(rows):
        for start, text, style in _runs(row):
            parts += _shapes(_MARGIN + start * _CELL, _MARGIN + i * _LINE, text, style)
    return "\n".join([*parts, "</svg>", ""])


def _runs(row: Sequence[Cell]) -> Iterator[tuple[int, str, Style]]:
    start = 0
    for end in range(1, len(row) + 1):
        if end == len(row) or row[end][1] != row[start][1]:
            yield start, "".join(sign for sign, _ in row[start:end]), row[start][1]
            start = end


def _shapes(x: float, y: float, text: str, style: Style) -> Iterator[str]:
    width = len(text) * _CELL
    if style.back is not None:
        yield f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_LINE}" fill="{style.back}"/>'
    if not text.strip() and not style.underline:
        return
    colour = _DIM if style.dim else style.colour
    more = ' font-weight="bold"' * style.bold + ' text-decoration="underline"' * style.underline
    yield (
        f'<text x="{x:.1f}" y="{y + 0.74 * _LINE:.1f}" fill="{colour}"{more} textLength="{width:.1f}" '
        f'lengthAdjust="spacingAndGlyphs" xml:space="preserve">{escape(text)}</text>'
    )


def _typed(command: Sequence[str]) -> str:
    return " ".join(["sentiment", *(f'"{word}"' if " " in word else word for word in command)])


def recorded(command: Sequence[str]) -> str:
    """Run a command in a pseudo-terminal of COLUMNS columns; return all that it wrote there."""
    process, terminal = pty.fork()
    if not process:
        os.execv(sys.executable, [sys.executable, "-m", "sentiment_cli", *command])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    output = b""
    while True:
        try:
            output += (piece := os.read(terminal, 65536))
        except OSError:  # the other end is closed
            break
        if not piece:
            break
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0, output.decode()
    return output.decode()


def shown(command: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Iterator[list[Cell]]:
    """Yield the rows of one command in the picture: its prompt, what it said, and no blank line at the end."""
    prompt = Style(colour=_PROMPT, bold=True)
    yield [("$", prompt), (" ", prompt), *((sign, Style(bold=True)) for sign in _typed(command))]
    texts = ["".join(sign for sign, _ in row).rstrip() for row in rows]
    epochs = [i for i, text in enumerate(texts) if re.match(r" +\d+ +\d+ +0\.\d{4}", text)]
    dots = epochs[_EPOCHS_SHOWN:-_EPOCHS_SHOWN]
    last = max(i for i, text in enumerate(texts) if text)
    is_continued = False
    for i, row in enumerate(rows[: last + 1]):
        is_continued = bool(_HIDDEN.match(texts[i])) or (is_continued and texts[i].startswith("  "))
        if i in dots[1:] or is_continued:
            continue
        yield [(sign, Style(dim=True)) for sign in "      …"] if i in dots else list(row)
    yield []


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", PYTHONPATH=str(ROOT))
        for name in ("NO_COLOR", "SENTIMENT_DATA", "SENTIMENT_RUNS"):
            os.environ.pop(name, None)
        rows = [row for command in COMMANDS for row in shown(command, screen(recorded(command)))]
    texts = "".join(sign for row in rows for sign, _ in row)
    assert folder not in texts, "a path of this machine is in the picture"
    PICTURE.write_text(drawn(rows[:-1]), "utf-8")
    sys.stdout.write(f"{PICTURE}\n")


if __name__ == "__main__":
    main()
