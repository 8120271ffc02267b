"""Parameters that commands share, and what their words become: without pydantic where they can stay as they are.

Typer from 0.27 on converts each parameter by it, given or not, and importing it takes a quarter of the time of a whole
prediction.
"""

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_origin

from typer import core


class OnError(StrEnum):
    """What becomes of rows that cannot be read."""

    stop = "stop"
    skip = "skip"


def typed_with(option: str, value: str) -> str:
    """Return the command line as it was typed, with another value of an option; the option alone within Python."""
    program, *words = sys.argv
    if Path(program).name not in ("sentiment", "__main__.py"):
        return f"{option} {shlex.quote(value)}"
    kept: list[str] = []
    skip = False
    for i, word in enumerate(words):
        if word == "--":
            return shlex.join(["sentiment", *kept, option, value, *words[i:]])
        if not skip and word != option and not word.startswith(f"{option}="):
            kept.append(word)
        skip = not skip and word == option
    return shlex.join(["sentiment", *kept, option, value])


def spare_pydantic() -> None:
    """Have Typer leave as they are the values that are of their parameter's type already; other Typers stay as is."""
    parameter: Any = getattr(core, "_TyperParameter", None)
    if hasattr(parameter, "get_runtime_param"):
        build = parameter.get_runtime_param
        parameter.get_runtime_param = lambda self: _Spared(lambda: build(self))


@dataclass(frozen=True)
class _Spared:
    """In the place of a parameter's conversion, which is built for a value that needs it."""

    build: Callable[[], Any]

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        is_list = param.multiple or param.nargs == -1
        if value is None:
            return () if is_list else None
        kind = param.type_descriptor.annotation
        if get_origin(kind) is list:
            (kind,) = get_args(kind)
        if isinstance(kind, type) and all(isinstance(one, kind) for one in (value if is_list else [value])):
            return value
        return self.build().coerce(value, param=param, ctx=ctx)
