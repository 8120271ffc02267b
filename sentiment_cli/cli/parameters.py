"""Parameters that commands share, and what their words become: without pydantic where they can stay as they are.

Typer from 0.27 on converts each parameter by it, given or not, and importing it takes a quarter of the time of a whole
prediction.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, get_args, get_origin

from typer import Argument, Option, core

from sentiment_cli.cli import completion
from sentiment_cli.errors import Change, UsageError

_MOST_DIGITS = 18  # fewer than any limit that Python or pydantic has
_RUN_OR_MODEL = "Run directory or name, or a packed model; without one, the newest finished run."
Run = Annotated[str | None, Argument(help=_RUN_OR_MODEL, autocompletion=completion.runs)]
OneRun = Annotated[str, Argument(metavar="RUN", help="Run directory or name.", autocompletion=completion.runs)]
RunOption = Annotated[
    str | None, Option("--run", metavar="RUN", help="The same as RUN.", autocompletion=completion.runs)
]


class OnError(StrEnum):
    """What becomes of rows that cannot be read."""

    stop = "stop"
    skip = "skip"


def one_run(given: str | None, option: str | None) -> str | None:
    """Return the run that was named by position or by --run. Raises UsageError for two that differ."""
    if given is not None and option is not None and given != option:
        raise UsageError(f"{given} and --run {option} are two runs; one of them is enough", Change(without=["--run"]))
    return option if given is None else given


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
        if (
            kind is int
            and not is_list
            and (number := _whole_number(value, param.type_descriptor.parameter_info)) is not None
        ):
            return number
        return self.build().coerce(value, param=param, ctx=ctx)


def _whole_number(typed: str, limits: Any) -> int | None:
    """Return a number typed in plain digits and within its limits; pydantic takes 5 MB, and says what is wrong."""
    if not typed.isascii() or not typed.isdigit() or len(typed) > _MOST_DIGITS:
        return None
    number = int(typed)
    is_within = (limits.min is None or number >= limits.min) and (limits.max is None or number <= limits.max)
    return number if is_within else None
