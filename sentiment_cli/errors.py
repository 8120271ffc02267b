"""What a user can cause, as exceptions; each class knows its exit code.

    SentimentError
     ├─ UsageError        2   the command line or an experiment file is wrong
     ├─ DataError         3   the data or an artefact is not what it should be
     ├─ MachineError      4   disk, network, memory
     ├─ DivergedError     5   training left the finite numbers
     └─ InterruptedRun  130   stopped by a signal, with what was learnt saved; 143 for SIGTERM

Only `sentiment_cli.cli.main` turns one into a message and an exit code.
"""


class SentimentError(Exception):
    """An error that the user can mend; `hint` is what to type next."""

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


class InterruptedRun(SentimentError):  # noqa: N818 - the user's wish, not a fault
    def __init__(self, message: str, hint: str | None = None, signal_number: int = 2) -> None:
        super().__init__(message, hint)
        self.exit_code = 128 + signal_number
