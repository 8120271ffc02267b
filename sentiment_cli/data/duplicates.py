"""Texts that stand twice, inside a split and across splits: to the letter, but for case and marks, or nearly."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
# Which counts are given: inside a split, or across two (of the first, the texts that also stand in the second).
PAIRS = (
    ("train", "train"),
    ("test", "test"),
    ("unsup", "unsup"),
    ("train", "test"),
    ("unsup", "test"),
    ("unsup", "train"),
)
_DROPPED = bytes(code for code in range(128) if not chr(code).isalnum())
_SHINGLE = 5  # words
_N_HASHES = 32
_BAND = 4  # rows that agree in four hashes at a stretch are compared in all
_NEAR = 0.8
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2**64
_INVERSE = np.uint64(pow(int(_BASE), -1, 2**64))


def count_duplicates(hash_N_of: dict[str, Hashes]) -> dict[str, int]:
    """Count equal hashes: rows less distinct ones inside a split, distinct ones that stand in both across two."""
    counts = {}
    for first, second in PAIRS:
        if first not in hash_N_of or second not in hash_N_of:
            continue
        if first == second:
            counts[first] = len(hash_N_of[first]) - len(np.unique(hash_N_of[first]))
        else:
            counts[f"{first}_{second}"] = len(np.intersect1d(hash_N_of[first], hash_N_of[second]))
    return counts


def normalised_hashes(texts: Iterable[Sequence[str]]) -> Hashes:
    """Hash each text lower-cased, without ASCII's marks and white space."""
    hashes = [
        int.from_bytes(
            hashlib.blake2b(text.lower().encode().translate(None, _DROPPED), digest_size=8).digest(), "little"
        )
        for chunk in texts
        for text in chunk
    ]
    return np.array(hashes, dtype=np.uint64)


def near_duplicates(signature_NH_of: dict[str, NDArray[np.uint32]], exact_N_of: dict[str, Hashes]) -> dict[str, int]:
    """Count rows that nearly repeat an earlier one: about 80 % of their five-word shingles shared, not all text.

    By MinHash signatures (Broder 1997) compared where a band of them agrees; an estimate, not a proof.
    """
    names = [name for name in ("train", "test", "unsup") if name in signature_NH_of]
    signature_NH = np.concatenate([signature_NH_of[name] for name in names])
    exact_N = np.concatenate([exact_N_of[name] for name in names])
    split_N = np.repeat(np.arange(len(names)), [len(signature_NH_of[name]) for name in names])
    has_shingles_N = signature_NH.min(axis=1, initial=2**32 - 1) < 2**32 - 1
    pairs = []
    for band in range(0, _N_HASHES, _BAND):
        key_N = np.ascontiguousarray(signature_NH[:, band : band + _BAND]).view(f"V{4 * _BAND}").ravel()
        _, first_N, place_N = np.unique(key_N, return_index=True, return_inverse=True)
        earlier_N = first_N[place_N]
        later = np.flatnonzero((earlier_N != np.arange(len(key_N))) & has_shingles_N)
        pairs.append(np.stack([earlier_N[later], later], axis=1))
    pair_P2 = np.unique(np.concatenate(pairs), axis=0)
    one_P, other_P = pair_P2.T
    alike_P = (signature_NH[one_P] == signature_NH[other_P]).mean(axis=1) >= _NEAR
    near = pair_P2[alike_P & (exact_N[one_P] != exact_N[other_P])]
    counts = {}
    for first, second in PAIRS:
        if first in names and second in names:
            wanted = sorted((names.index(first), names.index(second)))
            rows = near[(split_N[near[:, 0]] == wanted[0]) & (split_N[near[:, 1]] == wanted[1])]
            counts[first if first == second else f"{first}_{second}"] = len(np.unique(rows[:, 1]))
    return counts


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
    signature_NH = np.full((len(texts), _N_HASHES), 2**32 - 1, dtype=np.uint32)
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
