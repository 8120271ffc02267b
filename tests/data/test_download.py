import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sentiment_cli.data import download
from sentiment_cli.data.download import download_imdb
from sentiment_cli.errors import DataError, MachineError

PUBLISHED = b"the archive" * 1000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """A real server on this machine in the publisher's place; what it sends is set by the test."""
    sends: dict[str, object] = {"status": 200, "body": PUBLISHED, "length": None}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = sends["body"]
            assert isinstance(body, bytes)
            self.send_response(int(str(sends["status"])))
            self.send_header("Content-Length", str(sends["length"] or len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setattr(download, "URL", f"http://127.0.0.1:{running.server_port}/a.tar.gz")
        monkeypatch.setattr(download, "SIZE", len(PUBLISHED))
        monkeypatch.setattr(download, "SHA256", hashlib.sha256(PUBLISHED).hexdigest())
        yield sends
        running.shutdown()


def test_the_published_file_arrives_whole_and_its_citation_is_printed(server, tmp_path: Path, capsys) -> None:
    target = tmp_path / "raw" / "a.tar.gz"
    assert download_imdb(target) == target
    assert target.read_bytes() == PUBLISHED
    assert [path.name for path in target.parent.iterdir()] == ["a.tar.gz"]
    assert "Andrew L. Maas" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sent", "error", "said"),
    [
        ({"body": PUBLISHED[:-1] + b"x"}, DataError, "other bytes than the published ones"),
        ({"body": b"<html>log in</html>"}, MachineError, "stopped after 19 of 11,000 bytes"),
        ({"body": PUBLISHED + b"x" * 2**20}, DataError, "other bytes than the published ones"),
        ({"body": PUBLISHED[:100], "length": len(PUBLISHED)}, MachineError, "a.tar.gz"),
        ({"status": 404}, MachineError, "cannot be downloaded: HTTP Error 404"),
    ],
)
def test_anything_else_leaves_nothing_and_says_what_to_do(server, tmp_path: Path, sent, error, said: str) -> None:
    server.update(sent)
    with pytest.raises(error, match=said) as caught:
        download_imdb(tmp_path / "a.tar.gz")
    assert "export SENTIMENT_IMDB=" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []


def test_without_a_connection_the_file_to_place_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "URL", "http://127.0.0.1:9/a.tar.gz")
    with pytest.raises(MachineError, match="cannot be downloaded") as caught:
        download_imdb(tmp_path / "a.tar.gz")
    assert "export SENTIMENT_IMDB=" in (caught.value.hint or "")
