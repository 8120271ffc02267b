"""A hint that names options becomes the command that was typed, with these options in it."""

import shlex
from collections.abc import Sequence

_REPEATABLE = ("--set", "-s")
# Settings that commands which train nothing have options for.
_OPTION_OF = {"data.text_column": "--text-column", "data.label_column": "--label-column", "data.on_error": "--on-error"}


def whole_command(hint: str | None, arguments: Sequence[str]) -> str | None:
    """Return a hint as a command to paste: `--set KEY=VALUE` and other options take the place of those typed.

    A hint that does not consist of options with one value each is returned as it is.
    """
    if hint is None or not hint.startswith("--"):
        return hint
    try:
        words = shlex.split(hint)
    except ValueError:
        return hint
    if len(words) % 2 or not all(word.startswith("--") for word in words[::2]):
        return hint
    typed, rest = list(arguments), []
    if "--" in typed:
        place = typed.index("--")
        typed, rest = typed[:place], typed[place:]
    for option, value in zip(words[::2], words[1::2], strict=True):
        key, _, setting = value.partition("=")
        own = _OPTION_OF.get(key) if option == "--set" and typed[:1] in (["eval"], ["predict"]) else None
        if own is not None:
            typed = _without(typed, own, setting)
            if not setting.startswith("["):  # several columns, which the option does not take
                option, value = own, setting
        typed = _without(typed, option, value)
        typed += [option, value]
    return shlex.join(["sentiment", *typed, *rest])


def _without(typed: Sequence[str], option: str, value: str) -> list[str]:
    """Return the arguments without the same option; of --set, which is repeatable, without the same key."""
    names = _REPEATABLE if option in _REPEATABLE else (option,)
    start = f"{value.partition('=')[0]}=" if option in _REPEATABLE else ""
    kept: list[str] = []
    place = 0
    while place < len(typed):
        word = typed[place]
        follows = typed[place + 1] if place + 1 < len(typed) else None
        if word in names and follows is not None and follows.startswith(start):
            place += 2
        elif any(name.startswith("--") and word.startswith(f"{name}={start}") for name in names):
            place += 1
        else:
            kept.append(word)
            place += 1
    return kept
