"""What the server answers: as `sentiment predict` does. Cases S01 and S06 of the robustness matrix."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clients import Running, Start, read_answer, request

from sentiment_cli.inference.explain.attribution import Explainer
from sentiment_cli.inference.explain.trace import trace_text
from sentiment_cli.inference.predictor import Predictor
from sentiment_cli.serving.model import Served, open_served

TEXTS = [
    "I just really loved the movie",
    "",
    "Not good!<br />Dull.",
    "zzzz",
    "the plot " * 900,
    "Ünïcödé 电影 \U0001f600",
]


def without_text(answer: Any) -> dict[str, Any]:
    return {name: value for name, value in answer.to_json().items() if name != "text"}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    numbers = {"probability", "probabilities"}
    assert {k: v for k, v in found.items() if k not in numbers} == {
        k: v for k, v in expected.items() if k not in numbers
    }
    assert found["probability"] == pytest.approx(expected["probability"], abs=1e-6)
    assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)


@pytest.mark.parametrize("text", TEXTS)
def test_one_text_has_the_answer_of_predict(everyone: Running, predictor: Predictor, text: str) -> None:
    answer = everyone.predict({"text": text})
    assert answer.status == 200
    assert_same(answer.json, without_text(predictor.predict([text])[0]))


def test_texts_have_theirs_in_their_order(everyone: Running, predictor: Predictor) -> None:
    found = everyone.predict({"texts": TEXTS}).json
    assert found.keys() == {"predictions"}
    for one, expected in zip(found["predictions"], predictor.predict(TEXTS), strict=True):
        assert_same(one, without_text(expected))


def test_s01_many_at_once_have_the_answers_that_they_have_alone(start: Start, predictor: Predictor) -> None:
    running = start(queue=64)
    texts = [f"{TEXTS[i % len(TEXTS)]} and {i} more" for i in range(640)]
    expected = [without_text(answer) for answer in predictor.predict(texts)]

    def client(number: int) -> list[dict[str, Any]]:
        found = []
        with running.connect() as connection:
            for text in texts[number::32]:
                body = json.dumps({"text": text}).encode()
                connection.sendall(request("POST", "/predict", body, content_type="application/json"))
                found.append(read_answer(connection).json)
        return found

    with ThreadPoolExecutor(32) as pool:
        for number, found in enumerate(pool.map(client, range(32))):
            for one, alone in zip(found, expected[number::32], strict=True):
                assert_same(one, alone)
    running.stop()  # a request is counted after its answer is sent
    assert running.metrics.batch.n < 640  # some were read together
    assert running.metrics.requests["/predict", 200] == 640


def test_reasons_are_those_of_predict(everyone: Running, predictor: Predictor) -> None:
    text = "I just really loved the movie"
    found = everyone.predict({"text": text}, "?explain=true&trace=true").json
    expected = Explainer(predictor, "occlusion").explain(text).to_json()
    assert found["explanation"] == json.loads(json.dumps(expected))
    assert found["trace"] == json.loads(json.dumps(trace_text(predictor, text).to_json()))
    assert "trace" not in everyone.predict({"text": text}, "?explain=true&trace=false").json


@pytest.mark.parametrize("bad", [3, None, ["a"], {"text": "a"}, "x" * 100_001, "é" * 60_000])
def test_a_bad_text_among_texts_has_an_error_in_its_place(everyone: Running, bad: Any) -> None:
    found = everyone.predict({"texts": ["good", bad, "film"]}, "?trace=true").json["predictions"]
    assert [one.keys() == {"error"} for one in found] == [False, True, False]
    assert "text" in found[1]["error"]


class Poisoned:
    """A predictor that fails at some texts, whatever else is in their batch."""

    def __init__(self, predictor: Predictor, error: Exception) -> None:
        self._predictor, self._error = predictor, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._predictor, name)

    def predict(self, texts: Any, **how: Any) -> Any:
        if any("poison" in text for text in texts):
            raise self._error
        return self._predictor.predict(texts, **how)


@pytest.mark.parametrize("error", [TypeError("poison"), MemoryError(), RuntimeError("secret words"), RecursionError()])
def test_s06_a_text_that_the_model_fails_at_harms_no_other(start: Start, served: Served, error: Exception) -> None:
    running = start(replace(served, predictor=Poisoned(served.predictor, error)))
    answer = running.predict({"texts": ["lovely", "poison", "dull"]})
    assert answer.status == 200
    assert [("error" in one) for one in answer.json["predictions"]] == [False, True, False]
    assert b"secret" not in answer.body
    assert running.predict({"text": "poison"}).status == 422

    barrier = threading.Barrier(6)

    def client(text: str) -> int:
        barrier.wait()
        return running.predict({"text": text}).status

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(client, ["a", "poison", "b", "poison", "c", "d"])) == [200, 422, 200, 422, 200, 200]


def test_models_of_three_labels_and_ensembles_answer_too(start: Start, three_labels: Path) -> None:
    found = start(open_served(three_labels)).predict({"text": "good good"}, "?explain=true").json
    assert found["label"] == "good"
    assert found["probabilities"].keys() == {"so-so", "good", "bad"}
    assert found["explanation"]["of"].startswith("logit of good")


def lines_of(answer: Any) -> list[Any]:
    return [json.loads(line) for line in answer.body.splitlines()]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_json_lines_are_answered_line_by_line(everyone: Running, predictor: Predictor, end: bytes) -> None:
    body = b"\n".join(json.dumps({"text": text}).encode() for text in TEXTS) + end
    answer = everyone.ask("POST", "/predict", body, content_type="application/x-ndjson")
    assert answer.headers["content-type"] == "application/x-ndjson"
    for one, expected in zip(lines_of(answer), predictor.predict(TEXTS), strict=True):
        assert_same(one, without_text(expected))


@pytest.mark.parametrize(
    "bad", [b"nonsense", b"", b"[]", b'{"text": 3}', b'{"txt": "a"}', b'{"text": NaN}', b"\xff", b"[" * 9000]
)
def test_a_bad_line_has_an_error_in_its_place(everyone: Running, bad: bytes) -> None:
    body = b'{"text": "a"}\n' + bad + b'\n{"text": "b"}\n'
    found = lines_of(everyone.ask("POST", "/predict?explain=true", body, content_type="application/x-ndjson"))
    assert [one.keys() == {"error"} for one in found] == [False, True, False]


def test_lines_are_answered_while_others_are_still_to_come(everyone: Running) -> None:
    with everyone.connect() as client:
        client.sendall(request("POST", "/predict", content_type="application/x-ndjson", transfer_encoding="chunked"))
        for number in range(3):
            line = json.dumps({"text": f"film {number}"}).encode() + b"\n"
            client.sendall(b"%x\r\n%s\r\n" % (len(line), line))
            received = b""
            while b"low_evidence" not in received:  # the answer, before the next line is sent
                received += client.recv(65536)
        client.sendall(b"0\r\n\r\n")
        while not received.endswith(b"0\r\n\r\n"):
            received += client.recv(65536)


def test_what_is_known_of_the_model(everyone: Running, served: Served, quick_run: Path) -> None:
    card = everyone.ask("GET", "/model").json
    assert card["run"] == quick_run.name
    assert card["model"] == served.predictor.model.files.sha256
    assert card["labels"] == ["neg", "pos"]
    assert card["encoder"]["cell"] == "lstm"
    assert everyone.ask("GET", "/health").json == {"status": "ok"}
    assert everyone.ask("GET", "/ready").status == 200


def test_metrics_are_in_the_form_of_prometheus(start: Start) -> None:
    running = start()
    running.predict({"texts": ["a", 3, "b"]})
    running.ask("GET", "/nothing-here")
    lines = running.ask("GET", "/metrics").body.decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values['sentiment_requests_total{path="/predict",code="200"}'] == "1"
    assert values['sentiment_requests_total{path="other",code="404"}'] == "1"
    assert (values["sentiment_texts_total"], values["sentiment_text_errors_total"]) == ("2", "1")
    assert values['sentiment_batch_texts_bucket{le="2"}'] == values["sentiment_batch_texts_count"] == "1"
    assert not [line for line in lines if "nothing-here" in line]
    named = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    for name in values:
        base = name.partition("{")[0]
        assert base in named or base.rsplit("_", 1)[0] in named


def test_pipelined_requests_have_their_answers_in_order(everyone: Running, predictor: Predictor) -> None:
    texts = ["lovely", "dull", "a film"]
    bodies = [json.dumps({"text": text}).encode() for text in texts]
    with everyone.connect() as client:
        client.sendall(b"".join(request("POST", "/predict", body, content_type="application/json") for body in bodies))
        received = b""
        while received.count(b"low_evidence") < 3:
            received += client.recv(65536)
    found = [json.loads(part.partition(b"\r\n\r\n")[2]) for part in received.split(b"HTTP/1.1 200 ")[1:]]
    for one, expected in zip(found, predictor.predict(texts), strict=True):
        assert_same(one, without_text(expected))


def test_answers_do_not_wait_for_acknowledgements(everyone: Running) -> None:
    """Head and body of an answer are two packets, of which Nagle's algorithm would hold the second back."""
    with everyone.connect() as client:
        client.sendall(request("GET", "/health"))
        read_answer(client)
        sockets: list[int] = []

        def look() -> None:
            transports = [one.transport for one in everyone.connections.all]
            sockets.extend(
                one.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in transports
            )
            looked.set()

        looked = threading.Event()
        everyone.call(look)
        assert looked.wait(60)
        assert sockets
        assert all(sockets)


def test_a_request_that_comes_byte_by_byte_is_answered(everyone: Running) -> None:
    with everyone.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request("POST", "/predict", b'{"text": "a film"}', content_type="application/json"):
            client.sendall(bytes([byte]))
        assert read_answer(client).status == 200
