"""Errors that users can cause, as exceptions; each class has its exit code.

    SentimentError
     ├─ UsageError        2   the command line or an experiment file is wrong
     ├─ DataError         3   the data or a saved file is invalid
     ├─ MachineError      4   disk, network, memory
     ├─ DivergedError     5   the loss is not finite
     └─ InterruptedRun  130   stopped by a signal, with a checkpoint saved; 143 for SIGTERM

Only `sentiment_cli.cli.main` turns one into a message and an exit code.
"""

import shlex
from collections.abc import Collection, Mapping


class Change(str):
    """A hint that repeats the typed command with a change; `cli.again` writes the whole command out.

    Change("--set", "train.lr=0.1")     with this option instead of its earlier value (for --set: of that key)
    Change(without=["--nproc"])         without these options
    Change(words={"smaple": "sample"})  with words replaced, or for None left out

    As text it is the change alone, for callers in Python, without a command line. `otherwise` is the command to suggest
    if the change does not apply: the command has no such option, or would not change.
    """

    __slots__ = ("options", "otherwise", "without", "words")

    options: tuple[str, ...]
    without: tuple[str, ...]
    words: dict[str, str | None]
    otherwise: str | None

    def __new__(
        cls,
        *options: str,
        without: Collection[str] = (),
        words: Mapping[str, str | None] | None = None,
        otherwise: str | None = None,
    ) -> "Change":
        replaced = dict(words or {})
        parts = [shlex.join(options)] if options else []
        parts += [f"{new} for {old}" if new else f"without {old}" for old, new in replaced.items()]
        parts += [f"without {option}" for option in without]
        change = super().__new__(cls, ", ".join(parts))
        change.options, change.without, change.words, change.otherwise = options, tuple(without), replaced, otherwise
        return change


class SentimentError(Exception):
    """An error that the user can fix; `hint` is the next command: a complete one, or a Change of the typed one."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(SentimentError):
    exit_code = 2


class DataError(SentimentError):
    exit_code = 3


class MachineError(SentimentError):
    exit_code = 4


class DivergedError(SentimentError):
    exit_code = 5


class InterruptedRun(SentimentError):  # noqa: N818 - requested by the user, not an error
    def __init__(self, message: str, hint: str | None = None, signal_number: int = 2) -> None:
        super().__init__(message, hint)
        self.exit_code = 128 + signal_number
