"""What the parser refuses, as a sentence and the command that was meant. Typer keeps its exception types to itself."""

import difflib
from typing import Any

from sentiment_cli.cli.again import Typed, Word, options_of, parse, written

# What other tools call our options; "" is an argument, which needs no option.
_ELSEWHERE = {
    "--model": "--run",
    "-r": "--run",
    "-m": "--run",
    "--input": "--file",
    "-i": "--file",
    "-f": "--file",
    "--output": "--out",
    "-o": "--out",
    "--config": "",
    "-c": "",
}
_SPLITS = {"dev": "valid", "val": "valid", "validation": "valid", "training": "train"}


def explain(error: Any, app: Any, arguments: list[str]) -> tuple[str, str]:
    """Return what the parser has against a command line, and what to type instead."""
    typed = parse(app, arguments)
    message = str(error.format_message()).replace("Value error, ", "").replace("Input should", "it should")
    message = message[:1].lower() + message[1:].rstrip(".")
    help_ = f"{' '.join(typed.path)} --help"
    name = getattr(error, "option_name", None)
    if name is not None and hasattr(error, "possibilities"):
        return _unknown_option(str(name), typed) or (f"there is no option {name}", help_)
    if name is not None:
        return message, help_
    if message.startswith("no such command"):
        return _unknown_command(typed, message), _mended_command(typed) or help_
    if message.startswith("got unexpected extra"):
        return _extra(typed) or (message, help_)
    if getattr(error, "param", None) is not None and message.startswith("invalid value"):
        return message, _mended_value(error.param, typed) or help_
    return message, help_


def _unknown_option(name: str, typed: Typed) -> tuple[str, str] | None:
    """Answer a setting's name, another tool's name, a near miss, or a text that begins with a dash."""
    i = next(i for i, word in enumerate(typed.words) if word.option and word.option.startswith(name))
    word, rest = typed.words[i], typed.words[i + 1 :]
    value = str(word.option).partition("=")[2] or (rest[0].value if rest and rest[0].option is None else None)
    after = rest if "=" in str(word.option) or value is None else rest[1:]
    known = options_of(typed.command)

    def with_words(*words: Word) -> str:
        return written(typed.path, [*typed.words[:i], *words, *after])

    if " " in str(word.option) and "--file" in known:
        return f"{word.option!r} begins with a dash, as options do", written(
            typed.path, [*typed.words[:i], Word(None, word.option), *rest]
        )
    meant = _ELSEWHERE.get(name)
    if "--set" in known and meant not in known:
        from sentiment_cli.config.nearest import nearest_setting

        key = nearest_setting(name.lstrip("-").split("."))
        if key is not None and name.lstrip("-") != "config":
            said = f"there is no option {name}; settings are changed with --set"
            shown = _default_of(key) if value is None else value
            return said, with_words(Word("--set", f"{key}={shown}"))
    if meant == "" and value is not None:
        return f"there is no option {name}; the experiment goes without one", with_words(Word(None, value))
    if meant not in known:
        near = difflib.get_close_matches(name.lower(), [one for one in known if one.startswith("--")], n=1)
        meant = near[0] if near else None
    if meant is None:
        return None
    said = f"there is no option {name}. Did you mean {meant}?"
    if known[meant].is_flag:
        return said, written(typed.path, [*typed.words[:i], Word(meant, None), *rest])
    choices = _choices(known[meant])
    if choices and value not in choices:
        return said, written(typed.path, [*typed.words[:i], Word(meant, choices[0]), *rest])
    return said, with_words(Word(meant, value)) if value is not None else f"{' '.join(typed.path)} --help"


def _default_of(key: str) -> str:
    import json

    from sentiment_cli.config.loader import load_settings

    value = next(setting.value for setting in load_settings(None) if setting.key == key)
    return value if isinstance(value, str) else json.dumps(value)


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
    choices = _choices(parameter)
    for i, word in enumerate(typed.words):
        if word.option in parameter.opts and word.value is not None and word.value not in choices:
            by_lower = {choice.lower(): choice for choice in choices}
            value = word.value.lower()
            near = difflib.get_close_matches(_SPLITS.get(value, value), by_lower, n=1)
            if near:
                mended = word._replace(value=by_lower[near[0]])
                return written(typed.path, [*typed.words[:i], mended, *typed.words[i + 1 :]])
    return None


def _choices(parameter: Any) -> list[str]:
    """Return what a parameter's value can be, where that is one of a few words."""
    from enum import Enum
    from typing import get_args

    kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    kinds = [kind, *get_args(kind)]
    return [str(member.value) for one in kinds if isinstance(one, type) and issubclass(one, Enum) for member in one]
