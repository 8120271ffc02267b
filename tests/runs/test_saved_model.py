"""What a finished model on disk withstands, as a directory and as one packed file."""

import hashlib
import io
import itertools
import json
import math
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from sentiment_cli.config import schema
from sentiment_cli.config.schema import Data
from sentiment_cli.data.batching import truncation
from sentiment_cli.errors import UsageError
from sentiment_cli.evaluation.behaviour import evaluate_behaviour
from sentiment_cli.evaluation.evaluate import evaluate, evaluate_data
from sentiment_cli.inference.predictor import open_predictor
from sentiment_cli.inference.torch_model import experiment_of, load_model
from sentiment_cli.runs.directory import find_run, named_run
from sentiment_cli.runs.model_files import NAMES
from sentiment_cli.runs.saved_model import GRAPH, WEIGHTS, open_artefact, pack_artefact, save_artefact
from sentiment_cli.storage import store

Files = dict[str, bytes]
Write = Callable[[Files, str], Path]
FORMS = ("directory", "packed")


@pytest.fixture
def files(three_labels: Path) -> Files:
    """The files of a model, the manifest first."""
    found = {file.name: file.read_bytes() for file in (three_labels / "model").iterdir()}
    return manifested({name: found[name] for name in NAMES if name in found})


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write files as they are, in a directory or in a zip, whatever their manifest says."""
    numbers = itertools.count()

    def write(files: Files, form: str) -> Path:
        path = tmp_path / f"model-{next(numbers)}"
        if form == "packed":
            path.write_bytes(zipped(files.items()))
            return path
        path.mkdir()
        for name, data in files.items():
            (path / name).write_bytes(data)
        return path

    return write


def zipped(entries: Any, **changes: Any) -> bytes:
    """Zip by the standard library what `pack` is to give the same bytes of; `changes` are to each member's header."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o644 << 16
            for field, value in changes.items():
                setattr(entry, field, value)
            archive.writestr(entry, data)
    return buffer.getvalue()


def entry_of(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def manifested(files: Files, changes: dict[str, Any] | None = None) -> Files:
    """Return files with a manifest of them, the manifest first; `changes` are to its entries."""
    entries = {name: entry_of(data) for name, data in files.items() if name != store.MANIFEST}
    return {store.MANIFEST: b"", **files, store.MANIFEST: store.dump_manifest({**entries, **(changes or {})})}


def bound(files: Files, **about: Any) -> Files:
    """Return files whose hashes are right everywhere, so that nothing but their meaning can be wrong."""
    hashes = {name: entry_of(files[name])["sha256"] for name in files.keys() - {store.MANIFEST, "model.json"}}
    told = {**json.loads(files["model.json"]), "files": hashes, **about}
    return manifested({**files, "model.json": store.dump_json(told)})


def read_all(path: Path) -> None:
    artefact = open_artefact(path)
    for name in artefact.files.entries:
        artefact.read(name)


def read_whole(path: Path) -> None:
    """Read all that a model holds, for torch and for its graph."""
    artefact = open_artefact(path)
    if artefact.has_weights:
        load_model(artefact)
    open_predictor(artefact.path).predict(["so good"])


def test_both_forms_answer_alike_and_the_packed_one_holds_no_weights(three_labels: Path, tmp_path: Path) -> None:
    path, artefact = tmp_path / "three.model", open_artefact(three_labels)
    assert pack_artefact(artefact, path) == path.stat().st_size
    packed = open_artefact(path)
    assert (packed.has_weights, packed.no_graph, artefact.has_weights) == (False, None, True)
    assert (packed.labels, packed.data_key, packed.settings) == (
        artefact.labels,
        "toy-0123456789abcdef",
        artefact.settings,
    )
    texts = ["bad", "so good", ""]
    assert open_predictor(packed.path).predict(texts) == open_predictor(artefact.path).predict(texts)
    pack_artefact(packed, tmp_path / "again.model")
    assert (tmp_path / "again.model").read_bytes() == path.read_bytes()


def test_the_packed_form_is_what_other_programs_read_and_write(three_labels: Path, tmp_path: Path) -> None:
    artefact = open_artefact(three_labels)
    pack_artefact(artefact, tmp_path / "three.model")
    with zipfile.ZipFile(tmp_path / "three.model") as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == store.MANIFEST
        found = {name: archive.read(name) for name in archive.namelist()}
    assert found[GRAPH] == artefact.read(GRAPH)
    assert zipped(found.items()) == (tmp_path / "three.model").read_bytes()


def test_another_graph_and_a_model_without_one_are_packed_too(three_labels: Path, experiment, tmp_path: Path) -> None:
    artefact = open_artefact(three_labels)
    pack_artefact(artefact, tmp_path / "other.model", b"other")
    assert open_artefact(tmp_path / "other.model").read(GRAPH) == b"other"
    corpus: Any = type(
        "Corpus", (), {"labels": artefact.labels, "key": "toy-0123456789abcdef", "vocabulary": artefact.vocabulary}
    )
    corpus.tokenizer_json = artefact.read("tokenizer.json")
    settings = experiment("model.embedding.width=3", "model.encoder.width=3", "model.pooling=max")
    save_artefact(tmp_path / "plain", settings, corpus, load_model(artefact).state_dict(), None, "no operator for it")
    plain = open_artefact(tmp_path / "plain")
    pack_artefact(plain, tmp_path / "plain.model")
    packed = open_artefact(tmp_path / "plain.model")
    assert packed.no_graph == plain.no_graph == "no operator for it"
    assert packed.read(WEIGHTS) == artefact.read(WEIGHTS)


def test_predicting_needs_neither_torch_nor_the_weights(three_labels: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from sentiment_cli.inference.predictor import open_predictor
from sentiment_cli.runs.model_files import ModelFiles
read, real = [], ModelFiles.read
ModelFiles.read = lambda self, name: read.append(name) or real(self, name)
print(open_predictor(Path({str(three_labels)!r})).predict(["good"])[0].label, sorted(read))
print([name for name in ("torch", "pydantic", "onnx", "yaml", "rich", "safetensors") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    read = ["graph.onnx", "model.json", "tokenizer.json", "vocabulary.json"]
    assert done.stdout.splitlines() == [f"good {read}", "[]"]


MANIFESTS: dict[str, Callable[[Files], Files]] = {
    "a name that leads out": lambda files: bound({**files, "../evil.json": b"x"}),
    "an absolute name": lambda files: bound({**files, "/tmp/evil.json": b"x"}),
    "a file that no model has": lambda files: bound({**files, "evil.pt": b"x"}),
    "a file that is not there": lambda files: manifested(files, {"calibration.json": entry_of(b"x")}),
    "a file that it does not name": lambda files: {**files, "calibration.json": b"{}"},
    "no vocabulary": lambda files: bound({name: files[name] for name in files if name != "vocabulary.json"}),
    "nothing to answer by": lambda files: bound({n: d for n, d in files.items() if n not in (GRAPH, WEIGHTS)}),
    "nothing": lambda files: {store.MANIFEST: store.dump_manifest({})},
    "a hash in capitals": lambda files: manifested(
        files, {GRAPH: {**entry_of(files[GRAPH]), "sha256": entry_of(files[GRAPH])["sha256"].upper()}}
    ),
    "no hash": lambda files: manifested(files, {GRAPH: {"size": len(files[GRAPH])}}),
    **{
        f"a size of {size}": lambda files, size=size: manifested(
            files, {GRAPH: {**entry_of(files[GRAPH]), "size": size}}
        )
        for size in (0, -1, True, 1.0, 2**33, 2**63, 10**40, "9")
    },
    "an entry twice": lambda files: {
        **files,
        store.MANIFEST: files[store.MANIFEST].replace(b'  "files": {\n', b'  "files": {\n    "graph.onnx": {},\n'),
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("game", MANIFESTS)
def test_m13_what_a_manifest_may_not_say(files: Files, write: Write, form: str, game: str) -> None:
    changed = MANIFESTS[game](files)
    if form == "directory":
        changed = {name: data for name, data in changed.items() if "/" not in name}
    path = write(changed, form)
    with pytest.raises(store.IntegrityError, match=path.name):
        read_all(path)


def in_headers(data: bytes, at: int, change: Callable[[int], int]) -> bytes:
    """Change a 16-bit number in both headers of the graph's member; `at` is its place in the one before it."""
    found = bytearray(data)
    local, central = found.index(b"graph.onnx", 2000) - 30, found.rindex(b"graph.onnx") - 46
    for place in (local + at, central + at + 2):
        (value,) = struct.unpack_from("<H", found, place)
        struct.pack_into("<H", found, place, change(value))
    return bytes(found)


ZIPS: dict[str, Callable[[Files], bytes]] = {
    "compressed": lambda files: zipped(files.items(), compress_type=zipfile.ZIP_DEFLATED),
    "the manifest last": lambda files: zipped([*list(files.items())[1:], *list(files.items())[:1]]),
    "a comment": lambda files: zipped(files.items(), comment=b"hello"),
    "an extra field": lambda files: zipped(files.items(), extra=b"\x01\x00\x00\x00"),
    "a date": lambda files: zipped(files.items(), date_time=(2024, 1, 1, 0, 0, 0)),
    "a member without an entry": lambda files: zipped([*files.items(), ("evil.pt", b"x")]),
    "bytes in front": lambda files: b"\x80\x04." + zipped(files.items()),
    "bytes behind": lambda files: zipped(files.items()) + b"\x80\x04.",
    "a zip behind": lambda files: zipped(files.items()) * 2,
    "a flag of encryption": lambda files: in_headers(zipped(files.items()), 6, lambda flags: flags | 1),
    "a flag of lengths to come": lambda files: in_headers(zipped(files.items()), 6, lambda flags: flags | 8),
    "another method": lambda files: in_headers(zipped(files.items()), 8, lambda method: 8),
    "a size for zip64": lambda files: in_headers(zipped(files.items()), 20, lambda size: 0xFFFF),
    "a longer name": lambda files: in_headers(zipped(files.items()), 26, lambda length: length + 1),
    "an extra field to come": lambda files: in_headers(zipped(files.items()), 28, lambda length: 20),
    "two names": lambda files: b"tokenizes.json".join(zipped(files.items()).rsplit(b"tokenizer.json", 1)),
    "no zip": lambda files: b"PK\3\4" + bytes(200),
    "nothing": lambda files: b"",
}


@pytest.mark.parametrize("game", ZIPS)
def test_m13_what_a_packed_file_may_not_be(files: Files, write: Write, tmp_path: Path, game: str) -> None:
    read_all(write(files, "packed"))
    (tmp_path / "evil").write_bytes(ZIPS[game](files))
    with pytest.raises(store.IntegrityError, match="evil is damaged, or no packed model"):
        read_all(tmp_path / "evil")


def test_m13_a_member_that_stands_twice_in_a_packed_file_is_refused(files: Files, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        (tmp_path / "evil").write_bytes(zipped([*files.items(), (GRAPH, b"other")]))
    with pytest.raises(store.IntegrityError, match="evil is damaged"):
        open_artefact(tmp_path / "evil")


@pytest.mark.parametrize("form", FORMS)
def test_f11_a_file_cut_short_is_refused(files: Files, write: Write, form: str) -> None:
    for name, data in files.items():
        for length in {len(data) * i // 20 for i in range(20)}:
            path = write({**files, name: data[:length]}, form)
            with pytest.raises(store.IntegrityError, match=path.name):
                read_all(path)


def test_f11_a_packed_file_cut_short_is_refused(files: Files, tmp_path: Path) -> None:
    data = zipped(files.items())
    for length in [*range(0, len(data), len(data) // 20), len(data) - 1]:
        (tmp_path / "cut").write_bytes(data[:length])
        with pytest.raises(store.IntegrityError, match="cut"):
            open_artefact(tmp_path / "cut")


@pytest.mark.parametrize("form", FORMS)
def test_f12_a_flipped_bit_in_what_is_read_is_seen(files: Files, write: Write, form: str) -> None:
    for name, data in files.items():
        for i in range(0, len(data), max(1, len(data) // 60)):
            path = write({**files, name: flipped(data, i)}, form)
            with pytest.raises(store.IntegrityError, match=path.name):
                read_all(path)


def test_f12_a_flipped_bit_anywhere_in_the_headers_of_a_packed_file_is_seen(files: Files, tmp_path: Path) -> None:
    data = zipped(files.items())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        places = list(range(archive.start_dir, len(data)))
        for entry in archive.infolist():
            places += range(entry.header_offset, entry.header_offset + 30 + len(entry.filename))
    for i in places:
        (tmp_path / "flipped").write_bytes(flipped(data, i))
        with pytest.raises(store.IntegrityError, match="flipped"):
            read_all(tmp_path / "flipped")


def flipped(data: bytes, i: int) -> bytes:
    return data[:i] + bytes([data[i] ^ 1 << i % 8]) + data[i + 1 :]


@pytest.fixture
def other(files: Files) -> Files:
    """The files of another run, of the same experiment but for its data, and for text.max_tokens."""
    words = (("so", "SO"), ("good", "GOOD"), ("bad", "BAD"))
    told = {}
    for name in ("tokenizer.json", "vocabulary.json"):
        told[name] = files[name]
        for word, loud in words:
            told[name] = told[name].replace(f'"{word}"'.encode(), f'"{loud}"'.encode())
    weights = {name: 2 * tensor for name, tensor in safetensors.torch.load(files[WEIGHTS]).items()}
    settings = json.loads(files["model.json"])["experiment"]
    settings["text"]["max_tokens"] = 7
    return bound(
        {**files, **told, WEIGHTS: safetensors.torch.save(weights), GRAPH: files[GRAPH] + b"\x3a\x00"},
        experiment=settings,
        labels=["one", "two", "three"],
    )


MIXTURES: dict[str, Callable[[Files, Files], Files]] = {
    **{
        f"{name} deleted": lambda one, other, name=name: {n: data for n, data in one.items() if n != name}
        for name in (store.MANIFEST, *NAMES)
        if name != "calibration.json"
    },
    **{
        f"the other's {name}": lambda one, other, name=name: {**one, name: other[name]}
        for name in (store.MANIFEST, *NAMES)
        if name != "calibration.json"
    },
    "a file more": lambda one, other: {**one, "notes.txt": b"hello"},
    "a file by another name": lambda one, other: {("graph.bin" if n == GRAPH else n): one[n] for n in one},
    "two files swapped": lambda one, other: {**one, GRAPH: one[WEIGHTS], WEIGHTS: one[GRAPH]},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mixture", MIXTURES)
def test_f13_files_deleted_added_renamed_or_of_two_runs_are_refused(files, other, write, form, mixture: str) -> None:
    path = write(MIXTURES[mixture](files, other), form)
    with pytest.raises(store.IntegrityError, match=path.name):
        read_all(path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("model.json", "calibration.json")])
def test_f14_the_file_of_another_run_is_refused_whatever_the_manifest_says(files, other, write, name, form) -> None:
    path = write(manifested({**files, name: other[name]}), form)
    with pytest.raises(store.IntegrityError, match=f"files of several models: {name}") as caught:
        open_artefact(path)
    for one in (files, other):
        assert entry_of(one[name])["sha256"] in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_f14_the_settings_of_another_run_are_refused_whatever_the_manifest_says(files, other, write, form: str) -> None:
    """Such as its text.max_tokens: model.json is of the files that it was written with."""
    with pytest.raises(store.IntegrityError, match="files of several models"):
        open_artefact(write(manifested({**files, "model.json": other["model.json"]}), form))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"format": 4}, "has format 4; this version reads 1, 2 and 3"),
        ({"format": "3"}, "has format '3'; this version reads 1, 2 and 3"),
        ({"labels": ["neg", "pos"]}, "puts out 3 numbers a row, and 2 labels want 1"),
        ({"labels": ["a", "b", "c", "d"]}, "puts out 3 numbers a row, and 4 labels want 4"),
        ({"labels": ["a", "a", "c"]}, "labels .* are not two or more different names"),
        ({"labels": [{"a": 1}, 2, 3]}, "labels .* are not two or more different names"),
        ({"labels": "abc"}, "labels .* are not two or more different names"),
        *(
            ({"data_key": key}, "data_key is .* no name of prepared data")
            for key in ("", "..", "/home", "../x-0123456789abcdef")
        ),
        *(({"data_key": key}, "is damaged: TypeError") for key in (5, ["a"], None)),
        ({"experiment": {}}, "is damaged"),
        ({"experiment": {"data": {"target": "stars"}, "text": {}}}, "is damaged|puts out 3 numbers"),
    ],
)
def test_f14_what_model_json_says_is_held_against_the_graph(files, write, form: str, about, said: str) -> None:
    path = write(bound(files, **about), form)
    with pytest.raises(store.IntegrityError, match=said) as caught:
        open_predictor(path)
    assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("vocabulary.json", b'"so",', b'"so", "more",', r"knows 5 entries, and vocabulary\.json 6"),
        ("vocabulary.json", b'"unknown_id": 1', b'"unknown_id": 9', "unknown_id 9"),
        ("vocabulary.json", b'"unknown_id": 1', b'"unknown_id": "x"', "unknown_id 'x'"),
        ("vocabulary.json", b'"start_id": null', b'"start_id": "x"', "start_id 'x'"),
        ("vocabulary.json", b'"start_id": null', b'"start_id": 5', "start_id 5 of 5 entries"),
        ("vocabulary.json", b'"so",', b"7,", "an entry is no text"),
        ("vocabulary.json", b'"entries"', b'"words"', "is damaged"),
        ("tokenizer.json", b"{", b"[", "holds no tokenizer"),
    ],
)
def test_f14_vocabulary_and_tokenizer_are_held_against_each_other(files, write, name, old, new, said: str) -> None:
    assert old in files[name]
    path = write(bound({**files, name: files[name].replace(old, new, 1)}), "directory")
    with pytest.raises(store.IntegrityError, match=said):
        open_predictor(path)


def with_settings(files: Files, section: str, **changes: Any) -> Files:
    """Return files whose hashes are right, and whose settings are others."""
    settings = json.loads(files["model.json"])["experiment"]
    return bound(files, experiment={**settings, section: {**settings[section], **changes}})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("max_tokens", value) for value in ("x", 0, True)),
        *(("pad_to", value) for value in (-3, 1.5)),
        *(("truncate", value) for value in ("zzz", None, [])),
        ("start", "yes"),
    ],
)
def test_f14_what_is_read_of_a_row_is_what_can_be_read(files: Files, write: Write, key: str, value: Any) -> None:
    with pytest.raises(store.IntegrityError, match="rows cannot be read as"):
        open_artefact(write(with_settings(files, "text", **{key: value}), "packed"))


def test_f14_settings_that_no_version_has_are_damage_where_they_are_wanted(files: Files, write: Write) -> None:
    artefact = open_artefact(write(with_settings(files, "train", zzz=3), "packed"))
    with pytest.raises(store.IntegrityError, match=r"model\.json holds no experiment: train\.zzz: Extra inputs"):
        experiment_of(artefact)


def test_a4_padding_and_lengths_beyond_the_schema_s_are_damage(files: Files, write: Write, cli: Callable) -> None:
    """A4: numbers of a stranger's settings took 8 GB, or ended in an OverflowError."""
    assert truncation.MOST_TOKENS == schema.MOST_TOKENS
    for key, value in itertools.product(("pad_to", "max_tokens"), (10**30, 3 * 10**8, 10**400, 1_000_001)):
        with pytest.raises(store.IntegrityError, match="rows cannot be read as"):
            open_artefact(write(with_settings(files, "text", **{key: value}), "packed"))
    packed = {name: data for name, data in files.items() if name != WEIGHTS}
    done = cli("predict", "--run", str(write(with_settings(packed, "text", pad_to=10**15), "packed")), "good")
    assert (done.returncode, done.stdout) == (3, "")
    assert "rows cannot be read as" in done.stderr


@pytest.mark.parametrize("wrong", [True, 3.0, "3", None, [3], 10**400, {}])
def test_a4_a_format_is_a_whole_number(files: Files, write: Write, wrong: Any) -> None:
    with pytest.raises(store.IntegrityError, match="format"):
        open_artefact(
            write(
                {**files, "model.json": store.dump_json({**json.loads(files["model.json"]), "format": wrong})}, "packed"
            )
        )


@pytest.mark.parametrize(
    "temperature", ["0", "-1", "1e999", "NaN", "null", '"1"', "[]", "true", "1" * 401, "1e-300", "1e7"]
)
def test_f14_a_temperature_is_a_number_above_0(files: Files, write: Write, temperature: str) -> None:
    changed = {**files, "calibration.json": f'{{"temperature": {temperature}}}'.encode()}
    with pytest.raises(store.IntegrityError, match=r"calibration\.json.*no number (above 0|of JSON)"):
        open_artefact(write(bound(changed), "packed"))


class Canary:
    """What writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


_found: list[str] = []
sys.addaudithook(lambda event, args: _found.append(event) if event == "pickle.find_class" else None)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "model.json"])
@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_m01_a_pickle_in_any_file_is_refused_unread(files, write, tmp_path, form, name: str, kind: str) -> None:
    buffer = io.BytesIO(pickle.dumps(Canary(tmp_path / "canary")))
    if kind == "torch":
        torch.save({"weight": Canary(tmp_path / "canary")}, buffer := io.BytesIO())
    path = write(bound({**files, name: buffer.getvalue()}), form)
    _found.clear()
    with pytest.raises(store.IntegrityError, match=path.name):
        read_whole(path)
    assert not (tmp_path / "canary").exists()
    assert _found == []


def test_m01_a_checkpoint_of_torch_or_a_pickle_with_a_zip_behind_is_no_packed_model(files: Files, tmp_path) -> None:
    torch.save({"weight": Canary(tmp_path / "canary")}, tmp_path / "evil.pt")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Canary(tmp_path / "canary")) + zipped(files.items()))
    _found.clear()
    for name in ("evil.pt", "evil.pkl"):
        with pytest.raises(store.IntegrityError, match="no packed model: it does not begin with a manifest that"):
            open_artefact(tmp_path / name)
    assert not (tmp_path / "canary").exists()
    assert _found == []


def tensors(header: Any, n_bytes: int = 0, length: int | None = None) -> bytes:
    """Return a safetensors file of a header, as JSON or as it is."""
    told = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(told) if length is None else length) + told + bytes(n_bytes)


def headed(data: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """Return a safetensors file with another header."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    changed = change(header)
    return tensors(header if changed is None else changed) + data[8 + length :]


def saved(data: bytes, **changes: torch.Tensor | None) -> bytes:
    """Return a safetensors file with some tensors changed, or left out."""
    found = {**safetensors.torch.load(data), **changes}
    return safetensors.torch.save({name: tensor for name, tensor in found.items() if tensor is not None})


BIAS = "output.bias"
WEIGHT_FILES: dict[str, Callable[[bytes], bytes]] = {
    "a header of 2^63 bytes": lambda data: tensors(b"{}", length=2**63),
    "a header longer than the file": lambda data: tensors(b"{}", length=1000),
    "a header of 200 MB, it says": lambda data: tensors(b"{}", length=200_000_000),
    "a header that is no JSON": lambda data: tensors(b"\x80\x04."),
    "a header without an end": lambda data: tensors(b'{"a":' * 100_000),
    "deep metadata": lambda data: tensors(b'{"__metadata__":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001),
    "tensors on top of each other": lambda data: headed(data, lambda h: h[BIAS].update(data_offsets=[0, 12])),
    "a hole": lambda data: headed(data, lambda h: h.pop(BIAS) and None),
    "bytes behind": lambda data: data + b"\0",
    "an offset behind the end": lambda data: headed(data, lambda h: h[BIAS].update(data_offsets=[2**40, 2**40 + 12])),
    "an end before the start": lambda data: headed(data, lambda h: h[BIAS].update(data_offsets=[12, 0])),
    "a huge shape": lambda data: headed(data, lambda h: h[BIAS].update(shape=[2**62, 8])),
    "a negative shape": lambda data: headed(data, lambda h: h[BIAS].update(shape=[-3])),
    "a type that is none": lambda data: headed(data, lambda h: h[BIAS].update(dtype="OBJECT")),
    "a name twice": lambda data: data.replace(b'"output.weight"', b'"output.biased"').replace(
        b'"output.biased"', b'"output.bias"  '
    ),
    "a tensor more": lambda data: saved(data, more=torch.zeros(3)),
    "a tensor less": lambda data: saved(data, **{BIAS: None}),
    "another shape": lambda data: saved(data, **{BIAS: torch.zeros(4)}),
    "another type": lambda data: saved(data, **{BIAS: torch.zeros(3, dtype=torch.float64)}),
    "whole numbers": lambda data: saved(data, **{BIAS: torch.zeros(3, dtype=torch.int64)}),
    "not a number": lambda data: saved(data, **{BIAS: torch.tensor([0, math.nan, 0])}),
    "infinity": lambda data: saved(data, **{BIAS: torch.tensor([0, math.inf, 0])}),
    "nothing": lambda data: b"",
}


@pytest.mark.parametrize("game", WEIGHT_FILES)
def test_m02_what_weights_may_not_be(files: Files, write: Write, game: str) -> None:
    path = write(bound({**files, WEIGHTS: WEIGHT_FILES[game](files[WEIGHTS])}), "directory")
    with pytest.raises(store.IntegrityError, match=f"{path.name}/{WEIGHTS}"):
        load_model(open_artefact(path))


def test_a_packed_model_is_asked_and_scored_and_is_no_run(quick_run: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "quick model"
    pack_artefact(open_artefact(quick_run), path)
    assert find_run(str(path)) == path
    (tmp_path / "new.csv").write_text("text,label\na lovely film,pos\na dull film,neg\n")
    data = Data(source=str(tmp_path / "new.csv"))
    assert evaluate_data(path, data).scores.accuracy == evaluate_data(quick_run, data).scores.accuracy
    assert evaluate_behaviour(path).to_json() == evaluate_behaviour(quick_run).to_json()
    assert sorted(tmp_path.glob("quick model*")) == [path]
    assert capsys.readouterr().out == ""
    with pytest.raises(UsageError, match="quick model is a model without its run") as caught:
        named_run(str(path))
    assert caught.value.hint == f"sentiment predict --run '{path}' \"I just really loved the movie\""
    with pytest.raises(UsageError, match="no test split of its own") as caught:
        evaluate(path, "test")
    assert caught.value.hint == f"sentiment eval '{path}' --behaviour"


def test_a_model_in_a_directory_of_its_own_is_asked_as_a_packed_one_is(three_labels: Path) -> None:
    model = three_labels / "model"
    assert find_run(str(model)) == model
    assert open_predictor(model).predict(["good"])[0].label == "good"
    with pytest.raises(UsageError, match="is a model without its run"):
        named_run(str(model))
