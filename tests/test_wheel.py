"""What an installed wheel holds, outside the repository."""

import email
import json
import os
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(ROOT),
    ]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_experiments_and_no_surprises(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    files = ("configs/default.yaml", "reports/page.css", "evaluation/minimal_pairs.tsv")
    files += ("serving/remote.js", "inference/browser/model.js", "inference/browser/page.css")
    files += ("pocket.model", "pocket.md", "configs/pocket.yaml")
    assert {f"sentiment_cli/{name}" for name in files} <= set(names)
    assert "sentiment_cli/py.typed" in names
    assert all(name.startswith(("sentiment_cli/", "sentiment_cli-")) for name in names)
    assert not [name for name in names if name.endswith((".pth", ".so", ".pyc"))]


def test_recipes_are_found_from_an_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    """The wheel alone goes into an environment that sees this one's libraries, but not this repository."""
    venv.create(tmp_path / "env", with_pip=False)
    site = next((tmp_path / "env" / "lib").glob("python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(site)
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    # a .pth file of paths, not of code; the editable install's own .pth is not processed this way
    (site / "libraries.pth").write_text("\n".join(libraries))

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        python = tmp_path / "env" / "bin" / "python"
        env = {
            **os.environ,
            "PYTHONPATH": "",
            "SENTIMENT_DATA": str(tmp_path / "data"),
            "SENTIMENT_RUNS": str(tmp_path / "runs"),
        }
        return subprocess.run(
            [python, "-m", "sentiment_cli", *args], capture_output=True, text=True, cwd=tmp_path, env=env
        )

    listed = run("recipes", "list")
    assert "\ndefault " in f"\n{listed.stdout}", listed.stderr
    assert "site-packages/sentiment_cli/configs/default.yaml" in run("config", "show").stdout
    trained = run("train", "sample", "--set", "train.max_steps=1")  # the sample is generated, since it is not beside
    assert trained.returncode == 0, trained.stderr
    assert "the generated sample" in trained.stderr


def distributions(wheel: Path) -> dict[str, Distribution]:
    """Return what is installed with the wheel alone, without extras, as it is installed here."""
    about = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in about.namelist() if name.endswith(".dist-info/METADATA")]
    wanted = email.message_from_bytes(about.read(metadata)).get_all("Requires-Dist") or []
    found: dict[str, Distribution] = {}
    while wanted:
        requirement = Requirement(wanted.pop())
        name = canonicalize_name(requirement.name)
        if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found[name] = distribution(name)
            wanted += found[name].requires or []
    return found


def test_a_fresh_environment_of_the_core_alone_is_small_and_answers(wheel: Path, tmp_path: Path) -> None:
    """Without the extra `train`: 33 distributions and 200 MB at most, and `predict` answers with the bundled model."""
    core = distributions(wheel)
    assert not {"torch", "onnx", "safetensors"} & core.keys()
    assert len(core) + 1 <= 33
    files = {Path(file.locate()) for one in core.values() for file in one.files or () if file.suffix != ".pyc"}
    assert sum(file.stat().st_size for file in files if file.is_file()) <= 200e6
    venv.create(tmp_path / "env", with_pip=False)
    site = next((tmp_path / "env" / "lib").glob("python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(site)
    for one in core.values():
        for top in {file.parts[0] for file in one.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(one.locate_file(top)).resolve())
    python = tmp_path / "env" / "bin" / "python"
    env = {**os.environ, "PYTHONPATH": "", "SENTIMENT_RUNS": str(tmp_path / "runs")}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([python, *words], capture_output=True, text=True, cwd=tmp_path, env=env)

    assert run("-c", "import torch").returncode == 1
    answered = run("-m", "sentiment_cli", "predict", "--json", "I just really loved the movie")
    assert (answered.returncode, json.loads(answered.stdout)["label"]) == (0, "pos"), answered.stderr
    refused = run("-m", "sentiment_cli", "train", "sample")
    assert (refused.returncode, refused.stdout) == (4, "")
    assert refused.stderr.endswith("  try: pip install 'sentiment-cli[train]'\n")


_WITHOUT_TORCH = f"""
import sys

sys.path[:] = [path for path in sys.path if path != {str(ROOT)!r}]


class Refuser:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "onnx", "safetensors", "sklearn"):
            raise ImportError(f"{{name}} is not to be imported")


sys.meta_path.insert(0, Refuser())
"""


def test_a_packed_model_predicts_from_the_wheel_alone_where_torch_cannot_be_imported(
    wheel: Path, tmp_path: Path, quick_run: Path
) -> None:
    from sentiment_cli.runs.saved_model import open_artefact, pack_artefact

    zipfile.ZipFile(wheel).extractall(tmp_path / "wheel")
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "sitecustomize.py").write_text(_WITHOUT_TORCH)
    (tmp_path / "elsewhere").mkdir()
    pack_artefact(open_artefact(quick_run), tmp_path / "elsewhere" / "packed")
    paths = f"{tmp_path / 'wheel'}{os.pathsep}{tmp_path / 'hooks'}"
    done = subprocess.run(
        [sys.executable, "-m", "sentiment_cli", "predict", "--run", "packed", "--json", "a fine film"],
        capture_output=True,
        text=True,
        cwd=tmp_path / "elsewhere",
        env={**os.environ, "PYTHONPATH": paths, "SENTIMENT_DATA": "nowhere", "SENTIMENT_RUNS": "nowhere"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == "a fine film"
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["packed"]


def test_an_edited_experiment_beside_the_package_is_the_one_that_runs(tmp_path: Path) -> None:
    import shutil

    shutil.copytree(ROOT / "sentiment_cli", tmp_path / "sentiment_cli", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    edited = tmp_path / "configs" / "default.yaml"
    edited.write_text(edited.read_text("utf-8").replace("name: imdb-lstm", "name: edited"))
    done = subprocess.run(
        [sys.executable, "-m", "sentiment_cli", "config", "show"], capture_output=True, text=True, cwd=tmp_path
    )
    assert "name: edited" in done.stdout
