"""`--set data.…` of commands that read a file and train nothing: how the file is read, as an experiment would say."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from typer import Option

from sentiment_cli.cli import completion
from sentiment_cli.errors import UsageError

if TYPE_CHECKING:
    from sentiment_cli.config.schema import Data

Reading = Annotated[
    list[str] | None,
    Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="How to read the file, if that is not detected: data.header=false, data.encoding=latin-1, "
        "data.delimiter=tab, data.quoting=none; repeatable.",
        autocompletion=completion.settings,
    ),
]
OF_TEXTS = ("header", "encoding", "delimiter", "quoting", "text_column")
OF_LABELS = (*OF_TEXTS, "on_error", "label_column", "group_column", "without_label", "label_separator")


def check_keys(settings: Sequence[str], allowed: Sequence[str], command: str) -> None:
    """Raise UsageError for a setting that has nothing to do with reading a file."""
    for setting in settings:
        key = setting.partition("=")[0]
        if key.removeprefix("data.") not in allowed or not key.startswith("data."):
            names = ", ".join(f"data.{name}" for name in allowed)
            raise UsageError(f"--set {setting}: {command} takes {names}", f"sentiment {command} --help")


def load_data(settings: Sequence[str]) -> "Data":
    """Return the settings of a file of the user's, as an experiment's own are checked."""
    from sentiment_cli.config.loader import load_experiment

    return load_experiment("default", ["data.source=file", *settings]).data
