"""A document as one HTML page: no network, no script, nothing but its own style.

Every text becomes an element's text, or the value of an attribute that only describes, in `_element` alone, and
ElementTree escapes it. The content policy lets the page load nothing and apply no style but the one it was written
with, so that even a mistake here could do little.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files
from itertools import pairwise
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from sentiment_cli import console
from sentiment_cli.reports.blocks import (
    Block,
    Code,
    Document,
    Figure,
    Fold,
    Items,
    KeyFigures,
    LineChart,
    Notice,
    Paragraph,
    Quote,
    Reliability,
    ReportSection,
    SideBySide,
    Table,
)
from sentiment_cli.reports.svg import draw, series_style

_SHADES = 10

_DOTTED = re.compile(r"[a-z_]+(\.[a-z_]+)+")


def render_page(document: Document) -> bytes:
    """Return the document as HTML. Needs matplotlib where it has figures."""
    style = files("sentiment_cli.reports").joinpath("page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = _element(
        "head",
        {},
        _element("meta", {"charset": "utf-8"}),
        _element("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        _element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        _element("meta", {"name": "color-scheme", "content": "light dark"}),
        _element("title", {}, f"{document.title}: sentiment report"),
    )
    ElementTree.SubElement(head, "style").text = style
    main = _element(
        "main",
        {},
        _element("header", {}, _element("h1", {}, document.title), _element("p", {"class": "lead"}, document.lead)),
        *(_section(section) for section in document.sections),
    )
    page = _element("html", {"lang": "en"}, head, _element("body", {}, main))
    written: bytes = ElementTree.tostring(page, "utf-8", method="html")
    return b"<!doctype html>\n" + written + b"\n"


def _section(section: ReportSection) -> Element:
    """Return a section; consecutive figures are shown side by side where there is room."""
    parts: list[Element] = []
    for before, block in pairwise([None, *section.blocks]):
        assert block is not None
        if isinstance(block, Figure) and isinstance(before, Figure):
            parts[-1].append(_block(block))
        elif isinstance(block, Figure):
            parts.append(_element("div", {"class": "figures"}, _block(block)))
        else:
            parts.append(_block(block))
    return _element("section", {}, _element("h2", {}, section.title), *parts)


def _block(block: Block) -> Element:
    match block:
        case Paragraph(text):
            return _element("p", {}, text)
        case Items(texts):
            return _element("ul", {}, *(_element("li", {}, text) for text in texts))
        case Code(text):
            return _code(text)
        case Quote(about, text, pieces):
            caption = [_element("figcaption", {}, about)] if about else []
            parts = [_piece(part, level) for part, level in pieces] if pieces else [text]
            return _element("figure", {"class": "quote"}, *caption, _element("blockquote", {"dir": "auto"}, *parts))
        case Notice(text, command):
            return _element("aside", {}, _element("p", {}, text), _code(command))
        case Fold(title, blocks):
            return _element("details", {}, _element("summary", {}, title), *map(_block, blocks))
        case KeyFigures(figures):
            pairs = [
                _element("div", {}, _element("dt", {}, label), _element("dd", {}, text)) for text, label in figures
            ]
            return _element("dl", {"class": "key-figures"}, *pairs)
        case SideBySide(groups):
            return _element(
                "div", {"class": "columns"}, *(_element("div", {}, *map(_block, group)) for group in groups)
            )
        case Figure():
            return _figure(block)
        case Table():
            return _table(block)


def _piece(text: str, level: int) -> Element:
    kind = {"class": f"{'towards' if level > 0 else 'against'}-{abs(level)}"} if level else {}
    return _element("span", kind, text)


def _bar(low: float, share: float, high: float) -> Element:
    """Draw a share as a bar and its interval as a line; the figures stand beside it as text."""
    box = {"viewbox": "0 0 100 10", "class": "bar", "aria-hidden": "true"}
    return _element(
        "svg",
        box,
        _element("rect", {"class": "faint-fill", "x": "0", "y": "2", "width": "100", "height": "6"}, ""),
        _element(
            "rect", {"class": "series-0-fill", "x": "0", "y": "2", "width": f"{100 * share:.1f}", "height": "6"}, ""
        ),
        _element("path", {"class": "ink-stroke", "d": f"M{100 * low:.1f} 5H{100 * high:.1f}"}, ""),
    )


def _code(text: str) -> Element:
    return _element("pre", {"tabindex": "0"}, _element("code", {}, text))


def _table(table: Table) -> Element:
    kind = {"class": "figure"} if table.is_numeric else {}
    rows = []
    for i, row in enumerate(table.rows):
        cells = [_element("th", {"scope": "row"}, *_breakable(row[0]))]
        for j, text in enumerate(row[1:]):
            shade = {"class": f"figure shade-{round(table.shade[i][j] * _SHADES)}"} if table.shade else kind
            cells.append(_element("td", shade, text))
        if table.bars:
            cells.insert(1, _element("td", {"class": "bars"}, _bar(*table.bars[i])))
        rows.append(_element("tr", {}, *cells))
    parts = [_element("caption", {}, table.caption)] if table.caption else []
    if any(table.head):
        names = [_element("th", {"scope": "col", **(kind if i else {})}, name) for i, name in enumerate(table.head)]
        names[1:1] = [_element("th", {"scope": "col"}, "0 to 100 %")] if table.bars else []
        parts.append(_element("thead", {}, _element("tr", {}, *names)))
    # What is too wide for a telephone scrolls by itself; the page does not.
    return _element("div", {"class": "wide"}, _element("table", {}, *parts, _element("tbody", {}, *rows)))


def _breakable(name: str) -> list[str | Element]:
    """Return a heading; in a narrow column, the dotted name of a setting breaks between its words."""
    first, *others = re.split(r"(?<=[._])", name) if _DOTTED.fullmatch(name) else [name]
    return [first, *(part for other in others for part in (_element("wbr", {}), other))]


def _figure(figure: Figure) -> Element:
    caption = _element("figcaption", {}, _element("b", {}, figure.title))
    legend = _legend(figure)
    words = _element("p", {"class": "alt"}, figure.alt)
    numbers = _element("details", {}, _element("summary", {}, "The figures as a table"), _table(figure.table))
    picture = _element("div", {"role": "img", "aria-label": figure.alt}, draw(figure))
    return _element("figure", {}, caption, picture, *legend, words, numbers)


def _legend(figure: Figure) -> list[Element]:
    """Name the parts of a chart beside samples of them."""
    entries: list[tuple[str, str]] = []
    match figure.chart:
        case LineChart(lines=lines) if len(lines) > 1:
            for i, line in enumerate(lines):
                colour, dashes = series_style(i)
                entries.append((f"series-{colour}-line {dashes}", line.name))
        case Reliability():
            entries.append(("series-0-line solid", "accuracy with 95 % interval"))
            entries.append(("series-1-line solid block", "share of reviews"))
            entries.append(("ink-line dashed", "perfect calibration"))
        case _:
            pass
    if not isinstance(figure.chart, Reliability) and figure.chart.mark is not None:
        entries.append(("ink-line dotted", figure.chart.mark_label))
    items = [_element("li", {}, _element("span", {"class": f"sample {kind}"}), name) for kind, name in entries]
    return [_element("ul", {"class": "legend"}, *items)] if items else []


def _element(tag: str, attributes: Mapping[str, str], *children: Element | str) -> Element:
    """Return an element; the only place where text enters the page, control characters shown as escapes."""
    element = Element(tag, {name: console.sanitize(value) for name, value in attributes.items()})
    for child in children:
        if isinstance(child, Element):
            element.append(child)
        elif len(element):
            element[-1].tail = console.sanitize(child)
        else:
            element.text = console.sanitize(child)
    return element
