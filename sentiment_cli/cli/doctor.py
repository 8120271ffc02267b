"""`sentiment doctor`."""

import json
from typing import Annotated

from typer import Option

from sentiment_cli import console, extras
from sentiment_cli.layout import Column, table


def doctor(
    markdown: Annotated[bool, Option("--markdown", help="Print a Markdown table for a bug report.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
    seconds: Annotated[float, Option(min=0.1, max=600, metavar="S", help="Seconds to train on random rows.")] = 10,
) -> None:
    """Check this machine: versions, GPU, memory, training speed.

    It trains on random rows for ten seconds.

    \b
    Examples:
      sentiment doctor
      sentiment doctor --markdown
    """
    from sentiment_cli.workflows.installation import place_facts, system_facts

    found = system_facts()
    if missing := extras.missing_packages("train"):
        found["training"] = f"not installed: {', '.join(missing)} ({extras.command('train')})"
    else:
        console.say("loading torch")
        from sentiment_cli.workflows.doctor import device_facts, synthetic_training

        found |= device_facts()
        console.say(f"training on made-up rows for {seconds:g} s")
        rate, first, last = synthetic_training(seconds)
        found["training"] = f"{rate:,.0f} tokens/s, loss from {first:.3f} to {last:.3f}"
    found |= place_facts()
    if as_json:
        console.result(json.dumps(found))
        return
    if markdown:
        console.result("| what | found |\n|---|---|")
        for name, value in found.items():
            console.result(f"| {name} | {value.replace('|', chr(92) + '|')} |")
        return
    for line in table((Column(""), Column("")), list(found.items()), console.terminal_width()):
        console.result(line)
