"""`export --mlflow` read back by MLflow: the answers of `predict`, without torch and without pickle."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sentiment_cli.inference.predictor import open_predictor

pytest.importorskip("mlflow", reason="MLflow is not installed; `make engines` installs it and runs this")
pytest.importorskip("pandas", reason="MLflow's pyfunc needs pandas")
_CODE = """
import json, sys
import mlflow.pyfunc
import pandas

model = mlflow.pyfunc.load_model("folder")
table = pandas.DataFrame({"text": ["so good", None, "bad"]}, index=[7, 8, 9])
found = model.predict(table)
labels = [label if isinstance(label, str) else None for label in found.label]
names = [one["name"] for one in model.metadata.signature.outputs.to_dict()]
said = [labels, list(found.index), list(found.probability.dropna())]
print(json.dumps([*said, names == list(found.columns), "torch" in sys.modules]))
"""


def test_mlflow_answers_as_predict_does_and_loads_no_torch(three_labels: Path, typed, monkeypatch) -> None:
    monkeypatch.chdir(three_labels.parent)
    assert typed("export", str(three_labels / "model"), "--mlflow", "folder").out == "folder\n"
    names = ["MLmodel", "manifest.json", "model.model", "python_env.yaml", "requirements.txt"]
    assert sorted(path.name for path in Path("folder").iterdir()) == names
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = open_predictor(three_labels / "model").predict(["so good", "bad"])
    labels, index, probabilities, is_as_said, has_torch = json.loads(done.stdout.splitlines()[-1])
    assert labels == [answers[0].label, None, answers[1].label]
    assert index == [7, 8, 9]
    assert probabilities == pytest.approx([one.probability for one in answers])
    assert is_as_said
    assert not has_torch
