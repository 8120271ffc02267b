"""What is in a corpus: rows, labels, lengths, words, and how much of it a model of an experiment reads."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.batching.truncation import max_own_tokens
from sentiment_cli.data.checks.coverage import unknown_share
from sentiment_cli.data.checks.scripts import language_of, script_shares
from sentiment_cli.data.corpus.duplicates import PAIRS
from sentiment_cli.data.corpus.fit_settings import settle, spread_rows
from sentiment_cli.data.corpus.packed import SPLITS, Corpus, Packed
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.data.corpus.raw_texts import SPLITS_OF, prepare_texts
from sentiment_cli.data.corpus.targets import count_labels
from sentiment_cli.data.sources.source import find_source
from sentiment_cli.data.tokens.vocabulary import Vocabulary

PERCENTILES = (0, 5, 25, 50, 75, 95, 99, 100)
_COMMONEST = 10


def corpus_facts(experiment: Experiment) -> dict[str, Any]:
    """Return the facts as plain values.

    `source` is of the splits as they came: rows of each label, bytes, words (by white space), characters, groups.
    `scripts` are the shares of the letters of the training rows (of 2,000 of them), `language` what they tell.
    `splits` is of the rows as a model gets them: tokens, those cut off at text.max_tokens, those unknown.
    """
    experiment = settle(experiment)
    source = find_source(experiment.data)
    has_unsup = source.has_unlabelled
    corpus = prepare(experiment, (*SPLITS, "unsup") if has_unsup else SPLITS)
    parts = [prepare_texts(source, "labelled"), *([prepare_texts(source, "unlabelled")] if has_unsup else [])]
    came: dict[str, Any] = {}
    groups: dict[str, set[str]] = {}
    for (part, splits), texts in zip(SPLITS_OF.items(), parts, strict=False):
        for split in splits:
            rows = texts.rows(split)
            if not len(rows):
                continue
            words_N, characters_N = _lengths(texts.read(split))
            numbers = np.unique(rows.group_N[rows.group_N >= 0]).tolist()
            groups[split] = {texts.groups[number] for number in numbers}
            came[split] = {
                "rows": len(rows),
                "labels": dict(
                    zip(texts.labels, texts.counts(split).tolist(), strict=True) if part == "labelled" else ()
                ),
                "bytes": int(rows.end_N[-1]),
                "words": {"mean": float(words_N.mean()), "longest": int(words_N.max()), "in_all": int(words_N.sum())},
                "characters_longest": int(characters_N.max()),
                "groups": len(groups[split]),
            }
    train = parts[0].rows("train")
    shares = script_shares(itertools.chain.from_iterable(parts[0].read("train", spread_rows(len(train)))))
    pairs = [(one, other) for one, other in PAIRS if one != other and one in came and other in came]
    return {
        "name": source.name,
        "labels": list(corpus.labels),
        "source": came,
        "scripts": shares,
        "language": language_of(shares),
        "left_out": parts[0].left_out,
        "groups_shared": {f"{one}_{other}": len(groups[one] & groups[other]) for one, other in pairs},
        "splits": {
            split: _split_facts(packed, corpus, experiment)
            for split in corpus.directories
            if len((packed := corpus.split(split)).label_N)
        },
        "vocabulary": {
            "entries": len(corpus.vocabulary.entries),
            "specials": corpus.vocabulary.specials,
            "commonest": _commonest(corpus, experiment.vocabulary.from_),
        },
    }


def token_lengths(experiment: Experiment) -> NDArray[np.int64]:
    """Return the tokens of each training row, for a histogram."""
    return prepare(settle(experiment), ("train",)).split("train").length_N


def _lengths(chunks: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    counts = [(len(text.split()), len(text)) for chunk in chunks for text in chunk]
    words_N, characters_N = np.array(counts, dtype=np.int64).T
    return words_N, characters_N


def _split_facts(packed: Packed, corpus: Corpus, experiment: Experiment) -> dict[str, Any]:
    length_N, most = packed.length_N, max_own_tokens(experiment.text)
    n_tokens = int(length_N.sum())
    counts = count_labels(packed.label_N, len(corpus.labels), packed.sets_KC)
    return {
        "rows": len(length_N),
        "labels": dict(zip(corpus.labels, counts.tolist(), strict=True)),
        "tokens": n_tokens,
        "length_mean": float(length_N.mean()),
        "length_percentiles": {str(p): int(np.percentile(length_N, p)) for p in PERCENTILES},
        "without_tokens": int((length_N == 0).sum()),
        "truncated_share": 0.0 if most is None else float((length_N > most).mean()),
        "unknown_share": unknown_share(packed, corpus.vocabulary),
    }


def _commonest(corpus: Corpus, splits: Sequence[str]) -> dict[str, int]:
    """Count the commonest words (and no marks) of the rows that the vocabulary comes from."""
    vocabulary: Vocabulary = corpus.vocabulary
    counted = [split for split in splits if split in corpus.directories]
    count_V = sum(np.bincount(corpus.split(split).ids_T, minlength=len(vocabulary.entries)) for split in counted)
    order = np.argsort(-np.asarray(count_V), kind="stable")
    words = [i for i in order if i >= vocabulary.specials and any(map(str.isalnum, vocabulary.entries[i]))]
    return {vocabulary.entries[i]: int(np.asarray(count_V)[i]) for i in words[:_COMMONEST]}
