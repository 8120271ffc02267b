"""The command to type next, written out whole: a hint that is a Change becomes the typed command with that change."""

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sentiment_cli.errors import Change

_SET = "--set"
_REFUSED_BESIDE = {"--data": ["--split"]}  # of eval: rows of the user's have no split of the run's own


class Typed(NamedTuple):
    """A command line taken apart: the parser's command, the words that name it, and what follows."""

    command: Any
    path: list[str]
    words: list["Word"]


class Word(NamedTuple):
    """An argument, or an option under its longest name with its value; a flag and an unknown option have no value."""

    option: str | None
    value: str | None

    def parts(self) -> list[str]:
        return [part for part in self if part is not None]


def complete(hint: str | None, app: Any, typed: Sequence[str]) -> str | None:
    """Return a hint as one whole command; None where there is none but the one that was typed."""
    if hint is not None and hint.startswith("--") and not isinstance(hint, Change):
        hint = Change(*shlex.split(hint))
    if isinstance(hint, Change):
        parsed = parse(app, typed)
        changed = _changed(hint, parsed)
        if changed is not None and changed != parsed.words:
            return written(parsed.path, changed)
        hint = hint.otherwise
    return None if hint is None or is_same(hint, typed) else hint


def is_same(hint: str, typed: Sequence[str]) -> bool:
    """Say whether a hint is the command that was typed."""
    try:
        return shlex.split(hint) == ["sentiment", *typed]
    except ValueError:
        return False


def parse(app: Any, typed: Sequence[str]) -> Typed:
    """Take a command line apart by the options that its command has."""
    command, rest = app, list(typed)
    path, before = ["sentiment"], list[Word]()
    while rest and hasattr(command, "commands"):
        options = _leading_options(command, rest)  # such as -q, which each command takes, too
        if [*rest, None][len(options)] not in command.commands:
            break
        before += _words(command, list(options))
        path.append(rest[len(options)])
        del rest[: len(options) + 1]
        command = command.commands[path[-1]]
    return Typed(command, path, [*before, *_words(command, rest)])


def _leading_options(command: Any, rest: list[str]) -> list[str]:
    """Return the options of the command that a command line begins with, with their values."""
    known, n = options_of(command), 0
    while n < len(rest) and (name := rest[n].partition("=")[0]) in known:
        n += 1 if "=" in rest[n] or known[name].is_flag else 2
    return rest[:n]


def written(path: Sequence[str], words: Sequence[Word]) -> str:
    """Write a command line, quoted for a shell; arguments that begin with a dash come last, after `--`."""
    dashed = [word for word in words if word.option is None and str(word.value).startswith("-") and word.value != "-"]
    plain = [part for word in words if word not in dashed for part in word.parts()]
    return shlex.join([*path, *plain, *(["--"] if dashed else []), *(str(word.value) for word in dashed)])


def options_of(command: Any) -> dict[str, Any]:
    """Return a command's options by each of their names."""
    return {
        name: parameter
        for parameter in command.params
        if parameter.param_type_name == "option"
        for name in (*parameter.opts, *parameter.secondary_opts)
    }


def _words(command: Any, rest: list[str]) -> Iterator[Word]:
    known = options_of(command)
    while rest:
        word = rest.pop(0)
        if word == "--":
            yield from (Word(None, one) for one in rest)
            return
        if not word.startswith("-") or word == "-":
            yield Word(None, word)
            continue
        name, equals, value = word.partition("=")
        if name not in known and not word.startswith("--") and word[:2] in known:  # -sKEY=VALUE
            name, equals, value = word[:2], "=", word[2:]
        parameter = known.get(name)
        if name == _SET and parameter is None:  # of a Change, for a command that has other names for settings
            yield Word(_SET, rest.pop(0))
        elif parameter is None or parameter.is_flag:
            yield Word(word, None)
        elif equals:
            yield Word(_longest(parameter, name), value)
        else:
            yield Word(_longest(parameter, name), rest.pop(0) if rest else None)


def _longest(parameter: Any, name: str) -> str:
    return str(max((*parameter.opts, name), key=len))


def _changed(change: Change, typed: Typed) -> list[Word] | None:
    """Return the words after a change; None where the command has no such option."""
    known = options_of(typed.command)
    words = [word for word in typed.words if word.option not in change.without]
    for old, new in change.words.items():
        words = [
            word._replace(value=new) if word.value == old else word
            for word in words
            if not (word.value == old and new is None)
        ]
    wanted = list(_words(typed.command, list(change.options)))
    set_before = {f"{word.value}".partition("=")[0] for word in words if word.option == _SET}
    for one in wanted:
        word = one if f"{one.value}".partition("=")[0] in set_before else _own_option(one, known)
        own = _option_of(one, known)
        words = [earlier for earlier in words if own is None or earlier.option != own or own == word.option]
        if word.option is not None and word.option.partition("=")[0] not in known:
            return None
        words = [earlier for earlier in words if earlier.option not in _REFUSED_BESIDE.get(str(word.option), ())]
        _put(words, word, is_repeatable=word.option is not None and known[word.option].multiple)
    return words


def _put(words: list[Word], new: Word, *, is_repeatable: bool) -> None:
    """Lay an option over the words, in the place of what it changes."""
    key = f"{new.value}".partition("=")[0]

    def is_changed(word: Word) -> bool:
        if word.option != new.option or new.option is None:
            return False
        return not is_repeatable or (word.option == _SET and f"{word.value}".partition("=")[0] == key)

    places = [i for i, word in enumerate(words) if is_changed(word)]
    for i in reversed(places[:-1]):
        del words[i]
    if places:
        words[places[-1] - len(places) + 1] = new
    else:
        words.append(new)


def _own_option(word: Word, known: dict[str, Any]) -> Word:
    """Name a setting of the data stage as the option that a command has for it; a list and null need --set."""
    value = f"{word.value}".partition("=")[2]
    own = _option_of(word, known)
    if own is None or value == "null" or value.startswith("["):
        return word
    return Word(own, json.loads(value) if value.startswith('"') else value)


def _option_of(word: Word, known: dict[str, Any]) -> str | None:
    """Return a command's own option for what a --set says; None where it has none."""
    key = f"{word.value}".partition("=")[0]
    own = "--data" if key == "data.source" else f"--{key.removeprefix('data.').replace('_', '-')}"
    return own if word.option == _SET and key.startswith("data.") and own in known else None
