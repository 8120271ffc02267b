"""Pairs of sequences, a source and a target to generate from it: read from a table and packed."""

import json
import shlex
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import compress, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from sentiment_cli import console
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus import cache
from sentiment_cli.data.corpus.column_files import read_column, writing
from sentiment_cli.data.corpus.packed import SPLITS, Corpus, open_corpus
from sentiment_cli.data.corpus.prepare import about_tokens, write_tokens
from sentiment_cli.data.corpus.splits import held_out
from sentiment_cli.data.sources.path_kinds import format_of
from sentiment_cli.data.sources.source import Source, find_source
from sentiment_cli.data.tables.readers import Columns, Format, Rejects, read_table, unless_all_fail
from sentiment_cli.data.tables.writers import well_formed
from sentiment_cli.data.tokens.tokenizer import encode, train_tokenizer
from sentiment_cli.data.tokens.vocabulary import START_ID
from sentiment_cli.errors import Change, DataError
from sentiment_cli.storage import store

END_ID = START_ID  # one token separates sequences: the decoder's first input and its last output
_COLUMNS = {"source_T": "int32", "source_end_N": "int64", "target_T": "int32", "target_end_N": "int64"}
_FORMAT = 1
_ROWS_AT_ONCE = 1024


class Pair(NamedTuple):
    """The texts of a row, and its number in its file, from 1."""

    number: int
    source: str
    target: str


@dataclass(frozen=True)
class PackedPairs:
    """Rows of token ids, ragged, in flat arrays (see `Packed`); a target's last is the end token."""

    source_T: NDArray[np.int32]
    source_starts_N1: NDArray[np.int64]
    target_T: NDArray[np.int32]
    target_starts_N1: NDArray[np.int64]


def prepare_pairs(experiment: Experiment, splits: tuple[str, ...] = SPLITS, key: str | None = None) -> Corpus:
    """Return a corpus of pairs, which has no labels, out of the cache or made anew; open_pairs opens its splits.

    With `key`, an entry of that key serves without a look at its source, and a source that gives another key is refused
    with a DataError.
    """
    started = time.monotonic()
    cache.sweep_cache()
    corpus = None if key is None else open_corpus(key, splits)
    if corpus is None:
        source = find_source(experiment.data)
        if not source.is_table:
            raise DataError(f"data.source is {source.path}: pairs are read from a table with two columns")
        own = _key_of(source, experiment)
        if key not in (None, own.directory_name):
            raise DataError(f"the data at hand is {own.directory_name}, other pairs than {key}")

        def build() -> None:
            cache.say_miss(own)
            _build(source, experiment, own)

        corpus = cache.get_or_build(own, lambda name: open_corpus(name, splits), build)
    counts = ", ".join(f"{split} {len(corpus.ids(split)):,}" for split in splits)
    console.say(f"data: {counts} pairs in {corpus.directory} ({time.monotonic() - started:.1f} s)")
    return corpus


def _key_of(source: Source, experiment: Experiment) -> cache.Key:
    data = {"text_column", "label_column", "on_error", "test_share", "header", "encoding", "delimiter", "quoting"}
    depends_on = {
        "format": _FORMAT,
        "source": source.digest("labelled"),
        "data": experiment.data.model_dump(mode="json", include=data),
        "valid": experiment.data.valid.model_dump(mode="json", include={"share", "seed"}),
        **about_tokens(experiment),
    }
    return cache.Key(f"pairs-{source.name}", depends_on)


def _build(source: Source, experiment: Experiment, key: cache.Key) -> None:
    """Read the table once to see which rows there are, then once for the vocabulary and for each split."""
    data, rejects = experiment.data, Rejects(experiment.data.on_error)
    path, columns, how = Path(data.source), Columns(data.text_column, data.label_column), format_of(data)
    with unless_all_fail(lambda others: read_pair_rows(path, columns, others, is_told=False, how=how)):
        n_rows = sum(1 for _ in read_pair_rows(path, columns, rejects, how=how))
    is_in = assign_pairs(n_rows, valid_share=data.valid.share, test_share=data.test_share, seed=data.valid.seed)
    for split, rows in is_in.items():
        if not rows.any():
            share = "test_share" if split == "test" else "valid.share"
            raise DataError(
                f"{path} has too few pairs: {split} gets none of {n_rows:,}", Change("--set", f"data.{share}=0.5")
            )

    def pairs_of(split: str) -> Iterator[Pair]:
        return compress(read_pair_rows(path, columns, Rejects("skip"), is_told=False, how=how), is_in[split])

    learnt_from = ([pair.source, pair.target] for pair in pairs_of("train"))
    tokenizer, entries = train_tokenizer(experiment.text, experiment.vocabulary, learnt_from)
    with store.new_directory(cache.directory_of(key.directory_name)) as draft:
        for split in SPLITS:
            write_pairs(draft, split, pairs_of(split), tokenizer)
        if source.digest("labelled") != key.depends_on["source"]:
            raise DataError(f"{path} was changed while it was read", f"ls -l {shlex.quote(str(path))}")
        write_tokens(draft, experiment, tokenizer, entries)
        draft.write("labels.json", store.dump_json([]))
        if rejects.found:
            draft.write("rejects.jsonl", "".join(json.dumps(row) + "\n" for row in rejects.found).encode())
        draft.write(cache.KEY_FILE, store.dump_json(key.depends_on))
    if rejects.found:
        where = cache.directory_of(key.directory_name) / "rejects.jsonl"
        console.warn(f"{len(rejects.found):,} of {n_rows + len(rejects.found):,} rows were left out, see {where}")


def read_pair_rows(
    path: Path,
    columns: Columns,
    rejects: Rejects,
    *,
    is_told: bool = True,
    how: Format = Format(),  # noqa: B008 - a tuple
) -> Iterator[Pair]:
    """Yield the pairs of a table in its order; of its columns, `text` holds the source and `label` the target.

    Columns that are not named are called source and target. Raises DataError as `read_table` does, and, by `rejects`,
    for a row whose source or target is missing, empty or not text.
    """
    named = Columns(columns.text or "source", columns.label or "target")
    for row in read_table(path, named, rejects, has_labels=True, is_told=is_told, how=how):
        problem = _problem("source", row.text) or _problem("target", row.label)
        if problem is None:
            yield Pair(row.number, well_formed(row.text), well_formed(row.label))
        else:
            rejects.reject(path, row.number, row.line, problem)


def _problem(side: str, value: Any) -> str | None:
    if value is None:
        return f"its {side} is missing"
    if not isinstance(value, str):
        return f"its {side} is a {type(value).__name__}, not text"
    return None if value.strip() else f"its {side} is empty"


def assign_pairs(n_rows: int, *, valid_share: float, test_share: float, seed: int) -> dict[str, NDArray[np.bool_]]:
    """Say which rows are train, valid and test: a pure function of its arguments, by row."""
    is_test_N = _held_out(n_rows, test_share, seed)
    is_valid_N = np.zeros(n_rows, dtype=bool)
    is_valid_N[~is_test_N] = _held_out(int((~is_test_N).sum()), valid_share, seed)
    return {"train": ~is_test_N & ~is_valid_N, "valid": is_valid_N, "test": is_test_N}


def _held_out(n_rows: int, share: float, seed: int) -> NDArray[np.bool_]:
    alike_N = np.zeros(n_rows, dtype=np.int64)
    return held_out(alike_N, alike_N, "row", share, seed)


def write_pairs(draft: store.Draft, split: str, pairs: Iterable[Pair], tokenizer: Tokenizer) -> None:
    """Encode a split's pairs and write them as columns, with their numbers for ids."""
    pairs, ends = iter(pairs), [0, 0]
    with writing(draft, split, _COLUMNS) as writer:
        while some := list(islice(pairs, _ROWS_AT_ONCE)):
            sources = list(encode(tokenizer, [pair.source for pair in some]))
            targets = [np.append(ids, np.int32(END_ID)) for ids in encode(tokenizer, [pair.target for pair in some])]
            for i, (side, ids) in enumerate((("source", sources), ("target", targets))):
                end_N = ends[i] + np.cumsum([len(row) for row in ids])
                writer.write(**{f"{side}_T": np.concatenate(ids), f"{side}_end_N": end_N})
                ends[i] = int(end_N[-1])
            writer.write_ids(b"%d" % pair.number for pair in some)


def open_pairs(directory: Path, split: str) -> PackedPairs:
    """Map a split's arrays into memory."""
    columns = {name: read_column(directory, split, name, kind) for name, kind in _COLUMNS.items()}
    zero = np.zeros(1, np.int64)
    starts = {f"{side}_starts_N1": np.append(zero, columns.pop(f"{side}_end_N")) for side in ("source", "target")}
    return PackedPairs(**columns, **starts)
