"""Charts as SVG elements that take the colours of their page, drawn by matplotlib.

No text of a user's passes through here, only numbers and our own words: names stand in the page's legend.
"""

import io
import os
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from sentiment_cli import extras
from sentiment_cli.config.paths import data_dir
from sentiment_cli.reports.blocks import Figure, Histogram, LineChart, Reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes

N_SERIES = 6
DASHES = ("solid", "dashed", "dotted")
_INK, _FAINT = "#000000", "#000001"
_SERIES = tuple(f"#00000{digit}" for digit in range(2, 2 + N_SERIES))
# Placeholders become names that the page's style sheet gives colours to, others by day than by night.
_CLASS_OF = {_INK: "ink", _FAINT: "faint", **{colour: f"series-{i}" for i, colour in enumerate(_SERIES)}}
_INCHES = (4.6, 2.7)  # so small that its words can be read on a telephone
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # words stay words, in the page's font
    "svg.hashsalt": "sentiment",  # the same picture has the same bytes
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "axes.linewidth": 0.8,
}


def check_matplotlib() -> None:
    """Raise MachineError without matplotlib; override MPLBACKEND, because no backend is needed."""
    extras.require("plot", "a chart")
    os.environ["MPLBACKEND"] = "agg"


def load_matplotlib() -> Any:
    """Return matplotlib, with its list of fonts in the data directory and not in the home directory."""
    os.environ.setdefault("MPLCONFIGDIR", str(data_dir().absolute() / "matplotlib"))
    import matplotlib

    return matplotlib


def draw(figure: Figure) -> ElementTree.Element:
    """Return a figure's chart as an <svg> without style, script or outside reference."""
    matplotlib = load_matplotlib()
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(_SETTINGS):
        canvas = Canvas(figsize=_INCHES, layout="constrained")
        axes = canvas.add_subplot()
        axes.set_axisbelow(True)
        match figure.chart:
            case LineChart() as chart:
                _draw_lines(axes, chart)
            case Reliability() as chart:
                _draw_reliability(axes, chart)
            case Histogram() as chart:
                _draw_histogram(axes, chart)
        picture = io.BytesIO()
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        canvas.savefig(picture, format="svg", transparent=True, metadata=metadata)
    return _inline(ElementTree.fromstring(picture.getvalue()), figure.name)


def series_style(i: int) -> tuple[int, str]:
    """Return the colour's number and the dashes of a chart's i-th line; two lines look alike only from the 19th on."""
    return i % N_SERIES, DASHES[i // N_SERIES % len(DASHES)]


def _draw_lines(axes: "Axes", chart: LineChart) -> None:
    for i, line in enumerate(chart.lines):
        colour, dashes = series_style(i)
        marker = "o" if len(line.xs) == 1 else None
        axes.plot(line.xs, line.ys, color=_SERIES[colour], linestyle=dashes, linewidth=1.8, marker=marker)
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label)
    axes.set_xlim(left=0)
    if chart.is_share:
        axes.yaxis.set_major_formatter(lambda share, _: f"{share * 100:g}%")
    else:
        axes.set_ylim(bottom=0)
    _mark(axes, chart.mark)


def _draw_reliability(axes: "Axes", chart: Reliability) -> None:
    bins = chart.bins
    most = max(found.n for found in bins)
    axes.plot([0, 1], [0, 1], color=_INK, linestyle="dashed", linewidth=1)
    lows = [found.low for found in bins]
    widths = [found.high - found.low for found in bins]
    axes.bar(lows, [0.25 * found.n / most for found in bins], widths, align="edge", color=_SERIES[1], alpha=0.3)
    # Wilson's interval ends at 1 less a rounding error where all are right.
    below = [max(0.0, found.accuracy - found.accuracy_ci95[0]) for found in bins]
    above = [max(0.0, found.accuracy_ci95[1] - found.accuracy) for found in bins]
    places, heights = [found.confidence for found in bins], [found.accuracy for found in bins]
    axes.errorbar(places, heights, [below, above], color=_SERIES[0], linewidth=1.4, marker="o", markersize=4, capsize=2)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(min(lows), 1), ylim=(0, 1.02))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda share, _: f"{share * 100:.0f}%")


def _draw_histogram(axes: "Axes", chart: Histogram) -> None:
    widths = [high - low for low, high in zip(chart.edges, chart.edges[1:], strict=False)]
    axes.bar(chart.edges[:-1], chart.counts, [0.92 * width for width in widths], align="edge", color=_SERIES[0])
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label)
    axes.grid(axis="x", visible=False)
    _mark(axes, chart.mark)


def _mark(axes: "Axes", place: float | None) -> None:
    if place is not None:
        axes.axvline(place, color=_INK, linestyle="dotted", linewidth=1.2)


def _inline(root: ElementTree.Element, prefix: str) -> ElementTree.Element:
    """Make matplotlib's document a part of a page: names without their space, style as attributes, ids of its own."""
    referenced = {value for node in root.iter() for value in _references(node)}
    for node in root.iter():
        node.tag = _local(node.tag)
        attributes = {_local(name): value for name, value in node.attrib.items()}
        for pair in filter(None, attributes.pop("style", "").split(";")):
            name, _, value = pair.partition(":")
            attributes[name.strip()] = value.strip()
        for unused in ("font-family", "version"):
            attributes.pop(unused, None)
        if (name := attributes.pop("id", "")) in referenced:
            attributes["id"] = f"{prefix}-{name}"
        if "href" in attributes:
            attributes["href"] = f"#{prefix}-{attributes['href'][1:]}"
        if "clip-path" in attributes:
            attributes["clip-path"] = attributes["clip-path"].replace("url(#", f"url(#{prefix}-")
        classes = [
            f"{_CLASS_OF[attributes.pop(paint)]}-{paint}"
            for paint in ("fill", "stroke")
            if attributes.get(paint) in _CLASS_OF
        ]
        if node.tag == "text" and "fill" not in attributes:
            classes.append("ink-fill")
        if classes:
            attributes["class"] = " ".join(classes)
        node.attrib = attributes
        node.text, node.tail = (node.text or "").strip() or None, None
        if "d" in attributes:
            attributes["d"] = " ".join(attributes["d"].split())
    for parent in list(root.iter()):
        for style in parent.findall("style"):
            parent.remove(style)
    view = root.attrib["viewBox"]
    root.attrib = {"viewBox": view, "aria-hidden": "true"}
    return root


def _local(name: Any) -> str:
    return str(name).rpartition("}")[2]


def _references(node: ElementTree.Element) -> list[str]:
    links = [value[1:] for name, value in node.attrib.items() if _local(name) == "href"]
    clip = node.attrib.get("clip-path", "")
    return [*links, clip.removeprefix("url(#").removesuffix(")")] if clip else links
