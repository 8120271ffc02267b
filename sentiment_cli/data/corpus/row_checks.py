"""Checks of a corpus's rows: too few rows are an error, misleading scores a warning."""

import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from sentiment_cli import console
from sentiment_cli.config.schema import Data
from sentiment_cli.data.corpus.duplicates import Hashes, is_among
from sentiment_cli.data.corpus.label_checks import refuse_single_labels
from sentiment_cli.data.corpus.packed import SPLITS, Corpus
from sentiment_cli.data.corpus.raw_texts import Texts
from sentiment_cli.data.corpus.splits import Splits, is_by_group
from sentiment_cli.data.sources.labels import map_setting, missing_spellings, parse_label_map, said
from sentiment_cli.data.sources.path_kinds import columns_of, format_of
from sentiment_cli.data.tables.column_roles import KNOWN_NAMES
from sentiment_cli.data.tables.readers import column_names, kind_of_file
from sentiment_cli.errors import Change, DataError
from sentiment_cli.layout import counted

_MANY_KNOWN = 0.05  # of the rows of a split; 0.5 % of IMDb's test rows are also training rows
_FEWEST_IDS = 20  # labels, from which on one of every row is an id and no class


def check_labels_of(texts: Texts, data: Data) -> None:
    """Raise DataError for labels that no classifier can be trained on: one in all, or one for nearly every row."""
    if texts.sets_KC is not None:
        refuse_single_labels(data.source, texts.labels, texts.sets_KC)
    n_rows, counts = len(texts.rows("train")), texts.counts("train")
    if len(texts.labels) < 2:
        raise DataError(
            f"every training row is labelled {texts.labels[0]!r}; a classifier needs two labels at least",
            f"sentiment data check --set {shlex.quote(f'data.source={data.source}')}",
        )
    n_alone = int((counts == 1).sum())
    if len(texts.labels) >= _FEWEST_IDS and n_alone * 2 > n_rows:
        raise DataError(
            f"{len(texts.labels):,} labels for {n_rows:,} rows, {n_alone:,} of them on a single row: is that the label "
            "column?",
            _other_column(data),
        )


def _other_column(data: Data) -> str:
    """Return what names another column of the table, or, where there is none, looks at what is in it."""
    path = Path(data.source)
    how, columns = format_of(data), columns_of(data)
    is_table = path.is_file() and kind_of_file(path, how) is not None
    there = column_names(path, how, columns) if is_table else []
    names = [name for name in there if name not in columns.named() and name.strip().lower() not in KNOWN_NAMES]
    if names:
        return Change("--set", f"data.label_column={names[0]}")
    return f"sentiment data check --set {shlex.quote(f'data.source={data.source}')}"


def check_splits(texts: Texts, splits: Splits, data: Data) -> None:
    """Raise DataError where a split has no row, with what would give it one."""
    empty = [name for name in SPLITS if not splits[name][1].any()]
    if not empty:
        return
    rows = texts.rows("train")
    n_rows, named = len(rows), " and ".join(empty)
    if data.valid.folds is None and is_by_group(rows.group_N, data.valid.by):
        n_groups = len(np.unique(rows.group_N[rows.group_N >= 0])) + int((rows.group_N < 0).sum())
        raise DataError(
            f"{n_groups:,} groups cannot give {named} rows: groups stay whole, and each label needs one in each split",
            Change("--set", "data.valid.by=row"),
        )
    counts = texts.counts("train")
    labels = said(Counter(dict(zip(texts.labels, counts.tolist(), strict=True))))
    drawn = " and ".join(name for name in ("test", "valid") if splits[name][0] == "train")
    without = f"{named} {'get' if len(empty) > 1 else 'gets'} none of them"
    raise DataError(
        f"{n_rows:,} rows are too few: {without}. Training keeps a row of each label, and {labels} leave "
        f"{int((counts - 1).clip(min=0).sum())} for {drawn}; data.test and data.valid.source can name files",
        "sentiment train sample",
    )


def about_rows(texts: Texts, splits: Splits, hash_N_of: dict[str, Hashes]) -> dict[str, Any]:
    """Count the rows of each split by label, and those whose text another split has, too."""
    hashes = {name: hash_N_of[of][is_wanted_N] for name, (of, is_wanted_N) in splits.items()}
    known = {"valid": hashes["train"], "test": np.concatenate([hashes["train"], hashes["valid"]])}
    of_several = {} if texts.sets_KC is None else {"rows": {name: int(of[1].sum()) for name, of in splits.items()}}
    return {
        **of_several,
        "labels": {
            name: dict(zip(texts.labels, texts.counts(of, is_wanted_N).tolist(), strict=True))
            for name, (of, is_wanted_N) in splits.items()
        },
        "known": {name: int(is_among(hashes[name], others).sum()) for name, others in known.items()},
    }


def warn_of_rows(corpus: Corpus, data: Data) -> None:
    """Warn of empty rows and of those that make scores look better than they are, each time it is trained on."""
    about = corpus.about
    empty = {split: int((corpus.split(split).length_N == 0).sum()) for split in corpus.directories if split in SPLITS}
    if any(empty.values()):
        named = ", ".join(f"{n:,} {split}" for split, n in empty.items() if n)
        console.warn(
            f"{counted(sum(empty.values()), 'row')} without a single token ({named}): training leaves such rows out, "
            "and they are scored by what the model answers to an empty text. `sentiment data check` lists them"
        )
    if not about:
        return
    for what in row_warnings(about, data):
        console.warn(what)


def row_warnings(about: dict[str, Any], data: Data) -> list[str]:
    """Return what to say of the counts that `about_rows` returned."""
    labels: dict[str, dict[str, int]] = about["labels"]
    found = []
    for split in SPLITS:
        absent = [label for label, count in labels[split].items() if not count]
        if absent:
            rows_of = Counter({label: sum(labels[name][label] for name in SPLITS) for label in absent})
            found.append(f"no {split} row is labelled {said(rows_of)}, rows in all: {_ABSENT[split]}")
    for split, n_known in about["known"].items():
        n_rows = about.get("rows", {}).get(split, sum(labels[split].values()))
        if n_rows and n_known == n_rows:
            found.append(
                f"all {n_rows:,} {split} rows are also in {'train' if split == 'valid' else 'train or valid'}: the "
                f"{split} scores do not measure new texts"
            )
        elif n_known > _MANY_KNOWN * n_rows:
            found.append(f"{n_known:,} of the {n_rows:,} {split} rows are also in the training rows")
    renamed = parse_label_map(data.label_map)
    in_all = Counter[str]()
    for counts in labels.values():
        in_all.update(counts)
    if missing := missing_spellings(in_all, renamed):
        counts = Counter({label: in_all[label] for label in missing})
        found.append(
            f"{said(counts)} may stand for a missing label, and is trained as a class. To leave such rows out add "
            f"{map_setting({**renamed, **dict.fromkeys(missing, '')})}; to keep the label without this warning add "
            f"{map_setting({**renamed, **{label: label for label in missing}})}"
        )
    return found


_ABSENT = {
    "train": "a model cannot learn it",
    "valid": "the validation means leave it out",
    "test": "the test means leave it out",
}
