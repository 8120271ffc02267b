from xml.etree import ElementTree

import pytest

from sentiment_cli.training.curves import draw_curves

ROWS = [
    {"step": 10, "train_loss": 1.0, "valid_loss": 0.5, "valid_accuracy": 0.75},
    {"step": 20, "train_loss": 0.25, "valid_loss": None, "valid_accuracy": None},
]


def test_each_figure_is_a_line_between_the_axes() -> None:
    root = ElementTree.fromstring(draw_curves(ROWS))
    lines = [element.attrib["points"].split() for element in root if element.tag.endswith("polyline")]
    assert [len(line) for line in lines] == [2, 1, 1]
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in lines[0])
    assert (x0, x1) == (48 + 544 / 2, 48 + 544)
    assert (y0, y1) == (48, 48 + 204 * 0.75)
    texts = [element.text for element in root if element.tag.endswith("text")]
    assert "valid accuracy" in texts
    assert "1.00" in texts


@pytest.mark.parametrize(
    "change", [{"step": 0}, {"train_loss": 0.0, "valid_loss": 0.0}, {"valid_loss": None, "valid_accuracy": None}]
)
def test_curves_without_steps_or_losses_are_drawn(change: dict[str, float | None]) -> None:
    """Robustness case T11. Case T11: degenerate models."""
    root = ElementTree.fromstring(draw_curves([{**ROWS[0], **change}]))
    assert sum(element.tag.endswith("polyline") for element in root) == 3
