"""`sentiment help TOPIC`: what concerns several commands, as short texts laid out for the terminal."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sentiment_cli.layout import wrapped

_WIDEST = 80


class Topic(NamedTuple):
    """A line for the list of topics, and paragraphs: sentences, or rows of a term and what it means."""

    what: str
    parts: tuple[str | tuple[tuple[str, str], ...], ...]


TOPICS = {
    "data-files": Topic(
        "Which files are read, and how columns and labels are found.",
        (
            "A file of examples has a text and a label in each row. These are read, plain or compressed (.gz, .bz2, "
            ".xz, .zip):",
            (
                (".csv .tsv", "a table; delimiter, quoting, encoding and header are found and said"),
                (".json .jsonl", "an object per row"),
                (".parquet", "a table; needs the extra `parquet`"),
                ("__label__pos text", "a line per row, as fastText writes it"),
                ("folders", "CLASS/NAME.txt, or train/CLASS/NAME.txt and test/CLASS/NAME.txt"),
            ),
            "Columns named text, review, sentence … are texts, and label, sentiment, rating … are labels. Where no "
            "name is clear, training stops and names the setting: data.text_column or data.label_column.",
            "Without a file of test rows, a tenth of the rows is held out. `sentiment data check --data my.csv` shows "
            "duplicates, contradicting labels and damage before anything is trained.",
        ),
    ),
    "settings": Topic(
        "Experiments, --set, and where a value comes from.",
        (
            "An experiment is a YAML file; every setting but `name` has a default. A value is taken from the first "
            "of these that has it:",
            (
                ("--set KEY=VALUE", "the command line; repeatable"),
                ("my.yaml", "the experiment's own file"),
                ("extends: NAME", "the file, or the shipped experiment, that it extends"),
                ("defaults", "of the schema"),
            ),
            "`sentiment config show my.yaml` prints every value with the place that gave it. `sentiment init my.yaml "
            "--data my.csv` writes a commented file. `sentiment config schema --markdown` explains each setting.",
            "All mistakes are reported with their lines before anything is downloaded or written.",
        ),
    ),
    "run-directory": Topic(
        "What a training leaves on the disk, and how runs are named.",
        (
            "A training makes RUNS/NAME; the second one of a name makes NAME-2. Nothing is overwritten.",
            (
                ("experiment.yaml", "every setting, spelled out"),
                ("log.txt", "all that the training said"),
                ("metrics.jsonl", "a line per epoch"),
                ("curves.svg", "the same as a picture"),
                ("model/", "weights, inference graph, tokenizer, vocabulary, labels"),
                ("summary.json", "state, validation scores, seconds, versions, fingerprint"),
                ("evaluation/", "scores and a prediction per row, after `sentiment eval`"),
                ("checkpoints/", "what --resume continues from; removed at the end"),
            ),
            "Commands take a run by its name or path. Without one they take the newest finished run, and say which.",
        ),
    ),
    "exit-codes": Topic(
        "What a command's exit code says.",
        (
            (
                ("0", "done"),
                ("1", "a bug; please report the traceback"),
                ("2", "the command line or an experiment is wrong"),
                ("3", "the data or a saved file is invalid"),
                ("4", "the machine: disk, network, memory"),
                ("5", "training diverged: the loss is not finite"),
                ("130 143 129", "interrupted by SIGINT, SIGTERM or SIGHUP, with a checkpoint saved"),
            ),
            "Every error but a bug is one sentence, and most suggest the command to type next.",
        ),
    ),
    "environment": Topic(
        "Environment variables, and where data and runs are kept.",
        (
            (
                ("SENTIMENT_DATA", "downloads (raw/) and prepared data (cache/); default ./data"),
                ("SENTIMENT_RUNS", "runs; default ./runs"),
                ("SENTIMENT_IMDB", "a copy of the IMDb archive or folder, used instead of the download"),
                ("NO_COLOR", "no colours, as --color never"),
                ("COLUMNS", "the width that text is laid out for; default the terminal's"),
                ("OMP_NUM_THREADS", "threads of PyTorch; train.threads overrides it"),
            ),
            "Nothing leaves the machine but the download of IMDb that you ask for.",
        ),
    ),
    "output": Topic(
        "Results, messages, JSON, colours, --quiet and --verbose.",
        (
            "Results go to standard output, messages and progress to standard error. On a terminal, tables fit its "
            "width; in a pipe, nothing is cut or wrapped.",
            (
                ("--json", "JSON and nothing else, on commands that print facts"),
                ("-q, --quiet", "no messages but warnings and errors"),
                ("-v, --verbose", "details too, such as versions and fingerprints"),
                ("--color WHEN", "auto (a terminal without NO_COLOR), always or never"),
            ),
            "Everything that a training says is also in RUN/log.txt, with times, whatever was shown.",
        ),
    ),
}


def find_topic(names: Sequence[str]) -> Topic | None:
    """Return the topic that words name, in any case, with blanks, dashes or underscores between them."""
    return TOPICS.get("-".join(names).lower().replace("_", "-").replace(" ", "-"))


def topic_lines(topic: Topic, width: int) -> Iterator[str]:
    """Yield the lines of a topic, none longer than a width."""
    width = min(width, _WIDEST)
    for i, part in enumerate((topic.what, *topic.parts)):
        if i:
            yield ""
        if isinstance(part, str):
            yield from wrapped(part, width)
            continue
        margin = max(len(term) for term, _ in part)
        for term, what in part:
            yield from wrapped(f"  {term:<{margin}}  {what}", width, " " * (margin + 4))


def list_lines(width: int) -> Iterator[str]:
    """Yield the list of topics."""
    margin = max(map(len, TOPICS))
    yield "Topics (sentiment help TOPIC):"
    for name, topic in TOPICS.items():
        yield from wrapped(f"  {name:<{margin}}  {topic.what}", min(width, _WIDEST), " " * (margin + 4))
