"""What a hint must be: a whole command that a shell takes, that is not the one typed, and that does no harm."""

import contextlib
import io
import re
import shlex
from collections.abc import Sequence

from sentiment_cli.cli import whole_command
from sentiment_cli.cli.again import complete, is_same

ALLOWED = {
    "sentiment", "pip", "export", "unset", "cd", "ls", "df", "head", "cat", "iconv", "curl", "ulimit", "sha256sum",
    "umask", "set", "base64", "cp", "unzip", "zstd", "lz4", "7z", "unrar", "uncompress", "pdftotext", "libreoffice",
}  # fmt: skip
_PLACEHOLDER = re.compile(r"(?:NAME|FILE|PATH|DIR|URL|RUN|HASH|COLUMN|YOUR|PATH_TO\S*|\S*=NAME|\S*=FILE|\S*=PATH\S*)")
COMMAND = whole_command()


def complaint(hint: str, typed: Sequence[str] | None = None) -> str | None:
    """Return what is wrong with a hint, completed for the typed command where it is a change of it; None is fine."""
    whole = complete(hint, COMMAND, typed if typed is not None else ["train", "sample"])
    if whole is None:
        return None
    if "\n" in whole:
        return "it has several lines"
    if typed is not None and is_same(whole, typed):
        return "it is what was typed"
    try:
        words = shlex.split(whole)
    except ValueError as error:
        return f"no shell takes it: {error}"
    for command in _commands(words):
        if wrong := _wrong(command):
            return wrong
    return None


def _commands(words: list[str]) -> list[list[str]]:
    commands: list[list[str]] = [[]]
    is_target = False  # of the output
    for word in words:
        if is_target or word == ">":
            is_target = word == ">"
            continue
        if word in ("&&", "|"):
            commands.append([])
        elif word.endswith(";"):
            commands[-1].append(word.rstrip(";)"))
            commands.append([])
        elif word.startswith("(") and not commands[-1]:
            commands[-1].append(word[1:])
        elif commands[-1] or not re.fullmatch(r"[A-Z_]+=.*", word):  # VAR=VALUE before a command
            commands[-1].append(word)
    return commands


def _wrong(words: list[str]) -> str | None:
    if not words:
        return "it has an empty command"
    if words[0] == "env":
        rest = words[1:]
        while rest[:1] == ["-u"]:
            rest = rest[2:]
        return _wrong(rest)
    if words[0] not in ALLOWED:
        return f"it runs {words[0]}"
    if found := [word for word in words if _PLACEHOLDER.fullmatch(word)]:
        return f"{found[0]} is a placeholder"
    return refusal(words[1:]) if words[0] == "sentiment" else None


def refusal(arguments: list[str]) -> str | None:
    """Return what the parser has against a command line; nothing is run."""
    command, context, rest = COMMAND, None, arguments
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            while True:
                context = command.make_context(command.name or "sentiment", rest, parent=context)
                if not hasattr(command, "commands"):
                    return None
                _, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        except Exception as error:
            if type(error).__name__ in ("Exit", "NoArgsIsHelpError"):
                return None
            return f"it is refused: {error}"
