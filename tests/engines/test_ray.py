"""`predict --on ray` on real Ray, the bytes of one process, whatever dies. `make engines` runs these."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nodes import wired

from sentiment_cli.runs.saved_model import open_artefact, pack_artefact

pytest.importorskip("ray", reason="Ray is not installed; `make engines` installs it and runs this")
N = 70_000  # three parts


@pytest.fixture
def here(quick_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pack_artefact(open_artefact(quick_run), Path("quick.model"))
    rows = ("one,too many" if i % 1009 == 7 else f"a {'good' if i % 3 else 'bad'} film" for i in range(N))
    Path("rows.csv").write_text("id,text\n" + "".join(f"{i},{text}\n" for i, text in enumerate(rows)))
    return tmp_path


def command(out: str, *options: str) -> list[str]:
    given = ["--file", "rows.csv", "--run", "quick.model", "--on-error", "skip", "--out", out]
    return [sys.executable, "-m", "sentiment_cli", "predict", *given, *options]


def written(out: str) -> bytes:
    return Path(out).read_bytes() + Path(f"{out}.rejects.jsonl").read_bytes()


def children(pid: int) -> Iterator[tuple[int, str]]:
    """Yield the number and the command line of each process that descends from one."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    found = {pid}
    for _ in range(5):
        found |= {int(own) for own, parent, _ in rows if int(parent) in found}
    yield from ((int(own), words) for own, _, words in rows if int(own) in found - {pid})


def test_d07_the_bytes_are_those_of_one_process_where_a_worker_is_killed(here: Path) -> None:
    subprocess.run(command("one.csv"), check=True, capture_output=True)
    process = subprocess.Popen(
        command("ray.csv", "--parts", "parts", "--on", "ray"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    own: list[int] = []
    listening = ""
    while process.poll() is None and not own:
        time.sleep(0.05)
        own = [pid for pid, words in children(process.pid) if words.startswith("ray::_score")]
    if own:
        if Path("/usr/bin/ss").exists():
            listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True).stdout
        every = [process.pid, *(pid for pid, _ in children(process.pid))]
        os.kill(own[0], signal.SIGKILL)
    out, said = process.communicate()
    assert process.returncode == 0, said
    assert own, "no worker was seen"
    assert out == ""
    assert "a process of Ray ended; its shard is scored again" in said
    assert written("ray.csv") == written("one.csv")
    of_ray = [line.split()[3] for line in listening.splitlines() if any(f"pid={pid}," in line for pid in every)]
    assert all("127.0.0.1" in place for place in of_ray), of_ray
    assert sorted({path.name.partition("-")[0] for path in Path("parts").iterdir()}) == ["holder.json", "part", "plan"]

    (damaged,) = sorted(Path("parts").glob("part-*/answers.jsonl"))[:1]
    damaged.write_bytes(damaged.read_bytes()[:-9])
    times = {path: path.stat().st_mtime_ns for path in Path("parts").glob("part-*/answers.jsonl")}
    subprocess.run(command("again.csv", "--parts", "parts", "--on", "ray"), check=True, capture_output=True)
    assert written("again.csv") == written("one.csv")
    again = [path for path, before in times.items() if path.stat().st_mtime_ns != before]
    assert again == [damaged]


def test_d07_a_shard_that_kills_each_worker_is_named_after_three_tries(here: Path) -> None:
    dying = {**os.environ, "SENTIMENT_FAIL": "worker:1:kill"}
    done = subprocess.run(
        command("out.csv", "--parts", "parts", "--on", "ray"), env=dying, capture_output=True, text=True
    )
    assert done.returncode == 4, done.stderr
    assert re.search(r"error: 3 tries of shard \d/3 \(from row [\d,]+\) ended on Ray", done.stderr)
    assert f"try: sentiment {' '.join(command('out.csv', '--parts', 'parts')[3:])}" in done.stderr
    assert not Path("out.csv").exists()


def test_an_address_where_nothing_answers_is_refused_at_once(typed, here: Path) -> None:
    words = ("predict", "--file", "rows.csv", "--run", "quick.model", "--parts", "parts", "--on")
    found = typed(*words, "ray://127.0.0.1:1")
    assert (found.code, found.error.partition(": nothing answers there")[0]) == (4, "--on ray://127.0.0.1:1")
    assert found.hint.endswith("--on ray")
    assert not Path("parts").exists()


def test_an_address_is_that_of_a_cluster_whose_machines_a_wire_joins(here: Path) -> None:
    """`--on ray://HOST:PORT` with a head and a second machine of one core each, in network namespaces."""
    subprocess.run(command("one.csv"), check=True, capture_output=True)
    ray = str(Path(sys.executable).with_name("ray"))
    own = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    few = ["--num-cpus", "1", "--object-store-memory", "100000000", "--disable-usage-stats"]
    with wired() as (head, other):
        place = f"{head.address}:6399"
        began = [*head.prefix, ray, "start", "--head", "--port", "6399", "--include-dashboard", "false"]
        joins = [*other.prefix, ray, "start", "--address", place]
        for words, node in ((began, head), (joins, other)):
            given = [*words, "--node-ip-address", node.address, *few]
            subprocess.run(given, env=own, check=True, capture_output=True)
        asked = command("ray.csv", "--parts", "parts", "--on", f"ray://{place}")
        done = subprocess.run([*head.prefix, *asked], env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert written("ray.csv") == written("one.csv")
