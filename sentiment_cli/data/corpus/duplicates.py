"""Duplicate texts within a split and across splits: exact, normalised, or near-duplicates."""

import hashlib
import html
import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
# The counts to give: within a split, or across two (texts of the first that are also in the second).
PAIRS = (
    ("train", "train"),
    ("valid", "valid"),
    ("test", "test"),
    ("unsup", "unsup"),
    ("train", "test"),
    ("train", "valid"),
    ("valid", "test"),
    ("unsup", "test"),
    ("unsup", "train"),
    ("unsup", "valid"),
)
_DROPPED = bytes(code for code in range(128) if not chr(code).isalnum())
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
# Beside format characters these show as nothing: joiners, fillers, and what chooses a variant of a letter or an emoji.
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_SHINGLE = 5  # words
_N_HASHES = 32
_BAND = 4  # rows that agree in four hashes at a stretch are compared in all
_NEIGHBOURS = 8  # of the rows that agree so, each is compared with as many before it
_NEAR = 0.8
_NO_SHINGLE = 2**32 - 1
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2**64
_INVERSE = np.uint64(pow(int(_BASE), -1, 2**64))


def count_duplicates(hash_N_of: dict[str, Hashes]) -> dict[str, int]:
    """Count equal hashes: within a split rows minus distinct ones, across two splits the distinct ones in both."""
    counts = {}
    for first, second in PAIRS:
        if first not in hash_N_of or second not in hash_N_of:
            continue
        if first == second:
            counts[first] = len(hash_N_of[first]) - len(np.unique(hash_N_of[first]))
        else:
            counts[f"{first}_{second}"] = len(np.intersect1d(hash_N_of[first], hash_N_of[second]))
    return counts


class _Kept(dict[int, int | None]):
    """Maps a character to itself, or to None: punctuation, accents, white space and invisible characters."""

    def __missing__(self, code: int) -> int | None:
        char = chr(code)
        category = unicodedata.category(char)
        is_dropped = category[0] in "PZC" or (code < 128 and not char.isalnum()) or 0x300 <= code < 0x370
        is_dropped = is_dropped or _INVISIBLE.fullmatch(char) is not None
        self[code] = None if is_dropped else code
        return self[code]


_KEPT = _Kept()


def normalise(text: str) -> str:
    """Return a text without case, punctuation, accents, markup, white space and invisible characters.

    A text of punctuation alone keeps it, with white space folded: otherwise all such texts would be equal.
    """
    if "&" in text:
        text = html.unescape(text)
    if "<" in text:
        text = _TAG.sub("", text)
    if text.isascii():
        found = text.lower().encode().translate(None, _DROPPED).decode()
    else:
        found = unicodedata.normalize("NFKD", text).casefold().translate(_KEPT)
    return found or " ".join(text.split())


def normalised_hashes(texts: Iterable[Sequence[str]]) -> Hashes:
    """Hash each normalised text."""
    hashes = [
        int.from_bytes(hashlib.blake2b(normalise(text).encode(), digest_size=8).digest(), "little")
        for chunk in texts
        for text in chunk
    ]
    return np.array(hashes, dtype=np.uint64)


def row_hashes(ids: Sequence[NDArray[np.int32]]) -> Hashes:
    """Hash the token ids of each row; a row without a token is 0."""
    hashes = [
        int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "little") if len(row) else 0
        for row in ids
    ]
    return np.array(hashes, dtype=np.uint64)


def is_among(hash_N: Hashes, others_M: Hashes) -> NDArray[np.bool_]:
    """Mark the hashes that are among the others."""
    is_there_N: NDArray[np.bool_] = np.isin(hash_N, others_M)
    return is_there_N


def near_duplicates(signature_NH_of: dict[str, NDArray[np.uint32]], exact_N_of: dict[str, Hashes]) -> dict[str, int]:
    """Count texts that nearly repeat another: about 80 % of their five-word shingles shared, not all text.

    Inside a split those that nearly repeat an earlier one, across two those of the first that nearly repeat one of the
    second. By MinHash signatures (Broder 1997) compared where a band of them agrees; an estimate, not a proof.
    """
    distinct = {}
    for name, exact_N in exact_N_of.items():
        rows = np.sort(np.unique(exact_N, return_index=True)[1])
        rows = rows[signature_NH_of[name][rows].min(axis=1, initial=_NO_SHINGLE) < _NO_SHINGLE]
        distinct[name] = signature_NH_of[name][rows], exact_N[rows]
    counts = {}
    for first, second in PAIRS:
        if first in distinct and second in distinct:
            name = first if first == second else f"{first}_{second}"
            counts[name] = int(_is_near(*distinct[first], *distinct[second], is_inside=first == second).sum())
    return counts


def _is_near(
    signature_NH: NDArray[np.uint32],
    exact_N: Hashes,
    other_MH: NDArray[np.uint32],
    exact_M: Hashes,
    *,
    is_inside: bool,
) -> NDArray[np.bool_]:
    """Mark the texts that nearly repeat one of the others or, inside a split, an earlier one."""
    is_near_N = np.zeros(len(signature_NH), dtype=bool)
    for band in range(0, _N_HASHES, _BAND):
        key_N, key_M = (_band_keys(hashes[:, band : band + _BAND]) for hashes in (signature_NH, other_MH))
        order_M = np.argsort(key_M, kind="stable")
        place_N = np.argsort(order_M) if is_inside else np.searchsorted(key_M[order_M], key_N, side="right")
        for back in range(1, _NEIGHBOURS + 1):
            rows = np.flatnonzero(place_N >= back)
            others = order_M[place_N[rows] - back]
            agree = key_N[rows] == key_M[others]
            rows, others = rows[agree], others[agree]
            if not len(rows):
                break
            is_alike = (signature_NH[rows] == other_MH[others]).mean(axis=1) >= _NEAR
            is_near_N[rows[is_alike & (exact_N[rows] != exact_M[others])]] = True
    return is_near_N


def _band_keys(band_NB: NDArray[np.uint32]) -> Hashes:
    key_N: Hashes = (band_NB * _BASE ** np.arange(_BAND, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
    return key_N


def signatures(texts: Iterable[Sequence[str]]) -> NDArray[np.uint32]:
    """Return signature_NH, the MinHash of each text's shingles; a row of the largest value has too few words."""
    generator = np.random.default_rng(0)
    factor_H = generator.integers(2**63, size=_N_HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    chunks = [_signatures(chunk, factor_H) for chunk in texts]
    return np.concatenate([*chunks, np.zeros((0, _N_HASHES), np.uint32)])


def _signatures(texts: Sequence[str], factor_H: Hashes) -> NDArray[np.uint32]:
    """Hash words, then shingles, of all texts at once.

    A word's hash is that of its bytes as a polynomial, read off a running sum over the whole chunk; a shingle's is that
    of its words' hashes.
    """
    signature_NH = np.full((len(texts), _N_HASHES), _NO_SHINGLE, dtype=np.uint32)
    data = np.frombuffer("\n".join(" ".join(text.lower().split()) for text in texts).encode() + b"\n", dtype=np.uint8)
    power = np.multiply.accumulate(np.full(len(data) + 1, _BASE)) * _INVERSE  # power[i] = base**i
    running = np.concatenate([[np.uint64(0)], np.cumsum((data.astype(np.uint64) + np.uint64(1)) * power[:-1])])
    end_W = np.flatnonzero((data == 32) | (data == 10))
    start_W = np.concatenate([[0], end_W[:-1] + 1])
    inverse = np.multiply.accumulate(np.full(len(data) + 1, _INVERSE)) * _BASE
    word_W = (running[end_W] - running[start_W]) * inverse[start_W]
    row_W = np.cumsum(data[end_W] == 10) - (data[end_W] == 10)
    if len(word_W) < _SHINGLE:
        return signature_NH
    windows = np.lib.stride_tricks.sliding_window_view(word_W, _SHINGLE)
    shingle_S = (windows * power[1 : _SHINGLE + 1]).sum(axis=1, dtype=np.uint64)
    row_S = row_W[: len(shingle_S)]
    whole = row_S == row_W[_SHINGLE - 1 :]  # the window ends in the row it starts in
    shingle_S, row_S = shingle_S[whole], row_S[whole]
    if len(row_S):
        starts = np.flatnonzero(np.concatenate([[True], row_S[1:] != row_S[:-1]]))
        for i, factor in enumerate(factor_H):
            mixed_S = ((shingle_S ^ (shingle_S >> np.uint64(29))) * factor >> np.uint64(32)).astype(np.uint32)
            signature_NH[row_S[starts], i] = np.minimum.reduceat(mixed_S, starts)
    return signature_NH
