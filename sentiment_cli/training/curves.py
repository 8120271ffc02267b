"""Training curves as SVG, written without a plotting library."""

from collections.abc import Sequence
from typing import Any

CURVES = "curves.svg"
_WIDTH, _HEIGHT, _MARGIN = 640, 300, 48
_FIGURES = (("train_loss", "#888888"), ("valid_loss", "#1f77b4"), ("valid_accuracy", "#d62728"))


def draw_curves(rows: Sequence[dict[str, Any]]) -> bytes:
    """Return the losses and the validation accuracy over the steps, losses on the left axis, accuracy on the right."""
    steps = [row["step"] for row in rows]
    losses = [row[key] for row in rows for key in ("train_loss", "valid_loss") if row[key] is not None]
    top = max(losses, default=1.0) or 1.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<path d="M{_MARGIN} {_MARGIN}V{_HEIGHT - _MARGIN}H{_WIDTH - _MARGIN}V{_MARGIN}" fill="none" stroke="black"/>',
    ]
    for share in (0.0, 0.5, 1.0):
        y = _y(share)
        parts.append(f'<text x="{_MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{top * share:.2f}</text>')
        parts.append(f'<text x="{_WIDTH - _MARGIN + 6}" y="{y + 4:.1f}">{share:.0%}</text>')
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 12}" text-anchor="middle">steps, up to {max(steps):,}</text>')
    for i, (key, colour) in enumerate(_FIGURES):
        scale = 1.0 if key == "valid_accuracy" else top
        places = [
            f"{_x(row['step'], max(steps)):.1f},{_y(row[key] / scale):.1f}" for row in rows if row[key] is not None
        ]
        parts.append(f'<polyline points="{" ".join(places)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        name = key.replace("_", " ")
        parts.append(f'<text x="{_MARGIN + 140 * i}" y="24" fill="{colour}">{name}</text>')
    return ("\n".join([*parts, "</svg>"]) + "\n").encode()


def _x(step: int, last: int) -> float:
    return _MARGIN + (_WIDTH - 2 * _MARGIN) * step / max(1, last)


def _y(share: float) -> float:
    return _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * min(share, 1.0)
