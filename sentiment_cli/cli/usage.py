"""What the parser refuses, as a sentence and the command that was meant. Typer keeps its exception types to itself."""

import difflib
from typing import Any

from sentiment_cli.cli.again import Typed, Word, options_of, parse, written
from sentiment_cli.cli.other_names import choices_of, explain_option

_SPLITS = {"dev": "valid", "val": "valid", "validation": "valid", "training": "train"}


def explain(error: Any, app: Any, arguments: list[str]) -> tuple[str, str]:
    """Return what the parser has against a command line, and what to type instead."""
    typed = parse(app, arguments)
    message = str(error.format_message()).replace("Value error, ", "").replace("Input should", "it should")
    message = message[:1].lower() + message[1:].rstrip(".")
    help_ = f"{' '.join(typed.path)} --help"
    name = getattr(error, "option_name", None)
    if name is not None and hasattr(error, "possibilities"):
        return explain_option(str(name), typed)
    if name is not None:
        return message, help_
    if message.startswith("no such command"):
        return _unknown_command(typed, message), _mended_command(typed) or help_
    if message.startswith("got unexpected extra"):
        return _extra(typed) or (message, help_)
    if getattr(error, "param", None) is not None and message.startswith("invalid value"):
        return message, _mended_value(error.param, typed) or help_
    return message, help_


def _unknown_command(typed: Typed, message: str) -> str:
    return message.replace("no such command", "there is no command", 1)


def _mended_command(typed: Typed) -> str | None:
    """Return the line with the nearest command in place of the one that there is not."""
    at = next((i for i, word in enumerate(typed.words) if word.option is None), None)
    if at is None:
        return None
    word = str(typed.words[at].value)
    names = {"ls": "list", "rm": "remove", "evaluate": "eval"}
    shown = [name for name, command in typed.command.commands.items() if not command.hidden]
    near = difflib.get_close_matches(word.lower(), shown, n=1)
    meant = names.get(word) if names.get(word) in shown else near[0] if near else None
    if meant is None:
        return None
    return written(typed.path, [*typed.words[:at], Word(None, meant), *typed.words[at + 1 :]])


def _extra(typed: Typed) -> tuple[str, str] | None:
    """Answer KEY=VALUE without --set."""
    if "--set" not in options_of(typed.command):
        return None
    words = [
        Word("--set", word.value) if word.option is None and "=" in str(word.value) else word for word in typed.words
    ]
    changed = [str(word.value) for old, word in zip(typed.words, words, strict=True) if old != word]
    if not changed:
        return None
    return f"{changed[0]}: settings are changed with --set", written(typed.path, words)


def _mended_value(parameter: Any, typed: Typed) -> str | None:
    """Return the line with the nearest choice in place of a value that is none."""
    choices = choices_of(parameter)
    for i, word in enumerate(typed.words):
        if word.option in parameter.opts and word.value is not None and word.value not in choices:
            by_lower = {choice.lower(): choice for choice in choices}
            value = word.value.lower()
            near = difflib.get_close_matches(_SPLITS.get(value, value), by_lower, n=1)
            if near:
                mended = word._replace(value=by_lower[near[0]])
                return written(typed.path, [*typed.words[:i], mended, *typed.words[i + 1 :]])
    return None
