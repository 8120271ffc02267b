"""Hints as whole commands: options that an error suggests, added to the command that was typed."""

import shlex
from collections.abc import Sequence

_OPTIONS = ("--set", "--label-map", "--data")


def whole_command(hint: str | None, typed: Sequence[str]) -> str | None:
    """Return a hint that is made of options as the command to type next; any other hint as it is.

    What was typed for the same option, or the same setting, goes.
    """
    try:
        words = shlex.split(hint or "")
    except ValueError:
        return hint
    pairs = list(zip(words[::2], words[1::2], strict=False))
    is_options = len(words) == 2 * len(pairs) > 0 and all(option in _OPTIONS for option, _ in pairs)
    if not is_options or any(option == "--set" and "=" not in value for option, value in pairs):
        return hint
    return shlex.join(["sentiment", *_without(typed, pairs), *(word for pair in pairs for word in pair)])


def _without(typed: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return the words that were typed, without options that set what `pairs` set."""
    gone = {_target(option, value) for option, value in pairs}
    kept, i = list[str](), 0
    while i < len(typed):
        option, equals, value = typed[i].partition("=")
        option = "--set" if option == "-s" else option
        is_option = option in _OPTIONS
        width = 1 if equals or not is_option else 2
        if is_option and not equals:
            value = typed[i + 1] if i + 1 < len(typed) else ""
        if not (is_option and _target(option, value) in gone):
            kept += typed[i : i + width]
        i += width
    return kept


def _target(option: str, value: str) -> str:
    return value.partition("=")[0] if option == "--set" else option
