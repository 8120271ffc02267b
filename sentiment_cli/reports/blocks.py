"""The blocks of a report, independent of HTML and Markdown: plain text and numbers, without markup.

Text from outside (a review, a label, a name) is only ever a string in one of these blocks. Each writer escapes it in
one place, so none of it can become an element, an attribute or a link.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sentiment_cli.evaluation.calibration import Bin


class Paragraph(NamedTuple):
    """A few sentences."""

    text: str


class Items(NamedTuple):
    """Sentences that belong side by side."""

    texts: Sequence[str]


class Code(NamedTuple):
    """Lines to type or to save, kept as they are."""

    text: str


class Quote(NamedTuple):
    """Quoted text, under a line about it."""

    about: str
    text: str


class Table(NamedTuple):
    """Rows under a head; the first column names the row, the others hold figures if `is_numeric`.

    `shade` is what the darkness of each cell but the first says, from 0 to 1.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_numeric: bool = True
    caption: str = ""
    shade: Sequence[Sequence[float]] = ()


class KeyFigures(NamedTuple):
    """The few figures that most readers look for, each with its label; shown large."""

    figures: Sequence[tuple[str, str]]


class SideBySide(NamedTuple):
    """Groups of blocks, shown side by side where there is room."""

    groups: Sequence[Sequence["Block"]]


class Line(NamedTuple):
    """A line of a chart: places and heights of its points."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]


class LineChart(NamedTuple):
    """Lines over a common axis; `mark` is a place on it that is pointed out."""

    x_label: str
    y_label: str
    lines: Sequence[Line]
    mark: float | None = None
    mark_label: str = ""
    is_share: bool = False


class Reliability(NamedTuple):
    """Accuracy over confidence."""

    bins: Sequence[Bin]


class Histogram(NamedTuple):
    """Counts between edges; `mark` is a place on the axis that is pointed out."""

    x_label: str
    y_label: str
    edges: Sequence[int]
    counts: Sequence[int]
    mark: float | None = None
    mark_label: str = ""


class Figure(NamedTuple):
    """A chart, its description in words, and its numbers as a table. `name` is unique in a document."""

    name: str
    title: str
    chart: LineChart | Reliability | Histogram
    alt: str
    table: Table


class Fold(NamedTuple):
    """Details that are shown on demand where the format allows it."""

    title: str
    blocks: Sequence["Block"]


class Notice(NamedTuple):
    """A notice of something missing, with the command that creates it."""

    text: str
    command: str


Block = Paragraph | Items | Code | Quote | Table | KeyFigures | SideBySide | Figure | Fold | Notice


class ReportSection(NamedTuple):
    """A heading and its blocks."""

    title: str
    blocks: Sequence[Block]


class Document(NamedTuple):
    """A report: its title, the one sentence that most readers came for, and its sections."""

    title: str
    lead: str
    sections: Sequence[ReportSection]
