"""The layout of `--help`: commands in groups, whole sentences at 80 columns, and values by the names people use."""

import functools
from collections.abc import Callable
from enum import Enum, StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import typer
from typer import Option
from typer.core import TyperCommand, TyperGroup

from sentiment_cli import console

_PLAIN = "Commands"
_LONGEST_LINE = 200  # of a command's sentence, which a narrow terminal wraps
_F = TypeVar("_F", bound=Callable[..., Any])
_VALUES = ((bool, ""), (int, "N"), (float, "X"), (Path, "FILE"))


class Command(TyperCommand):
    """A command whose help shows `RUN`, `[CONFIG]` and `N` where Typer shows types of Python."""

    def __init__(self, *args: Any, params: list[Any] | None = None, **options: Any) -> None:
        super().__init__(*args, params=[*(params or []), *manner_options()], **options)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = [one for one in self.get_params(ctx) if one.param_type_name == "argument"]
        return ["[OPTIONS]", *map(_in_usage, arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for title, kind in (("Arguments", "argument"), ("Options", "option")):
            shown = [one for one in self.get_params(ctx) if one.param_type_name == kind]
            rows = [(_name(one), _help(one, ctx)) for one in shown if not getattr(one, "hidden", False)]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


class Group(TyperGroup):
    """A command with commands of its own, listed under the panels that they were added with."""

    def __init__(self, *args: Any, params: list[Any] | None = None, **options: Any) -> None:
        super().__init__(*args, params=[*(params or []), *manner_options()], **options)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)
        rows = [(_name(one), _help(one, ctx)) for one in self.get_params(ctx) if not getattr(one, "hidden", False)]
        with formatter.section("Options"):
            formatter.write_dl(rows)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        shown = {name: command for name, command in self.commands.items() if not command.hidden}
        width = max(map(len, shown))
        for name, command in shown.items():
            rows = panels.setdefault(getattr(command, "rich_help_panel", None) or _PLAIN, [])
            rows.append((f"{name:<{width}}", command.get_short_help_str(_LONGEST_LINE)))
        for title, rows in panels.items():
            with formatter.section(title):
                formatter.write_dl(rows)


class App(typer.Typer):
    """A Typer of our commands and groups; without arguments it prints its help."""

    def __init__(self, *, name: str | None = None, help: str) -> None:
        super().__init__(
            name=name,
            cls=Group,
            help=help,
            no_args_is_help=True,
            context_settings={"help_option_names": ["-h", "--help"]},
            pretty_exceptions_enable=False,
            rich_markup_mode=None,
        )

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = Command, **options: Any
    ) -> Callable[[_F], _F]:
        return super().command(name, cls=cls, **options)


class Colour(StrEnum):
    """When text is coloured."""

    auto = "auto"
    always = "always"
    never = "never"


def _speak(quiet: bool) -> None:
    if quiet:
        console.set_manner(volume=-1)


def _explain(verbose: bool) -> None:
    if verbose:
        console.set_manner(volume=1)


def _paint(color: Colour | None) -> None:
    if color is not None:
        console.set_manner(colour=color.value)


def _manner(
    quiet: Annotated[
        bool,
        Option("--quiet", "-q", help="Say nothing but warnings and errors.", expose_value=False, callback=_speak),
    ] = False,
    verbose: Annotated[
        bool, Option("--verbose", "-v", help="Say more: versions, fingerprints.", expose_value=False, callback=_explain)
    ] = False,
    color: Annotated[
        Colour | None,
        Option("--color", help="When to use colours; without it, auto.", expose_value=False, callback=_paint),
    ] = None,
) -> None:
    """Options of every command."""


@functools.cache
def manner_options() -> tuple[Any, ...]:
    """Return the options that every command has: how much it says, and in which colours."""
    one = typer.Typer(add_completion=False)
    one.command(cls=TyperCommand)(_manner)
    return tuple(typer.main.get_command(one).params)


def value_name(parameter: Any) -> str:
    """Return what stands for a parameter's value in help and messages: its metavar, its choices, or a word."""
    if parameter.metavar is not None:
        return str(parameter.metavar)
    kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    kinds = [one for one in (kind, *get_args(kind)) if isinstance(one, type)]
    for one in kinds:
        if issubclass(one, Enum):
            return "|".join(str(member.value) for member in one)
    for one in kinds:
        for known, word in _VALUES:
            if issubclass(one, known):
                return word
    return str(parameter.name).upper()


def _in_usage(argument: Any) -> str:
    shown = value_name(argument)
    if argument.nargs != 1 and not shown.endswith("..."):
        shown += "..."
    return shown if argument.required else f"[{shown}]"


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return _in_usage(parameter)
    names = ", ".join(sorted(parameter.opts, key=len))
    if parameter.secondary_opts:
        return f"{names} / {', '.join(parameter.secondary_opts)}"
    return names if parameter.is_flag else f"{names} {value_name(parameter)}"


def _help(parameter: Any, ctx: Any) -> str:
    """Return a parameter's sentence, then its default and its range, where they say something."""
    said = parameter.help or ""
    extra = []
    default = parameter.default
    is_said = "default" in said or "without" in said.lower()
    if default not in (None, "") and not callable(default) and not is_said:
        if getattr(parameter, "secondary_opts", None):
            extra.append(f"default: {(parameter.opts if default else parameter.secondary_opts)[0]}")
        elif not getattr(parameter, "is_flag", False):
            extra.append(f"default: {getattr(default, 'value', default)}")
    low, high = getattr(parameter, "min", None), getattr(parameter, "max", None)
    if low is not None and high is not None and high < 2**31:
        extra.append(f"{low:g} to {high:g}")
    elif low:
        extra.append(f"{low:g} or more")
    return f"{said} [{'; '.join(extra)}]" if extra else said
