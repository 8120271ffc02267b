"""`sentiment train --dry-run`: what a training would make and take."""

import json
from typing import TYPE_CHECKING

from sentiment_cli import console
from sentiment_cli.layout import Column, counted, spoken, spoken_size, table

if TYPE_CHECKING:
    from sentiment_cli.config.schema import Experiment
    from sentiment_cli.workflows.estimate import Estimate


def print_estimate(experiment: "Experiment", name: str | None, as_json: bool) -> None:
    """Print what training this would make and take, without training it."""
    from sentiment_cli.workflows.estimate import estimate

    found = estimate(experiment, name)
    if as_json:
        console.result(json.dumps({**found._asdict(), "run": str(found.run), "data": str(found.data)}))
        return
    for line in table((Column(""), Column("")), _rows(found), console.terminal_width()):
        console.result(line)


def _rows(found: "Estimate") -> list[tuple[str, str]]:
    size = "" if found.n_parameters is None else f", {found.n_parameters:,} parameters"
    rows = [
        ("model", f"{found.model}{size}, on {found.device}"),
        ("run", f"{found.run} would be made"),
        ("data", f"{' and '.join(f'{n:,} {split}' for split, n in found.rows.items())} rows, prepared in {found.data}"),
    ]
    if found.needs:
        rows.append(("first", f"trains {', '.join(found.needs)} where no finished run is there, in time of their own"))
    if found.n_steps is not None and found.n_epochs is not None:
        rows.append(("training", f"{counted(found.n_steps, 'step')} in {counted(found.n_epochs, 'epoch')}"))
    after = f", {spoken_size(found.disk_after_bytes)} afterwards" if found.disk_after_bytes != found.disk_bytes else ""
    return [
        *rows,
        ("time", f"about {spoken(found.seconds)} at {found.tokens_per_second:,.0f} tokens/s, measured just now"),
        ("memory", f"about {spoken_size(found.memory_bytes)}"),
        ("disk", f"about {spoken_size(found.disk_bytes)} while it trains{after}"),
    ]
