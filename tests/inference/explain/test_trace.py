from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sentiment_cli.data.batching.truncation import SavedTextLimits, kept_positions
from sentiment_cli.data.tokens.tokenizer import build_tokenizer
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.inference.explain import trace as tracing
from sentiment_cli.inference.explain.trace import Trace, TraceStep, sparkline, trace_text
from sentiment_cli.inference.explain.words import WordSpan
from sentiment_cli.inference.predictor import open_predictor

VOCABULARY = Vocabulary(("<pad>", "<unk>", "good", "bad", "film"), 1)
GOOD, BAD = 2, 3


@pytest.fixture
def counting(experiment) -> Callable[..., Any]:
    """A predictor whose logit is how much more often it read good than bad; it has no artefact."""

    def build(labels: tuple[str, ...] = ("neg", "pos"), target: str = "label", max_tokens: int | None = None) -> Any:
        reading = SavedTextLimits(max_tokens, "ends", False, None)

        def outputs(rows_ids: Sequence[np.ndarray]) -> np.ndarray:
            kept = [ids[kept_positions(len(ids), reading)] for ids in rows_ids]
            count_NC = np.array([[(ids == GOOD).sum(), (ids == BAD).sum(), 0.5] for ids in kept], dtype=np.float64)
            if target == "stars":
                return (count_NC[:, 0] - count_NC[:, 1]) / 4
            return count_NC if len(labels) == 3 else count_NC[:, 0] - count_NC[:, 1]

        found = SimpleNamespace(
            tokenizer=build_tokenizer(experiment().text, VOCABULARY.entries, "<unk>"),
            vocabulary=VOCABULARY,
            labels=labels,
            target=target,
            temperature=1.0,
            kept=lambda ids: kept_positions(len(ids), reading),
            outputs=lambda rows: outputs(*rows),
        )
        found.members = [found]
        return found

    return build


def sigmoid(*values: float) -> list[float]:
    return (1 / (1 + np.exp(-np.array(values)))).tolist()


def test_each_word_moves_the_verdict(counting) -> None:
    found = trace_text(counting(), "Good, bad bad zzzz film")
    assert found.of == "probability of neg"
    assert [step.word and step.word.text for step in found.steps] == [None, "Good", ",", "bad", "bad", "zzzz", "film"]
    assert [step.label for step in found.steps] == ["pos", "pos", "pos", "pos", "neg", "neg", "neg"]
    assert [step.value for step in found.steps] == pytest.approx(sigmoid(0, -1, -1, 0, 1, 1, 1))
    assert found.to_json()[3] == {
        "word": "bad", "start": 10, "end": 13, "label": "neg", "probability": pytest.approx(sigmoid(1)[0])
    }  # fmt: skip
    assert [str(turn) for turn in found.turns()] == [
        "Good 0.50 → 0.27",
        "bad 0.27 → 0.50",
        "bad 0.50 → 0.73, now neg",
    ]
    assert found.summary() == "probability of neg after each of 6 words, from 0 to 1"


def test_a_trace_of_several_labels_follows_the_last_one(counting) -> None:
    found = trace_text(counting(("good", "bad", "so-so")), "good bad bad")
    assert found.of == "probability of bad"
    assert [step.label for step in found.steps] == ["so-so", "good", "bad", "bad"]
    assert found.steps[-1].value == pytest.approx(np.exp(2) / (np.e + np.exp(2) + np.exp(0.5)))
    assert found.middle is None


def test_a_trace_of_stars_is_in_stars(counting) -> None:
    found = trace_text(counting(target="stars"), "good bad bad")
    assert (found.of, found.low, found.high, found.middle) == ("stars", 1, 10, 5.5)
    assert [step.value for step in found.steps] == pytest.approx([5.5, 6.625, 5.5, 4.375])
    assert list(found.to_json()[0]) == ["word", "start", "end", "label", "stars"]
    assert found.steps[-1].label == "neg"


def test_only_words_that_are_read_are_traced(counting) -> None:
    found = trace_text(counting(max_tokens=4), "good film film film bad bad bad")
    assert [step.word and step.word.start for step in found.steps] == [None, 0, 20, 24, 28]
    assert found.steps[-1].value == pytest.approx(sigmoid(2)[0])


def test_of_a_long_text_some_beginnings_are_read_and_the_last_is_all_of_it(counting, monkeypatch) -> None:
    text = "good " * 1000
    found = trace_text(counting(), text)
    assert len(found.steps) == 401
    assert found.summary() == "probability of pos after 400 of 1,000 words, from 0 to 1"
    starts = [step.word.start for step in found.steps[1:]]
    assert starts == sorted(set(starts))
    assert (starts[0], starts[-1]) == (0, 4995)
    monkeypatch.setattr(tracing, "_TOKENS_READ", 20_000)
    assert len(trace_text(counting(), text).steps) == 21


@pytest.mark.parametrize("text", ["", "  \n"])
def test_b06_a_text_without_words_has_a_verdict_and_no_steps(counting, text: str) -> None:
    found = trace_text(counting(), text)
    assert found.to_json() == []
    assert found.turns() == []
    assert found.summary() == "probability of pos before any word"
    assert sparkline(found, 60) == "▅"


def of_values(*values: float) -> Trace:
    word = WordSpan("so", 0, 2, unknown=False, read=True)
    return Trace(
        "probability of pos", [TraceStep(word, "pos" if v >= 0.5 else "neg", v) for v in values], len(values) - 1
    )


def test_turns_are_the_farthest_moves_in_order_and_the_last_change_of_side() -> None:
    found = of_values(0.1, 0.2, 0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.49, 0.5, 0.49, 0.53, 0.55)
    turns = found.turns()
    assert [turn.before for turn in turns] == [0.2, 0.9, 0.1, 0.8, 0.2, 0.7, 0.49]
    assert turns[-1].step.value == 0.53
    assert of_values(0.5, 0.54, 0.58).turns() == []


def test_a_sparkline_goes_from_the_lowest_mark_to_the_highest() -> None:
    assert sparkline(of_values(0, 0.5, 1), 60) == "▁▅█"
    assert sparkline(of_values(0, 0.5, 1), 60, "_-#") == "_-#"
    long = of_values(*np.linspace(0, 1, 500).tolist())
    assert len(sparkline(long, 60)) == 60
    assert sparkline(long, 60)[-1] == "█"


def test_a_trace_of_a_model_ends_with_its_answer_and_passes_those_of_its_beginnings(three_labels) -> None:

    predictor = open_predictor(three_labels)
    text = "so good, so bad zzzz so"
    (answer,) = predictor.predict([text])
    found = trace_text(predictor, text)
    assert found.steps[-1].value == pytest.approx(answer.probability, abs=1e-5)
    for step in found.steps[1:]:
        (alone,) = predictor.predict([text[: step.word.end]])
        assert step.label == alone.label
        assert step.value == pytest.approx(alone.probabilities[answer.label], abs=1e-5)
