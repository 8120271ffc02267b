"""Prepare a corpus: from the reviews of a source to packed token ids, built once and cached."""

import itertools
import shlex
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import Tokenizer

from sentiment_cli import console
from sentiment_cli.config.paths import local_imdb
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus import cache
from sentiment_cli.data.corpus.column_files import copy_rows, read_ids, writing
from sentiment_cli.data.corpus.duplicates import Hashes, is_among, normalised_hashes, row_hashes
from sentiment_cli.data.corpus.fit_settings import settle
from sentiment_cli.data.corpus.packed import ABOUT, COLUMNS, SPLITS, Corpus, digests_file, open_corpus
from sentiment_cli.data.corpus.ratings import check_ratings, check_source
from sentiment_cli.data.corpus.raw_texts import SPLITS_OF, Texts, find_fingerprint, key_of, prepare_texts
from sentiment_cli.data.corpus.row_checks import about_rows, check_labels_of, check_splits, warn_of_rows
from sentiment_cli.data.corpus.splits import assign_rows
from sentiment_cli.data.sources.download import archive_path
from sentiment_cli.data.sources.review import Subset
from sentiment_cli.data.sources.source import Source, find_source
from sentiment_cli.data.tokens.characters import reading_of
from sentiment_cli.data.tokens.chunks import ChunkEncoder
from sentiment_cli.data.tokens.subwords import MARK
from sentiment_cli.data.tokens.tokenizer import PAD, START, UNKNOWN, train_tokenizer
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.errors import DataError, UsageError
from sentiment_cli.storage import store

_FORMAT = 3
# Of a corpus whose splits were drawn with rounded shares, for runs that were trained on one.
_FORMAT_ROUNDED = 2


def prepare(experiment: Experiment, splits: tuple[str, ...] = SPLITS, key: str | None = None) -> Corpus:
    """Return the experiment's corpus from the cache; build it where it is missing.

    Only the named splits (train, valid, test, unsup) are read and checked, so that training never opens test; a
    source without unlabelled rows has no unsup. With `key`, the rows_key of a corpus, an entry of labelled rows serves
    without a look at its source, and a source that gives another key is refused with a DataError. Raises UsageError or
    DataError where data.target is stars and there are none to learn from.
    """
    started = time.monotonic()
    cache.sweep_cache()  # a run that finds its data takes no lock and would not sweep
    labelled = tuple(split for split in splits if split != "unsup")
    if key is not None and "unsup" not in splits and (corpus := open_corpus(key, labelled)):
        _say_found(corpus)
        return corpus
    source = find_source(experiment.data)
    if experiment.data.target == "stars":
        check_source(source)
    corpus = _prepare_labelled(source, experiment, labelled, key and key.partition("+")[0])
    if experiment.data.target == "stars":
        check_ratings(source, {split: corpus.split(split).stars_N for split in labelled if split != "test"})
    if "unsup" in splits and source.has_unlabelled:
        corpus.directories["unsup"] = _prepare_unsup(source, experiment, corpus)
    elif "unsup" in splits:
        console.say(f"data: {source.path} has no unlabelled rows, and data.unlabelled names none")
    _check_wanted(source, corpus.rows_key, key)
    if {"train", "valid"} <= set(splits) and experiment.task == "classify":
        warn_of_rows(corpus, experiment.data)
    counts = ", ".join(f"{split} {len(corpus.split(split).label_N):,}" for split in corpus.directories)
    console.say(f"data: {counts} reviews ({time.monotonic() - started:.1f} s)")
    return corpus


def corpus_keys(experiment: Experiment) -> list[cache.Key]:
    """Return the cache keys of an experiment: of its texts and, once these are prepared, of its packed rows.

    Raises UsageError where the archive of IMDb is missing: this function downloads nothing.
    """
    if experiment.data.source == "imdb" and local_imdb() is None and not store.is_there(archive_path()):
        raise UsageError(f"{archive_path()} is not there yet, so nothing of it is prepared", "sentiment prepare")
    source = find_source(experiment.data)
    keys = [key_of(source, part) for part in _parts_read(experiment)]
    fingerprints = [find_fingerprint(key) for key in keys]
    if all(fingerprints):
        keys.append(_key(source, settle(experiment), [found for found in fingerprints if found]))
    return keys


def _parts_read(experiment: Experiment) -> list[Subset]:
    """Return the parts of a source that the vocabulary and the labelled splits come from."""
    return ["labelled", "unlabelled"] if "unsup" in experiment.vocabulary.from_ else ["labelled"]


def _prepare_labelled(source: Source, experiment: Experiment, splits: tuple[str, ...], wanted: str | None) -> Corpus:
    texts: list[Texts] = []
    parts = _parts_read(experiment)
    fingerprints = [find_fingerprint(key_of(source, part)) for part in parts]
    if not all(fingerprints):
        texts = [prepare_texts(source, part) for part in parts]
        fingerprints = [part.fingerprint for part in texts]
    found = [fingerprint for fingerprint in fingerprints if fingerprint]
    key = _key(source, experiment, found)
    if wanted not in (None, key.directory_name):
        earlier = _key(source, experiment, found, _FORMAT_ROUNDED)
        key = earlier if earlier.directory_name == wanted else key
    _check_wanted(source, key.directory_name, wanted)

    def build() -> None:
        cache.say_miss(key)
        found = texts or [prepare_texts(source, part) for part in parts]
        _check_unchanged(source, [part.fingerprint for part in found], key.depends_on["texts"])
        _build(found, experiment, key)
        console.say(f"data: prepared in {cache.directory_of(key.directory_name)}")

    return cache.get_or_build(key, lambda name: open_corpus(name, splits), build, on_hit=_say_found)


def _check_wanted(source: Source, found: str, wanted: str | None) -> None:
    if wanted not in (None, found):
        raise DataError(
            f"the data at hand is {found}, other reviews than {wanted} or prepared by another version",
            "sentiment prepare" if source.name == "imdb" else None,
        )


def _check_unchanged(source: Source, found: list[str], wanted: list[str]) -> None:
    """Raise DataError where texts are not those that a key was made of: they would be packed under others' name."""
    if found != wanted:
        raise DataError(f"{source.path} was changed while it was read", f"ls -l {shlex.quote(str(source.path))}")


def _key(source: Source, experiment: Experiment, fingerprints: list[str], version: int = _FORMAT) -> cache.Key:
    # Settings that do not change the split are left out, and so are the paths of rows that the texts hold.
    silent = {"unsup_share", "source", *({"folds", "fold"} if experiment.data.valid.folds is None else {"share"})}
    data = experiment.data.model_dump(
        mode="json", include={"valid", "test_share", "deduplicate"}, exclude={"valid": silent}
    )
    return cache.Key(source.name, {"format": version, "texts": fingerprints, "data": data, **about_tokens(experiment)})


def about_tokens(experiment: Experiment) -> dict[str, Any]:
    """Return what token ids depend on beside the rows that the vocabulary is learnt from."""
    of_text = {"tokenizer", "lowercase", "markup", "punctuation", *({"start"} if experiment.text.start else ())}
    reading = reading_of(experiment.text)
    return {
        **({} if reading == 1 else {"reading": reading}),  # packs of the first are found under the key they had
        **({} if experiment.pieces is None else {"pieces": list(experiment.pieces)}),
        "tokenizers": tokenizers.__version__,
        "text": experiment.text.model_dump(mode="json", include=of_text),
        "vocabulary": experiment.vocabulary.model_dump(mode="json", by_alias=True, exclude={"vectors"}),
    }


def _build(texts: list[Texts], experiment: Experiment, key: cache.Key) -> None:
    labelled, data = texts[0], experiment.data
    check_labels_of(labelled, data)
    splits = assign_rows(labelled, data, rounds=key.depends_on["format"] == _FORMAT_ROUNDED)
    check_splits(labelled, splits, data)
    if data.valid.folds is not None and (n_valid := len(labelled.rows("valid"))):
        console.say(f"data: {n_valid:,} validation rows of the source are not used: the fold is validated on")
    vocabulary = experiment.vocabulary
    hash_N_of = {of: normalised_hashes(labelled.read(of)) for of in SPLITS_OF["labelled"]}
    held = hash_N_of[splits["test"][0]][splits["test"][1]]

    def counted() -> Iterator[list[str]]:
        for name in vocabulary.from_:
            if name == "unsup":
                is_wanted_N = ~is_among(normalised_hashes(texts[1].read("unsup")), held)
                yield from texts[1].read("unsup", is_wanted_N)
            else:
                yield from labelled.read(*splits[name])

    console.say(f"data: learning the vocabulary from {' and '.join(vocabulary.from_)}")
    tokenizer, entries = train_tokenizer(experiment.text, vocabulary, counted(), experiment.pieces)
    encode = ChunkEncoder(tokenizer)
    with store.new_directory(cache.directory_of(key.directory_name)) as draft:
        for name, (of, is_wanted_N) in splits.items():
            others = [hash_N_of["train"][~is_wanted_N] if of == "train" else hash_N_of["train"]]
            others += [hash_N_of["valid"]] if of != "valid" else []
            is_known_N = is_among(hash_N_of[of], np.concatenate(others))
            _write_split(draft, name, labelled, of, is_wanted_N, encode, is_known_N)
            draft.write(digests_file(name), hash_N_of[of][is_wanted_N].tobytes())
        write_tokens(draft, experiment, tokenizer, entries)
        draft.write("labels.json", store.dump_json(labelled.labels))
        draft.write(ABOUT, store.dump_json(about_rows(labelled, splits, hash_N_of)))
        draft.write(cache.KEY_FILE, store.dump_json(key.depends_on))


def write_tokens(draft: store.Draft, experiment: Experiment, tokenizer: Tokenizer, entries: list[str]) -> None:
    """Write a corpus's tokenizer and vocabulary."""
    draft.write("tokenizer.json", tokenizer.to_str().encode())
    unknown = entries.index(UNKNOWN if experiment.vocabulary.unknown == "own" else PAD)
    start = entries.index(START) if experiment.text.start else None
    n_pieces = len(entries) - entries.index(MARK) if experiment.pieces else 0
    vocabulary = Vocabulary(tuple(entries), unknown, start, reading_of(experiment.text), n_pieces)
    draft.write("vocabulary.json", store.dump_json(vars(vocabulary)))


def _prepare_unsup(source: Source, experiment: Experiment, corpus: Corpus) -> Path:
    """Pack the unlabelled rows with the corpus's tokenizer, without the texts that are also in its test rows."""
    part_key = key_of(source, "unlabelled")
    texts = None
    fingerprint = find_fingerprint(part_key)
    if fingerprint is None:
        texts = prepare_texts(source, "unlabelled")
        fingerprint = texts.fingerprint
    key = cache.Key(f"unsup-{source.name}", {"format": _FORMAT, "texts": fingerprint, "corpus": corpus.key})

    def build() -> None:
        found, labelled = texts or prepare_texts(source, "unlabelled"), prepare_texts(source, "labelled")
        _check_unchanged(source, [found.fingerprint, labelled.fingerprint], [fingerprint, corpus.texts])
        _build_unsup(found, labelled, experiment, corpus, key)

    return cache.get_or_build(key, cache.open_entry, build)


def _build_unsup(texts: Texts, labelled: Texts, experiment: Experiment, corpus: Corpus, key: cache.Key) -> None:
    hash_N = normalised_hashes(texts.read("unsup"))
    held = corpus.digests("test")  # None: a corpus of an earlier version
    test = assign_rows(labelled, experiment.data, rounds=held is None)["test"]
    held = normalised_hashes(labelled.read(*test)) if held is None else held
    is_wanted_N = ~is_among(hash_N, held)
    encode = ChunkEncoder(Tokenizer.from_file(str(corpus.directory / "tokenizer.json")))
    tokens_N = _hash_tokens(labelled.read(*test), encode)
    with store.new_directory(cache.directory_of(key.directory_name)) as draft:
        is_known_N = is_among(hash_N, normalised_hashes(labelled.read("train")))
        is_wanted_N = _write_split(draft, "unsup", texts, "unsup", is_wanted_N, encode, is_known_N, tokens_N)
        draft.write(cache.KEY_FILE, store.dump_json(key.depends_on))
    n_kept, n_out = int(is_wanted_N.sum()), int((~is_wanted_N).sum())
    console.say(f"data: unsup {n_kept:,} reviews, {n_out:,} left out that are also in test")


def _hash_tokens(chunks: Iterable[list[str]], encode: ChunkEncoder) -> Hashes:
    """Hash the token ids of each non-empty test row: different texts may have the same tokens."""
    found = row_hashes([ids for rows in chunks for ids in encode(rows)])
    return np.asarray(found[found != 0])


def _write_split(
    draft: store.Draft,
    name: str,
    texts: Texts,
    of: str,
    is_wanted_N: NDArray[np.bool_],
    encode: ChunkEncoder,
    is_known_N: NDArray[np.bool_],
    unwanted: Hashes | None = None,
) -> NDArray[np.bool_]:
    """Encode and write the wanted rows of a split of the texts, less those whose token ids hash as `unwanted` ones do.

    Returns which rows were written; `is_known_N` marks the texts that are also in other splits.
    """
    n_rows, done, end = int(is_wanted_N.sum()), 0, 0
    is_kept = list[NDArray[np.bool_]]()
    with writing(draft, name, COLUMNS) as writer, console.progress(f"packing {name}", n_rows) as shown:
        for ids in encode_ahead(encode, texts.read(of, is_wanted_N)):
            done += len(ids)
            if unwanted is not None:
                is_kept.append(~is_among(row_hashes(ids), unwanted))
                ids = list(itertools.compress(ids, is_kept[-1]))
            if ids:
                end_B = end + np.cumsum([len(row) for row in ids])
                writer.write(ids_T=np.concatenate(ids), end_N=end_B)
                end = int(end_B[-1])
                shown.update(done)
        if is_kept:
            is_wanted_N = is_wanted_N.copy()
            is_wanted_N[is_wanted_N] = np.concatenate(is_kept)
        rows = texts.rows(of)
        copy_rows(writer, is_wanted_N, label_N=rows.label_N, stars_N=rows.stars_N, group_N=rows.group_N)
        copy_rows(writer, is_wanted_N, in_train_N=is_known_N)
        writer.write_ids(itertools.compress(read_ids(texts.directory, of), is_wanted_N))
    return is_wanted_N


def encode_ahead(encode: ChunkEncoder, chunks: Iterable[list[str]]) -> Iterator[list[NDArray[np.int32]]]:
    """Encode lists of texts, two ahead of the caller, which uses one core while the library uses the others."""
    with ThreadPoolExecutor(2) as workers:
        pending: deque[Future[list[NDArray[np.int32]]]] = deque()
        for chunk in chunks:
            pending.append(workers.submit(encode, chunk))
            if len(pending) > 2:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _say_found(corpus: Corpus) -> None:
    console.say(f"data: prepared before, in {corpus.directory}")
