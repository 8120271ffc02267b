import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax

from sentiment_cli.config.schema import Data, Text
from sentiment_cli.evaluation.evaluate import evaluate_data
from sentiment_cli.evaluation.printing import print_scores
from sentiment_cli.inference.predictor import Prediction, Predictor, class_probabilities, open_predictor
from sentiment_cli.inference.torch_model import load_model, rows_of, score_rows
from sentiment_cli.runs.saved_model import Calibration, open_artefact
from sentiment_cli.storage import store
from sentiment_cli.workflows.train import fit

TINY = ("model.encoder.width=8", "model.embedding.width=8", "train.epochs=1", "text.max_tokens=6")


@pytest.fixture
def predictor(experiment) -> Predictor:
    return open_predictor(fit(experiment(*TINY)).directory)


def test_a_prediction_says_what_it_read(predictor: Predictor) -> None:
    (answer,) = predictor.predict(["The plot was zzzz good, but long it was."])
    assert answer.tokens == 11
    assert answer.unknown == 1
    assert answer.truncated
    assert not answer.low_evidence
    assert answer.probability == answer.probabilities[answer.label] >= 0.5
    assert sum(answer.probabilities.values()) == pytest.approx(1)


@pytest.mark.parametrize("text", ["", "   ", "a", "!!!", "zzzz qqqq", "<br />", "\x00", "\u200b", "🎬"])
def test_b06_what_says_nothing_has_a_probability_and_low_evidence(predictor: Predictor, text: str) -> None:
    (answer,) = predictor.predict([text])
    assert 0.5 <= answer.probability <= 1
    assert answer.low_evidence


def test_invariant_8_and_11_answers_come_in_order_and_do_not_depend_on_neighbours(predictor: Predictor) -> None:
    texts = ["The plot was good.", "", "The music was dull and the ending was not lovely at all, I hated it."] * 200
    together = predictor.predict(texts)
    assert [answer.text for answer in together] == texts
    alone = [predictor.predict([text])[0].probability for text in texts[:3]]
    np.testing.assert_allclose([answer.probability for answer in together], alone * 200, atol=1e-5)


def test_probabilities_of_extreme_logits() -> None:
    np.testing.assert_allclose(class_probabilities(np.array([-1e4, 0, 1e4])), [[1, 0], [0.5, 0.5], [0, 1]])


def test_probabilities_of_several_labels_sum_to_one_whatever_the_logits() -> None:
    logit_NC = np.concatenate([np.random.default_rng(0).normal(0, 9, (50, 4)), [[1e4, -1e4, 0, 1e4]], [[-1e4] * 4]])
    probability_NC = class_probabilities(logit_NC)
    assert probability_NC.dtype == np.float64
    np.testing.assert_allclose(probability_NC, softmax(logit_NC, axis=1))
    np.testing.assert_allclose(probability_NC[-2:], [[0.5, 0, 0, 0.5], [0.25] * 4])
    two_NC = np.stack([np.zeros(50), logit_NC[:50, 0]], axis=1)
    np.testing.assert_allclose(class_probabilities(logit_NC[:50, 0]), class_probabilities(two_NC), atol=1e-15)


def test_a_model_of_three_labels_comes_back_and_answers_in_their_order(experiment, three_labels) -> None:
    """A model that was built to name the label whose word it read."""
    artefact = open_artefact(three_labels)
    assert artefact.labels == ("so-so", "good", "bad")
    assert load_model(artefact).output.weight.shape[0] == 3
    predictor = open_predictor(artefact.path)
    assert predictor.predict([]) == []
    answers = predictor.predict(["bad", "good", "so", "good good good", "zzzz"])
    assert [answer.label for answer in answers[:4]] == ["bad", "good", "so-so", "good"]
    for answer in answers:
        assert list(answer.probabilities) == ["so-so", "good", "bad"]
        assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-12)
        assert answer.probability == answer.probabilities[answer.label] == max(answer.probabilities.values())
    assert answers[4].low_evidence


def rewritten(run: Path, *, calibration: Calibration | None = None, model_format: int = 2) -> None:
    """Write a run's model once more, in a format without graphs and with another temperature."""
    files = {file.name: file.read_bytes() for file in (run / "model").iterdir()}
    store.remove_directory(run / "model")
    if calibration is not None:
        files["calibration.json"] = store.dump_json(calibration._asdict())
    files["model.json"] = store.dump_json({**json.loads(files["model.json"]), "format": model_format})
    with store.new_directory(run / "model") as draft:
        for name in files.keys() - {store.MANIFEST, "graph.onnx"}:
            draft.write(name, files[name])


def test_the_temperature_of_a_model_is_used_by_predict_and_eval(three_labels: Path, tmp_path: Path) -> None:
    texts = ["bad", "good", "so"]
    (tmp_path / "new.csv").write_text("text,label\nbad,bad\ngood,good\nso,so-so\n")
    plain = open_predictor(three_labels).predict(texts)
    rewritten(three_labels, calibration=Calibration(2.0, 0.1, 0.05, 0.4, 0.3))
    warm = open_predictor(three_labels).predict(texts)
    for one, other in zip(plain, warm, strict=True):
        assert one.label == other.label
        logits = np.log(list(one.probabilities.values()))
        assert list(other.probabilities.values()) == pytest.approx(softmax(logits / 2), abs=1e-6)
    found = evaluate_data(three_labels, Data(source=str(tmp_path / "new.csv")))
    lines = (three_labels / "evaluation" / "data-new-predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["probabilities"] for line in lines] == [
        pytest.approx(answer.probabilities, abs=1e-6) for answer in warm
    ]
    assert found.calibration is not None
    assert found.calibration.temperature == 2
    assert found.calibration.loss_before == pytest.approx(-np.log([answer.probability for answer in plain]).mean())
    assert found.scores.loss == found.calibration.loss_after
    assert found.scores.ece == found.calibration.ece_after


def test_models_of_the_format_before_have_no_temperature_and_those_of_the_next_are_refused(three_labels: Path) -> None:
    rewritten(three_labels, model_format=1)
    assert open_artefact(three_labels).temperature == 1
    rewritten(three_labels, model_format=4)
    with pytest.raises(store.IntegrityError, match="has format 4; this version reads 1, 2 and 3"):
        open_artefact(three_labels)


def test_score_rows_tells_how_far_it_is(three_labels: Path) -> None:
    artefact = open_artefact(three_labels)
    rows, length_N = rows_of([np.full(n, 3, dtype=np.int32) for n in (900, 0, 5, 800)] * 20)
    read: list[int] = []
    score_rows(load_model(artefact), rows, length_N, Text(max_tokens=850), on_read=read.append)
    assert read == sorted(read)
    assert len(read) > 1
    assert read[-1] == 20 * (850 + 1 + 5 + 800)


def test_invariant_2_a_damaged_model_is_refused(experiment) -> None:
    run = fit(experiment(*TINY)).directory
    weights = run / "model" / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert open_predictor(run).predict(["The plot was good."])  # by the graph: the weights are not read
    with pytest.raises(store.IntegrityError, match=r"weights\.safetensors is damaged"):
        load_model(open_artefact(run))


def test_padding_that_is_part_of_the_input_is_the_same_at_prediction(experiment) -> None:
    left = ("text.pad=left", "text.pad_to=20", "text.max_tokens=20", "text.truncate=head", "vocabulary.unknown=padding")
    run = fit(experiment(*TINY[:3], *left, "model.embedding.word_dropout=0", "model.pooling=last")).directory
    artefact = open_artefact(run)
    ids = artefact.tokenizer.encode("The plot was zzzz good.").ids
    assert ids[3] == 0  # an unknown word reads as padding
    padded_BL = torch.tensor([[0] * (20 - len(ids)) + ids])
    logit = load_model(artefact)(padded_BL, torch.tensor([20])).item()
    (answer,) = open_predictor(artefact.path).predict(["The plot was zzzz good."])
    expected = class_probabilities(np.array([logit / artefact.temperature]))[0, 1]
    assert answer.probabilities["pos"] == pytest.approx(expected, abs=1e-5)
    assert load_model(artefact).embedding.weight[0].any()


def test_a_start_token_is_read_and_not_counted(experiment) -> None:
    start = ("text.start=true", "model.pooling=last")
    artefact = open_artefact(fit(experiment(*TINY, *start)).directory)
    predictor = open_predictor(artefact.path)
    five, six, nothing = predictor.predict(["The plot was zzzz good", "The plot was zzzz good .", "zzzz"])
    assert (five.tokens, five.unknown, five.truncated) == (5, 1, False)
    assert (six.tokens, six.truncated) == (6, True)  # of max_tokens 6 the start token takes one
    assert nothing.low_evidence
    ids = artefact.tokenizer.encode(five.text).ids
    assert min(ids) == 2
    logit = load_model(artefact)(torch.tensor([[1, *ids]]), torch.tensor([6])).item()
    expected = class_probabilities(np.array([logit / artefact.temperature]))[0, 1]
    assert five.probabilities["pos"] == pytest.approx(expected, abs=1e-5)


STARS = ("data.target=stars", "train.epochs=12", "train.monitor=accuracy", "model.encoder.width=16")


def test_star_ratings_are_trained_evaluated_and_predicted(experiment, cli) -> None:
    run = fit(experiment(*STARS), "stars").directory
    evaluated = json.loads(cli("eval", "stars", "--json").stdout)
    lines = [json.loads(line) for line in (run / "evaluation" / "test-predictions.jsonl").read_text().splitlines()]
    stars_N, truth_N = np.array([(line["stars"], int(line["id"].rsplit("_")[-1])) for line in lines]).T
    assert evaluated["mae"] == pytest.approx(np.abs(stars_N - truth_N).mean())
    assert evaluated["rmse"] == pytest.approx(np.sqrt(((stars_N - truth_N) ** 2).mean()))
    assert evaluated["mae"] < np.abs(truth_N - truth_N.mean()).mean() / 2
    assert evaluated["accuracy"] == ((stars_N >= 5.5) == [line["label"] == "pos" for line in lines]).mean() > 0.8
    assert (evaluated["brier"], evaluated["ece"]) == (None, None)

    texts = ["The plot was lovely.", "The plot was dull."]
    good, bad = (json.loads(line) for line in cli("predict", "--run", "stars", "--json", *texts).stdout.splitlines())
    assert list(good) == [*Prediction._fields]
    assert (good["label"], bad["label"]) == ("pos", "neg")
    assert 1 <= bad["stars"] < 5.5 < good["stars"] <= 10
    assert (good["probability"], good["probabilities"]) == (None, None)
    line = cli("predict", "--run", "stars", texts[0]).stdout
    assert line == f"pos\t{good['stars']:.1f} stars\t{texts[0]}\n"


def test_a_model_of_stars_judges_labelled_rows_by_the_sign(experiment, tmp_path: Path, capsys) -> None:
    run = fit(experiment(*STARS[:1], *TINY)).directory
    (tmp_path / "new.csv").write_text("text,label\n" + "".join(f"film {i},{('pos', 'neg')[i % 2]}\n" for i in range(9)))
    evaluation = evaluate_data(run, Data(source=str(tmp_path / "new.csv")))
    found = json.loads((run / "evaluation" / "data-new.json").read_text())
    assert (found["n"], found["loss"]) == (9, None)
    assert "mae" not in found
    capsys.readouterr()
    print_scores(evaluation)
    assert capsys.readouterr().out.splitlines()[1].startswith("F1 ")


@pytest.mark.parametrize("monitor", ["loss", "accuracy", "f1", "auc"])
def test_the_best_epoch_of_stars_is_chosen_by_any_figure(experiment, monitor: str) -> None:
    finished = fit(experiment(*STARS[:1], *TINY, "train.epochs=3", f"train.monitor={monitor}"))
    rows = [json.loads(line) for line in (finished.directory / "metrics.jsonl").read_text().splitlines()]
    figures = [row[f"valid_{monitor}"] for row in rows]
    assert getattr(finished.scores, monitor) == (min if monitor == "loss" else max)(figures)
    if monitor == "loss":
        assert rows[-1]["train_loss"] == pytest.approx(rows[-1]["valid_loss"], abs=0.3)
