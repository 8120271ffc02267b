"""An ensemble on disk, as a directory and packed, and what it says of texts."""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax, logit, softmax
from test_saved_model import Files, Write, entry_of, flipped, manifested, zipped
from test_saved_model import write as write

from sentiment_cli.errors import UsageError
from sentiment_cli.inference.explain.attribution import Explainer, occlude
from sentiment_cli.inference.explain.trace import trace_text
from sentiment_cli.inference.explain.words import read_text
from sentiment_cli.inference.predictor import open_predictor
from sentiment_cli.runs.ensemble_model import Member, combine, open_model, pack_model, save_ensemble
from sentiment_cli.runs.model_files import ENSEMBLE
from sentiment_cli.runs.saved_model import Calibration, open_artefact, pack_artefact
from sentiment_cli.storage import store
from sentiment_cli.workflows.train import fit

FORMS = ("directory", "packed")
TEXTS = ["The plot was good.", "", "The music was dull and the ending was not lovely at all, I hated it.", "zzzz qqqq"]
WEIGHTS = (0.7, 0.3)
CALIBRATION = Calibration(0.8, 0.1, 0.1, 0.5, 0.5)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of other kinds, which cut texts into other words."""
    from sentiment_cli.config.loader import load_experiment

    root = tmp_path_factory.mktemp("members")
    config = root / "linear.yaml"
    config.write_text("name: linear\ndata: {source: sample}\nvocabulary: {min_count: 1}\nmodel: {kind: linear}\n")
    recurrent = ["model.encoder.width=8", "model.embedding.width=8", "train.epochs=1", "train.device=cpu"]
    whitespace = ["text.tokenizer=whitespace", "text.max_tokens=6"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTIMENT_DATA", str(root / "data"))
        patch.setenv("SENTIMENT_RUNS", str(root / "runs"))
        return [
            fit(load_experiment(config), "linear").directory,
            fit(load_experiment("sample", [*recurrent, *whitespace]), "recurrent").directory,
        ]


@pytest.fixture
def ensemble(members: list[Path], tmp_path: Path) -> Path:
    return save(tmp_path / "both", members)


def save(run: Path, members: list[Path], weights: tuple[float, ...] = WEIGHTS) -> Path:
    parts = [Member(path.name, open_artefact(path), weight) for path, weight in zip(members, weights, strict=True)]
    save_ensemble(run, parts, CALIBRATION)
    return run


def test_what_it_says_is_the_weighted_sum_of_what_its_members_say(members: list[Path], ensemble: Path) -> None:
    answers = [open_predictor(path).predict(TEXTS) for path in members]
    odds = [logit([one.probabilities["pos"] for one in of_member]) for of_member in answers]
    expected = 1 / (1 + np.exp(-(0.7 * odds[0] + 0.3 * odds[1]) / 0.8))
    found = open_predictor(ensemble).predict(TEXTS)
    np.testing.assert_allclose([one.probabilities["pos"] for one in found], expected, atol=1e-9)
    assert [one.label for one in found] == ["pos" if p >= 0.5 else "neg" for p in expected]
    assert [one.text for one in found] == TEXTS
    assert [(one.tokens, one.unknown) for one in found] == [(one.tokens, one.unknown) for one in answers[0]]
    assert [one.truncated for one in answers[1]] == [False, False, True, False]
    assert not any(one.truncated for one in found)  # the other member reads all of it
    assert [one.low_evidence for one in found] == [False, True, False, True]


def test_several_labels_are_added_up_by_the_logarithms_of_their_probabilities(three_labels: Path, tmp_path) -> None:
    rng = np.random.default_rng(0)
    logits = [rng.normal(0, 3, (20, 4)) for _ in range(3)]
    expected = sum(weight * log_softmax(one, axis=1) for weight, one in zip((0.5, 0.2, 0.3), logits, strict=True))
    np.testing.assert_allclose(combine(logits, (0.5, 0.2, 0.3)), expected, atol=1e-12)
    save(tmp_path / "threes", [three_labels, three_labels])
    alone = open_predictor(three_labels)
    (raw,) = alone.outputs(alone.encode(["so good"]))
    (found,) = open_predictor(tmp_path / "threes").predict(["so good"])
    np.testing.assert_allclose(list(found.probabilities.values()), softmax(log_softmax(raw) / 0.8), atol=1e-12)
    assert found.low_evidence is False


def test_an_ensemble_of_one_is_its_member(members: list[Path], tmp_path: Path) -> None:
    for path in members:
        alone = tmp_path / path.name
        save_ensemble(alone, [Member(path.name, open_artefact(path), 1.0)], None)
        predictor = open_predictor(path)
        assert open_predictor(alone).predict(TEXTS) == predictor.predict(TEXTS)
        assert trace_text(open_predictor(alone), TEXTS[2]) == trace_text(predictor, TEXTS[2])
        own = Explainer(predictor, "occlusion").explain(TEXTS[2])
        np.testing.assert_allclose(Explainer(open_predictor(alone)).explain(TEXTS[2]).added, own.added)


def test_invariant_8_and_11_answers_come_in_order_and_do_not_depend_on_neighbours(ensemble: Path) -> None:
    predictor = open_predictor(ensemble)
    together = predictor.predict(TEXTS * 50)
    assert [one.text for one in together] == TEXTS * 50
    alone = [predictor.predict([text])[0].probability for text in TEXTS]
    np.testing.assert_allclose([one.probability for one in together], alone * 50, atol=1e-5)


def test_invariant_12_predicting_needs_neither_torch_nor_the_weights(ensemble: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from sentiment_cli.inference.predictor import open_predictor
from sentiment_cli.runs.model_files import ModelFiles
read, real = [], ModelFiles.read
ModelFiles.read = lambda self, name: read.append(name) or real(self, name)
print(len(open_predictor(Path({str(ensemble)!r})).predict(["good"])), "weights.safetensors" in read)
print([name for name in ("torch", "pydantic", "onnx", "yaml", "rich", "safetensors") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stderr, done.stdout.splitlines()) == ("", ["1 False", "[]"])


def test_it_holds_its_members_itself_and_the_packed_form_answers_alike(members, tmp_path: Path, ensemble) -> None:
    copies = [shutil.copytree(path, tmp_path / "copies" / path.name) for path in members]
    ensemble = save(tmp_path / "own", copies)
    shutil.rmtree(tmp_path / "copies")
    model, path = open_model(ensemble), tmp_path / "own.model"
    assert model.is_ensemble
    assert pack_model(model, path) == path.stat().st_size
    packed = open_model(path)
    assert open_predictor(path).predict(TEXTS) == open_predictor(ensemble).predict(TEXTS)
    assert [(part.name, part.weight) for part in packed.members] == [("linear", 0.7), ("recurrent", 0.3)]
    assert not any(part.model.has_weights for part in packed.members)
    pack_model(packed, tmp_path / "again.model")
    assert (tmp_path / "again.model").read_bytes() == path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert zipped([(name, archive.read(name)) for name in archive.namelist()]) == path.read_bytes()


def test_packed_members_can_be_members(members: list[Path], tmp_path: Path, ensemble: Path) -> None:
    packed = [tmp_path / f"{path.name}.model" for path in members]
    for path, file in zip(members, packed, strict=True):
        pack_artefact(open_artefact(path), file)
    assert open_predictor(save(tmp_path / "packed", packed)).predict(TEXTS) == open_predictor(ensemble).predict(TEXTS)


def test_words_add_up_over_members_that_cut_texts_otherwise(members: list[Path], ensemble: Path) -> None:
    text = "The plot was good,but long."
    predictor = open_predictor(ensemble)
    rows = read_text(predictor, text)
    assert [word.text for word in rows[0].words] == ["The", "plot", "was", "good", ",", "but", "long", "."]
    assert rows[0].words == rows[1].words
    assert rows[1].word_K.tolist() == [0, 1, 2, 3, 6]  # good,but and long. are one word each to the second
    found = Explainer(predictor).explain(text)
    assert found.method == "occlusion"
    assert found.output == pytest.approx(float(logit(predictor.predict([text])[0].probabilities["pos"])), abs=1e-9)
    shares = occlude(predictor, rows, direction(0.8))
    by_hand = np.zeros(len(rows[0].words))
    for path, row, weight in zip(members, rows, WEIGHTS, strict=True):
        alone = open_predictor(path)
        (own,) = occlude(alone, [row], direction(0.8 * alone.temperature / weight)).added
        by_hand += row.sum_words(own)
    np.testing.assert_allclose(found.added, by_hand, atol=1e-6)
    assert shares.output == found.output
    assert found.gap == pytest.approx(sum(found.added) - (found.output - found.baseline), abs=1e-9)


def direction(divisor: float):
    from sentiment_cli.inference.explain.attribution import Target

    return Target("log-odds", np.array([1 / divisor]))


def test_a_word_that_the_first_member_does_not_have_is_one_all_the_same(experiment, members, tmp_path: Path) -> None:
    bare = fit(experiment("model.encoder.width=4", "train.epochs=1", "text.punctuation=delete"), "bare").directory
    predictor = open_predictor(save(tmp_path / "mixed", [bare, members[0]]))
    rows = read_text(predictor, "good, zzzz !")
    assert [word.text for word in rows[0].words] == ["good", ",", "zzzz", "!"]
    assert [word.unknown for word in rows[0].words] == [False, False, True, False]
    assert [row.word_K.tolist() for row in rows] == [[0, 2], [0, 1, 2, 3]]
    assert len(Explainer(predictor).explain("").added) == 0


def test_a_trace_ends_with_the_answer(ensemble: Path) -> None:
    predictor = open_predictor(ensemble)
    trace = trace_text(predictor, TEXTS[2])
    (answer,) = predictor.predict([TEXTS[2]])
    assert trace.of == f"probability of {answer.label}"
    assert trace.steps[-1].value == pytest.approx(answer.probability, abs=1e-5)
    assert [step.word.text for step in trace.steps[1:4]] == ["The", "music", "was"]
    assert len(trace_text(predictor, "").steps) == 1
    rows, outputs = read_text(predictor, TEXTS[2]), []
    for part, row in zip(predictor.members, rows, strict=True):
        outputs.append(part.outputs([row.ids_K[: int((row.word_K <= 2).sum())]]))  # The, music and was
    odds = float(predictor.combined(outputs)[0]) / 0.8
    own = 1 / (1 + np.exp(-odds if answer.label == "pos" else odds))
    assert trace.steps[3].value == pytest.approx(own, abs=1e-6)
    assert [len(row.ids_K) for row in rows] == [17, 6]


@pytest.mark.parametrize("method", ["gradients", "weights", "attention"])
def test_other_methods_are_of_one_model(ensemble: Path, method: str) -> None:
    with pytest.raises(UsageError, match="is an ensemble, which occlusion alone explains"):
        Explainer(open_predictor(ensemble), method)


def test_what_wants_one_model_refuses_an_ensemble(ensemble: Path) -> None:
    with pytest.raises(UsageError, match="is an ensemble, and this command needs a single model"):
        open_artefact(ensemble)


@pytest.fixture
def files(three_labels: Path, tmp_path: Path) -> Files:
    """The files of an ensemble of two of the same small model, the manifest first."""
    run = save(tmp_path / "two", [three_labels, three_labels])
    order = sorted(path.name for path in (run / "model").iterdir())
    return manifested({name: (run / "model" / name).read_bytes() for name in [ENSEMBLE, *order]})


def bound(files: Files, **about: object) -> Files:
    """Return files whose hashes are right everywhere, so that nothing but their meaning can be wrong."""
    hashes = {name: entry_of(data)["sha256"] for name, data in files.items() if name not in (ENSEMBLE, store.MANIFEST)}
    told = {**json.loads(files[ENSEMBLE]), "files": hashes, **about}
    return manifested({**files, ENSEMBLE: store.dump_json(told)})


def read_all(path: Path) -> None:
    model = open_model(path)
    for name in model.files.entries:
        model.files.read(name)
    open_predictor(path).predict(["so good"])


@pytest.mark.parametrize("form", FORMS)
def test_f11_f12_files_cut_short_and_flipped_bits_are_seen(files: Files, write: Write, form: str) -> None:
    read_all(write(files, form))
    for name, data in files.items():
        damaged = [data[: len(data) * i // 5] for i in range(5)]
        damaged += [flipped(data, i) for i in range(0, len(data), max(1, len(data) // 15))]
        for other in damaged:
            path = write({**files, name: other}, form)
            with pytest.raises(store.IntegrityError, match=path.name):
                read_all(path)


MIXTURES: dict[str, Callable[[Files], Files]] = {
    "a file deleted": lambda files: {n: data for n, data in files.items() if n != "1.graph.onnx"},
    "a file more": lambda files: {**files, "notes.txt": b"hello"},
    "a file that no part has": lambda files: manifested({**files, "1.notes.txt": b"hello"}),
    "a part too many": lambda files: manifested({**files, **renamed(files, "1.", "3.")}),
    "a part left out": lambda files: manifested({n: data for n, data in files.items() if not n.startswith("2.")}),
    "parts that are not counted from one": lambda files: manifested(
        {**{n: data for n, data in files.items() if not n.startswith("2.")}, **renamed(files, "2.", "7.")}
    ),
    "a part without a vocabulary": lambda files: manifested(
        {n: data for n, data in files.items() if n != "2.vocabulary.json"}
    ),
    "no part": lambda files: manifested({n: data for n, data in files.items() if n[0] not in "12"}),
    "a model beside it": lambda files: manifested({**files, **renamed(files, "1.", "")}),
    "a name that leads out": lambda files: manifested({**files, "1.../evil.json": b"x"}),
    "a graph of another model": lambda files: manifested(
        {**files, "1.graph.onnx": files["1.graph.onnx"] + b"\x3a\x00"}
    ),
    "a graph that the ensemble knows and its part does not": lambda files: bound(
        {**files, "1.graph.onnx": files["1.graph.onnx"] + b"\x3a\x00"}
    ),
}


def warmer(files: Files) -> Files:
    """Return files whose first part is another whole model, of another temperature."""
    part = {name.removeprefix("1."): data for name, data in files.items() if name.startswith("1.")}
    part["calibration.json"] = b'{"temperature": 2.0}'
    hashes = {name: entry_of(data)["sha256"] for name, data in part.items() if name != "model.json"}
    part["model.json"] = store.dump_json({**json.loads(part["model.json"]), "files": hashes})
    return {**files, **{f"1.{name}": data for name, data in part.items()}}


def renamed(files: Files, old: str, new: str) -> Files:
    return {new + name.removeprefix(old): data for name, data in files.items() if name.startswith(old)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mixture", MIXTURES)
def test_f13_files_deleted_added_renamed_or_of_another_model_are_refused(files, write, form: str, mixture: str) -> None:
    changed = MIXTURES[mixture](files)
    if form == "directory":
        changed = {name: data for name, data in changed.items() if "/" not in name}
    path = write(changed, form)
    with pytest.raises(store.IntegrityError, match=path.name):
        read_all(path)


@pytest.mark.parametrize("form", FORMS)
def test_f14_a_whole_part_of_another_ensemble_is_refused_whatever_the_manifest_says(files, write, form: str) -> None:
    changed = warmer(files)
    read_all(write(bound(changed), form))
    with pytest.raises(store.IntegrityError, match=r"files of several models: 1\.calibration\.json"):
        open_model(write(manifested(changed), form))


def named(*weights: object) -> dict[str, object]:
    return {"members": [{"name": "one", "weight": weight} for weight in weights]}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"format": 2}, "has format 2; this version reads 1"),
        (named(1.0), "names 1 members, and .* holds 2"),
        (named(1.0, 1.0, 1.0), "names 3 members, and .* holds 2"),
        (named(0, 0.0), "the weights of the members add up to 0"),
        *((named(1.0, wrong), "a weight is .*, no number from 0 on") for wrong in (-0.5, True, "1", None, [])),
        ({"members": [1, 2]}, "is damaged"),
        ({"members": None}, "is damaged"),
    ],
)
def test_f14_what_ensemble_json_says_is_held_against_its_parts(files, write, form: str, about, said: str) -> None:
    path = write(bound(files, **about), form)
    with pytest.raises(store.IntegrityError, match=said):
        open_model(path)


def test_f14_parts_of_other_labels_are_refused(three_labels: Path, members: list[Path], tmp_path: Path) -> None:
    run = save(tmp_path / "mixed", [three_labels, members[0]])
    with pytest.raises(store.IntegrityError, match="linear has the labels neg, pos, and three so-so, good, bad"):
        open_model(run)


@pytest.mark.parametrize("number", ["NaN", "1e999", "Infinity"])
def test_f14_a_weight_that_is_no_number_is_refused(files: Files, write: Write, number: str) -> None:
    text = bound(files)[ENSEMBLE].replace(b'"weight": 0.7', f'"weight": {number}'.encode())
    with pytest.raises(store.IntegrityError, match=r"ensemble\.json.*no number (from 0 on|of JSON)"):
        open_model(write(manifested({**files, ENSEMBLE: text}), "packed"))
