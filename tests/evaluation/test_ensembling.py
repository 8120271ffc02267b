"""Runs made of runs: whose rows weigh them, how they are scored, what they can and cannot do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logit

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.config.schema import Data
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.errors import DataError, MachineError, UsageError
from sentiment_cli.evaluation import ensembling
from sentiment_cli.evaluation import scoring as outputs_module
from sentiment_cli.evaluation.behaviour import evaluate_behaviour
from sentiment_cli.evaluation.ensembling import make_ensemble
from sentiment_cli.evaluation.evaluate import evaluate, evaluate_data
from sentiment_cli.evaluation.metrics import score_outputs
from sentiment_cli.evaluation.printing import print_ensemble
from sentiment_cli.evaluation.significance import compare_runs
from sentiment_cli.inference.predictor import open_predictor
from sentiment_cli.inference.torch_model import load_model, score_rows
from sentiment_cli.reports.markdown import render_card
from sentiment_cli.reports.run_files import read_run
from sentiment_cli.reports.run_report import build_report
from sentiment_cli.runs.directory import all_runs, find_run
from sentiment_cli.runs.ensemble_model import open_model
from sentiment_cli.runs.predictions import load_validation
from sentiment_cli.runs.saved_model import open_artefact, pack_artefact
from sentiment_cli.storage import failpoints, store
from sentiment_cli.workflows.dependencies import find_or_train
from sentiment_cli.workflows.train import fit

SMALL = ("model.encoder.width=8", "model.embedding.width=8", "train.epochs=1", "train.device=cpu")
LINEAR = "name: linear\ndata: {source: sample}\nvocabulary: {min_count: 1}\nmodel: {kind: linear}\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear run, two recurrent ones (one refit), one validated on other rows; their data beside them."""
    root = tmp_path_factory.mktemp("trained")
    (root / "linear.yaml").write_text(LINEAR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTIMENT_DATA", str(root / "data"))
        patch.setenv("SENTIMENT_RUNS", str(root / "runs"))
        fit(load_experiment(root / "linear.yaml"), "linear")
        fit(load_experiment(root / "linear.yaml", ["data.valid.seed=1"]), "elsewhere")
        fit(load_experiment("sample", [*SMALL, "train.precision=fp32"]), "forward")
        fit(load_experiment("sample", [*SMALL, "train.refit=true", "text.tokenizer=whitespace", "seed=1"]), "refit")
    return root


@pytest.fixture
def runs(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copies of the runs, and the data itself."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    monkeypatch.setenv("SENTIMENT_DATA", str(trained / "data"))
    return tmp_path / "runs"


def predictions(run: Path, name: str = "test") -> dict[str, float]:
    """The log-odds of pos by row id, as evaluation files have them."""
    rows = map(json.loads, (run / "evaluation" / f"{name}-predictions.jsonl").read_text().splitlines())
    return {row["id"]: float(logit(row["probabilities"]["pos"])) for row in rows}


def test_a_member_that_was_refit_on_the_validation_rows_of_all_is_not_warned_of(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its kept outputs of them are from before the refit, so weights and validation scores are not too good."""
    made = make_ensemble(["forward", "refit"])
    assert made.valid is not None
    assert "too good" not in capsys.readouterr().err


def test_the_validation_outputs_that_are_kept_are_those_before_the_refit(runs: Path) -> None:
    for name in ("forward", "refit"):
        kept = load_validation(runs / name)
        assert kept is not None
        experiment = load_experiment(runs / name / "experiment.yaml")
        corpus = prepare(experiment, ("valid",))
        valid, summary = corpus.split("valid"), json.loads((runs / name / "summary.json").read_text())["valid"]
        assert (kept.labels, kept.ids) == (("neg", "pos"), corpus.ids("valid"))
        np.testing.assert_array_equal(kept.label_N, valid.label_N)
        np.testing.assert_array_equal(kept.group_N, valid.group_N)
        scores = score_outputs(kept.logits, kept.label_N, valid.stars_N, kept.labels, "label")
        assert (scores.accuracy, scores.n) == (summary["accuracy"], summary["n"])
        assert scores.loss == pytest.approx(summary["loss"], abs=1e-6)
        rows = (load_model(open_artefact(runs / name)), valid, experiment)
        finished = outputs(*rows)
        assert np.allclose(finished, kept.logits, atol=1e-6) == (name == "forward")


def outputs(model, packed, experiment):
    import torch

    from sentiment_cli.data.batching.batches import rows_on

    return score_rows(model, rows_on(torch.device("cpu"), packed), packed.length_N, experiment.text)


def test_they_are_the_same_bytes_again(runs: Path, monkeypatch) -> None:
    again = fit(load_experiment(runs / "forward" / "experiment.yaml"), "again").directory
    for path in (runs / "forward" / "validation").iterdir():
        assert (again / "validation" / path.name).read_bytes() == path.read_bytes()


def test_damage_of_what_was_kept_is_refused(runs: Path) -> None:
    path = runs / "forward" / "validation" / "outputs.json"
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    with pytest.raises(store.IntegrityError, match=r"outputs\.json is damaged"):
        make_ensemble(["linear", "forward"])
    shutil.rmtree(runs / "forward" / "validation")
    shutil.copytree(runs / "refit" / "validation", runs / "forward" / "validation")
    with pytest.raises(store.IntegrityError, match="kept in it are not those of its model"):
        make_ensemble(["linear", "forward"])


def test_test_scores_are_those_of_the_weighted_sum_of_the_members_predictions(runs: Path) -> None:
    made = make_ensemble(["linear", "forward", "refit"], "trio")
    assert made.directory == runs / "trio"
    model = open_model(made.directory)
    assert list(made.weights) == ["linear", "forward", "refit"]
    assert [part.weight for part in model.members] == list(made.weights.values())
    for name in ("linear", "forward", "refit", "trio"):
        evaluate(runs / name, "test")
    own = [predictions(runs / name) for name in made.weights]
    for row_id, found in predictions(made.directory).items():
        odds = sum(weight * one[row_id] for weight, one in zip(made.weights.values(), own, strict=True))
        assert found == pytest.approx(odds / model.temperature, abs=1e-4)
    result = compare_runs([runs / "forward", made.directory], "test")
    assert result.n == 1000
    ((key, one, other),) = result.pairings[0].settings
    assert (key, one, other) == ("members", None, made.weights)


def test_members_rows_are_joined_by_their_ids_whatever_their_order(runs: Path, monkeypatch) -> None:
    model = open_model(make_ensemble(["linear", "forward"]).directory)
    expected = outputs_module.score_split(model, "valid")
    real, calls = outputs_module._score_split, []

    def reversed_second(part, split):
        calls.append(part)
        found = real(part, split)
        return found if len(calls) == 1 else found._replace(ids=found.ids[::-1], output=found.output[::-1])

    monkeypatch.setattr(outputs_module, "_score_split", reversed_second)
    found = outputs_module.score_split(model, "valid")
    assert found.ids == expected.ids
    np.testing.assert_array_equal(found.output, expected.output)


def test_equal_weights_are_equal(runs: Path) -> None:
    made = make_ensemble(["linear", "forward"], weighing="equal")
    assert made.weights == {"linear": 0.5, "forward": 0.5}
    assert made.directory.name == "ensemble"
    assert made.valid is not None
    again = make_ensemble(["linear", "forward"], weighing="equal")
    assert again.directory.name == "ensemble-2"


def test_the_validation_score_is_of_rows_that_did_not_weigh_the_members(runs: Path, monkeypatch) -> None:
    """Nor did another row of the same movie."""
    kept = load_validation(runs / "linear")
    seen = []

    def recorded(logits, label_N):
        seen.append(logits[0])
        return np.array([0.25, 0.75])

    monkeypatch.setattr(ensembling, "fit_weights", recorded)
    made = make_ensemble(["linear", "forward"])
    everything, *others = seen
    assert len(others) == 5
    group_of = dict(zip(everything.tolist(), kept.group_N.tolist(), strict=True))
    held_out = [set(everything.tolist()) - set(fold.tolist()) for fold in others]
    assert sum(map(len, held_out)) == len(group_of)
    for values, fold in zip(held_out, others, strict=True):
        assert not {group_of[value] for value in values} & {group_of[value] for value in fold.tolist()}
    assert made.valid.n == len(kept.ids)
    summary = json.loads((made.directory / "summary.json").read_text())
    assert summary["valid"] == json.loads(json.dumps(made.valid.to_json()))
    assert (summary["status"], summary["task"], summary["source"]) == ("finished", "classify", "sample")


def test_an_ensemble_behaves_like_any_other_run(runs: Path, tmp_path: Path) -> None:
    made = make_ensemble(["linear", "forward"])
    assert find_run(None) == made.directory  # the newest
    (found,) = (run for run in all_runs() if run.path == made.directory)
    assert (found.status, found.figure) == ("finished", f"valid accuracy {made.valid.accuracy:.2%}")
    card = render_card(build_report(read_run(made.directory))).decode()
    assert "an ensemble of 2 runs: linear, weight" in card
    assert "sentiment ensemble linear forward" in card
    assert "sentiment reproduce" not in card
    table = tmp_path / "mine.csv"
    table.write_text("text,label\nThe plot was good.,pos\nThe music was dull.,neg\n")
    scored = evaluate_data(made.directory, Data(source=str(table)))
    odds = list(predictions(made.directory, "data-mine").values())
    answers = open_predictor(made.directory).predict(["The plot was good.", "The music was dull."])
    assert odds == pytest.approx([float(logit(one.probabilities["pos"])) for one in answers], abs=1e-4)
    assert scored.scores.n == 2
    assert evaluate_behaviour(made.directory).to_json()["n"] > 50


def test_what_cannot_be_a_member_is_refused_with_what_to_type(runs: Path, three_labels: Path, experiment) -> None:
    def refusal(*names: str, weighing="fitted") -> UsageError:
        with pytest.raises(UsageError) as caught:
            make_ensemble(names, "refused", weighing)
        assert not (runs / "refused").exists()
        return caught.value

    error = refusal("linear", "elsewhere")
    assert "was validated on 204 rows" in str(error)
    assert "data.valid.seed is 0 and 1" in str(error)
    assert error.hint == f"sentiment ensemble {runs / 'linear'} {runs / 'elsewhere'} --weights equal"
    assert "of two members at least, and linear is one" in str(refusal("linear"))
    assert "is given twice" in str(refusal("linear", "forward", "linear"))
    assert "tells neg, pos apart" in str(refusal("linear", str(three_labels / "model")))
    assert "there is no run 'nobody'" in str(refusal("linear", "nobody"))
    stars = fit(experiment(*SMALL, "data.target=stars"), "stars").directory
    assert "gives star ratings" in str(refusal("linear", str(stars)))
    made = make_ensemble(["linear", "forward"]).directory
    error = refusal("linear", str(made))
    assert "is an ensemble itself" in str(error)
    assert error.hint == "sentiment ensemble linear forward"
    shutil.rmtree(runs / "forward" / "validation")
    assert "was trained by a version that kept none" in str(refusal("linear", "forward"))
    pack_artefact(open_artefact(runs / "linear"), runs / "linear.model")
    assert "is a model without its run" in str(refusal("refit", str(runs / "linear.model")))
    path = runs / "refit" / "summary.json"
    path.write_text(path.read_text().replace('"finished"', '"interrupted"'))
    assert "is interrupted, not finished" in str(refusal("linear", "refit"))


@pytest.mark.parametrize("kept_by", ["this version", "an earlier one", "an earlier one, its data gone"])
def test_members_of_different_data_are_not_joined_by_the_numbers_of_their_rows(
    kept_by: str, two_tables: Path, monkeypatch, capsys
) -> None:
    """The labels of row 1, row 2, … are the same in both tables; the texts are not."""
    if kept_by != "this version":
        real = ensembling.load_validation
        monkeypatch.setattr(ensembling, "load_validation", lambda run: real(run)._replace(texts=None))
    if "gone" in kept_by:
        shutil.rmtree(two_tables / "data")
    with pytest.raises(UsageError, match="were trained on different data") as caught:
        make_ensemble(["one", "other"])
    assert caught.value.hint == f"sentiment ensemble {runs_dir() / 'one'} {runs_dir() / 'other'} --weights equal"
    made = make_ensemble(["one", "other"], weighing="equal")
    assert "were trained on different data" in capsys.readouterr().err
    assert made.valid is None
    with pytest.raises(DataError, match="have other rows in this split: one has 10, the first 10, and 0 are in both"):
        evaluate(made.directory, "test")
    if "gone" not in kept_by:
        assert make_ensemble(["one", "same"]).valid.n == 8


def test_the_test_rows_of_any_member_count_as_opened(two_tables: Path) -> None:
    made = make_ensemble(["one", "other"], weighing="equal").directory
    tables = [Data(source=str(two_tables / f"{name}.csv")) for name in ("one", "other")]
    assert [evaluate_data(made, table).openings for table in tables] == [1, 2]


def test_scores_of_validation_rows_that_were_learnt_are_said_to_be_of_training(runs: Path, capsys) -> None:
    make_ensemble(["forward", "refit"], "both")
    for name, is_warned in (("forward", False), ("refit", True), ("both", True)):
        capsys.readouterr()
        evaluate(runs / name, "valid")
        assert ("was trained on its validation rows, too (train.refit)" in capsys.readouterr().err) == is_warned


@pytest.fixture
def two_tables(tmp_path: Path) -> Path:
    """Linear runs on two tables of as many rows, labelled alike, whose texts are others; and one more on the first."""
    for name, words in (("one", ("good", "bad")), ("other", ("fine", "dull"))):
        rows = [f"a {words[i % 2]} film number {i},{'neg' if i % 2 else 'pos'}" for i in range(100)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]))
    (tmp_path / "linear.yaml").write_text(LINEAR)
    for name, table, lowercase in (("one", "one", "true"), ("other", "other", "true"), ("same", "one", "false")):
        settings = [f"data.source={tmp_path / table}.csv", f"text.lowercase={lowercase}", "data.valid.by=row"]
        fit(load_experiment(tmp_path / "linear.yaml", settings), name)
    return tmp_path


def test_equal_weights_need_no_shared_validation_rows_and_then_there_are_no_scores(runs: Path, capsys) -> None:
    made = make_ensemble(["linear", "elsewhere"], weighing="equal")
    assert "no validation scores" in capsys.readouterr().err
    assert (made.valid, made.members, open_model(made.directory).temperature) == (None, {}, 1.0)
    assert evaluate(made.directory, "test").scores.n == 1000
    with pytest.raises(DataError, match="have other rows in this split: one has 200, the first 204"):
        evaluate(made.directory, "valid")
    assert "weight" in render_card(build_report(read_run(made.directory))).decode()


def test_validation_rows_of_one_group_give_weights_and_no_score(runs: Path, monkeypatch, capsys) -> None:
    def of_one_group(path: Path):
        kept = load_validation(path)
        return kept._replace(group_N=np.full_like(kept.group_N, 7))

    monkeypatch.setattr(ensembling, "load_validation", of_one_group)
    made = make_ensemble(["linear", "forward"])
    assert made.valid is None
    assert set(made.members) == set(made.weights) == {"linear", "forward"}
    print_ensemble(made)
    said = capsys.readouterr().err
    assert "are of one group, which no fold can be held out of" in said
    assert "weight  accuracy    loss     ECE   on 204 validation reviews" in said


def test_it_is_not_taken_for_a_run_of_its_first_member_s_experiment(runs: Path, trained: Path) -> None:
    experiment = load_experiment(trained / "linear.yaml")
    made = make_ensemble(["linear", "forward"], "linear")
    assert made.directory == runs / "linear-2"
    assert find_or_train(experiment, "linear") == runs / "linear"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("train", "--resume", "both"), "is an ensemble: there is nothing to go on with"),
        (("reproduce", "both"), "is an ensemble: it was made of trained runs"),
        (("export", "both", "--precision", "int8"), "is an ensemble, which is no one graph"),
    ],
)
def test_what_an_ensemble_cannot_do_it_says(runs: Path, cli: Callable, command: tuple[str, ...], said: str) -> None:
    make_ensemble(["linear", "forward"], "both")
    done = cli(*command)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr


def test_no_training_starts_from_an_ensemble(runs: Path, experiment) -> None:
    make_ensemble(["linear", "forward"], "both")
    with pytest.raises(UsageError, match="is an ensemble, and this command needs a single model"):
        fit(experiment(*SMALL, "init_from=both"))


def test_the_command_makes_one_and_packs_it(runs: Path, cli: Callable, tmp_path: Path) -> None:
    done = cli("ensemble", "linear", "refit", "--name", "pair", "--json")
    found = json.loads(done.stdout)
    assert found["run"] == str(runs_dir() / "pair")
    assert found["valid"]["n"] == 204
    assert found["weights"].keys() == found["members"].keys() == {"linear", "refit"}
    done = cli("export", "pair", "--pack", str(tmp_path / "pair.model"))
    assert done.stdout.strip() == str(tmp_path / "pair.model")
    names = ("pair", f"{tmp_path}/pair.model")
    one, other = (cli("predict", "--run", name, "so good", "--json").stdout for name in names)
    assert one == other != ""
    before = (tmp_path / "pair.model").read_bytes()
    assert cli("export", "pair", "--pack", str(tmp_path / "pair.model")).returncode == 0
    assert (tmp_path / "pair.model").read_bytes() == before


@pytest.mark.parametrize("place", ["create:1", "write:2", "rename:1", "rename:2", "create:5", "flush:3"])
def test_a23_a_failed_or_killed_ensemble_leaves_no_half_run(place: str, runs: Path, forked) -> None:
    """A23: a killed ensemble left half a run, and the next one got another name."""
    before = {path.name for path in runs_dir().iterdir()}
    failpoints.arm(f"{place}:ioerror")
    with pytest.raises(MachineError):
        make_ensemble(["linear", "forward"], "both")
    failpoints.arm(None)
    assert {path.name for path in runs_dir().iterdir()} == before
    assert forked(lambda: make_ensemble(["linear", "forward"], "both"), f"{place}:kill") == -9
    made = make_ensemble(["linear", "forward"], "both").directory
    assert {path.name for path in runs_dir().iterdir()} - before == {"both"}
    assert not (made / ".making").exists()
