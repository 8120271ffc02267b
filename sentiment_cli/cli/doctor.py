"""`sentiment doctor`."""

from typing import Annotated

from typer import Option

from sentiment_cli import console


def doctor(
    markdown: Annotated[bool, Option("--markdown", help="Print a Markdown table for a bug report.")] = False,
    seconds: Annotated[float, Option(min=0.1, max=600, metavar="S", help="Seconds to train on random rows.")] = 10,
) -> None:
    """Check this machine: versions, GPU, memory, training speed.

    It trains on random rows for ten seconds.

    \b
    Examples:
      sentiment doctor
      sentiment doctor --markdown
    """
    console.say("loading torch")
    from sentiment_cli.workflows.doctor import facts, synthetic_training

    found = facts()
    console.say(f"training on made-up rows for {seconds:g} s")
    rate, first, last = synthetic_training(seconds)
    found["training"] = f"{rate:,.0f} tokens/s, loss from {first:.3f} to {last:.3f}"
    if markdown:
        console.result("| what | found |\n|---|---|")
    for name, value in found.items():
        cell = value.replace("|", r"\|")
        console.result(f"| {name} | {cell} |" if markdown else f"{name:<12} {value}")
