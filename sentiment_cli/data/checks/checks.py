"""What is wrong with a corpus: findings with a severity, and the duplicates counted."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from sentiment_cli.config.schema import Data
from sentiment_cli.data.corpus.duplicates import (
    Hashes,
    count_duplicates,
    near_duplicates,
    normalised_hashes,
    signatures,
)
from sentiment_cli.data.corpus.raw_texts import SPLITS_OF, Texts, prepare_texts
from sentiment_cli.data.sources.labels import map_setting, missing_spellings, parse_label_map
from sentiment_cli.data.sources.source import find_source

Severity = Literal["error", "warning", "note"]
_MOJIBAKE = re.compile(r"Ã[\x80-\xbf]|â€|Â[\x80-\xbf]")  # UTF-8 that was read as Latin-1 and written again
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")
_RAREST_SHARE = 0.05
_FEW_ROWS, _SHOWN = 10, 5  # training rows of a label, and labels named
_EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """One thing to know; `rows` names some of the rows concerned."""

    severity: Severity
    what: str
    count: int
    rows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """Findings, the worst first, and the duplicates by kind."""

    findings: tuple[Finding, ...]
    duplicates: dict[str, int]
    duplicates_normalised: dict[str, int]
    duplicates_near: dict[str, int]

    @property
    def is_bad(self) -> bool:
        return any(finding.severity == "error" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        return {
            "duplicates": self.duplicates,
            "duplicates_normalised": self.duplicates_normalised,
            "duplicates_near": self.duplicates_near,
            "findings": [asdict(finding) for finding in self.findings],
        }


def check_data(data: Data) -> Report:
    """Read every split of a source and say what is wrong with it.

    An error is what cannot be trained on (one class); a warning what a model or a score would be wrong about; a note
    what one should know.
    """
    source = find_source(data)
    parts = [prepare_texts(source, "labelled")]
    if source.has_unlabelled:
        parts.append(prepare_texts(source, "unlabelled"))
    where = {
        split: part
        for splits, part in zip(SPLITS_OF.values(), parts, strict=False)
        for split in splits
        if len(part.rows(split))
    }
    findings = [*_label_findings(parts[0]), *_missing_findings(parts[0], data), *_group_findings(where)]
    for split, texts in where.items():
        findings += _text_findings(split, texts)
    for part in parts:
        if part.rejected:
            findings.append(
                Finding("warning", f"rows left out, listed in {part.directory / 'rejects.jsonl'}", part.rejected)
            )
    exact = {split: texts.rows(split).digest_N for split, texts in where.items()}
    normalised = {split: normalised_hashes(texts.read(split)) for split, texts in where.items()}
    findings += _known_findings(normalised)
    near = {split: signatures(texts.read(split)) for split, texts in where.items()}
    duplicates = count_duplicates(exact)
    for name, count in duplicates.items():
        if count:
            across = name.replace("_", " and ")
            what = f"texts in both {across}" if "_" in name else f"rows of {name} that repeat another"
            findings.append(Finding("warning" if "_" in name else "note", what, count))
    severities = ("error", "warning", "note")
    return Report(
        tuple(sorted(findings, key=lambda finding: severities.index(finding.severity))),
        duplicates,
        count_duplicates(normalised),
        near_duplicates(near, exact),
    )


def _label_findings(labelled: Texts) -> list[Finding]:
    findings = []
    counts = labelled.counts("train")
    if len(labelled.labels) < 2:
        findings.append(Finding("error", f"every training row is labelled {labelled.labels[0]}", int(counts.sum())))
    rarest = int(counts.argmin())
    if len(labelled.labels) > 1 and counts[rarest] * len(counts) < _RAREST_SHARE * counts.sum():
        what = f"few training rows are labelled {labelled.labels[rarest]}: {counts[rarest] / counts.sum():.1%}"
        findings.append(Finding("warning", what, int(counts[rarest])))
    most = min(_FEW_ROWS, counts.mean() / 2)  # a label is not rare where all are
    few = [(int(count), label) for count, label in zip(counts, labelled.labels, strict=True) if 0 < count < most]
    if few:
        said = ", ".join(f"{label} {count}" for count, label in sorted(few)[:_SHOWN])
        more = f" and {len(few) - _SHOWN} more" if len(few) > _SHOWN else ""
        what = f"labels with fewer than {_FEW_ROWS} training rows, of which little is learnt: {said}{more}"
        findings.append(Finding("warning", what, sum(count for count, _ in few)))
    rows_of = {split: labelled.rows(split) for split in SPLITS_OF["labelled"]}
    digest_N = np.concatenate([rows.digest_N for rows in rows_of.values()])
    label_N = np.concatenate([rows.label_N for rows in rows_of.values()])
    order = np.lexsort((label_N, digest_N))
    is_other_label = (np.diff(digest_N[order]) == 0) & (np.diff(label_N[order]) != 0)
    conflicts = np.unique(digest_N[order][1:][is_other_label])
    if len(conflicts):
        ids_of = {split: labelled.ids(split) for split in rows_of}
        named = [
            f"{split} {ids_of[split][i]}"
            for split, rows in rows_of.items()
            for i in np.flatnonzero(np.isin(rows.digest_N, conflicts))[:_EXAMPLES]
        ]
        what = "texts with more than one label" if labelled.sets_KC is None else "texts with other labels elsewhere"
        findings.append(Finding("warning", what, len(conflicts), tuple(named[:_EXAMPLES])))
    return findings


def _missing_findings(labelled: Texts, data: Data) -> list[Finding]:
    """Find labels that spell a missing value, those that are left out, and those that a split cannot have."""
    counts = Counter[str]()
    for split in SPLITS_OF["labelled"]:
        counts.update(dict(zip(labelled.labels, labelled.counts(split).tolist(), strict=True)))
    renamed = parse_label_map(data.label_map)
    findings = [
        Finding(
            "warning",
            f"rows labelled {label!r}, maybe a missing label: {map_setting({**renamed, label: ''})} leaves "
            f"them out, {map_setting({**renamed, label: label})} keeps them",
            counts[label],
        )
        for label in missing_spellings(labelled.labels, renamed)
    ]
    findings += [
        Finding("note", f"rows labelled {label!r}, which data.label_map leaves out", count)
        for label, count in labelled.left_out.items()
    ]
    drawn = 1 + sum(not len(labelled.rows(split)) for split in ("valid", "test"))
    for label, count in zip(labelled.labels, labelled.counts("train").tolist(), strict=True):
        if 0 < count < drawn:
            findings.append(Finding("warning", f"too few rows labelled {label} for one in each split", count))
    return findings


def _known_findings(normalised: dict[str, Hashes]) -> list[Finding]:
    """Find a split whose texts are all training texts too, ignoring case and punctuation."""
    return [
        Finding("warning", f"all {split} texts are also in train: scores on them do not measure new texts", len(hash_N))
        for split, hash_N in normalised.items()
        if split in ("valid", "test") and np.isin(hash_N, normalised["train"]).all()
    ]


def _group_findings(where: dict[str, Texts]) -> list[Finding]:
    groups = {}
    for split, texts in where.items():
        numbers = np.unique(texts.rows(split).group_N)
        groups[split] = {texts.groups[number] for number in numbers.tolist() if number >= 0}
    findings = []
    for one, other in (("train", "valid"), ("train", "test"), ("unsup", "train"), ("unsup", "test")):
        shared = sorted(groups.get(one, set()) & groups.get(other, set()))
        if shared:
            findings.append(
                Finding("warning", f"groups in both {one} and {other}", len(shared), tuple(shared[:_EXAMPLES]))
            )
    return findings


def _text_findings(split: str, texts: Texts) -> list[Finding]:
    kinds: dict[str, Callable[[str], object]] = {
        "empty texts": lambda text: not text.strip(),
        "texts with \ufffd, which replaces bytes that are not valid UTF-8,": lambda text: "\ufffd" in text,
        "texts that look like UTF-8 read as Latin-1": lambda text: not text.isascii() and _MOJIBAKE.search(text),
        "texts with control characters": lambda text: not text.isprintable() and _CONTROL.search(text),
    }
    counts: Counter[str] = Counter()
    places: dict[str, list[int]] = {what: [] for what in kinds}
    number = 0
    for chunk in texts.read(split):
        for text in chunk:
            for what, is_so in kinds.items():
                if is_so(text):
                    counts[what] += 1
                    if len(places[what]) < _EXAMPLES:
                        places[what].append(number)
            number += 1
    ids = texts.ids(split)
    return [
        Finding(
            "warning",
            f"{what} in {split}",
            count,
            tuple(f"{split} {ids[i]}" for i in places[what]),
        )
        for what, count in counts.items()
    ]
