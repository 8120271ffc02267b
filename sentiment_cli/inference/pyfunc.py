"""A model as an MLflow model folder, whose `python_function` predicts without torch and without pickle.

    DIR/  MLmodel  NAME.model  python_env.yaml  requirements.txt  manifest.json

The folder is written without MLflow. `mlflow.pyfunc.load_model(DIR)` imports this module and calls `_load_pyfunc`.
"""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sentiment_cli import __version__
from sentiment_cli.errors import Change, UsageError
from sentiment_cli.inference.batch.answer_columns import added_columns
from sentiment_cli.inference.batch.records import answers_to
from sentiment_cli.inference.predictor import Predictor, open_predictor
from sentiment_cli.runs.ensemble_model import SavedModel, files_to_pack
from sentiment_cli.runs.model_files import packed_bytes
from sentiment_cli.storage import store

_TEXT = "text"
_TYPES = {"text": "string", "integer": "long", "number": "double", "truth": "boolean"}


def write_mlflow_folder(model: SavedModel, name: str, folder: Path) -> None:
    """Write a model as a folder of MLflow. Raises UsageError where something is at `folder`."""
    if store.is_there(folder):
        free = Change("--mlflow", str(store.free_path(folder)))
        raise UsageError(f"{folder} is there already, and nothing is overwritten", free)
    _, kinds = added_columns(model, (), is_flat=True, shown=str)
    outputs = [{"type": _TYPES[kind], "name": column, "required": False} for column, kind in kinds.items()]
    flavor = {
        "data": f"{name}.model",
        "env": {"virtualenv": "python_env.yaml"},
        "loader_module": __name__,
        "python_version": platform.python_version(),
    }
    signature = {"inputs": json.dumps([{"type": "string", "name": _TEXT}]), "outputs": json.dumps(outputs)}
    about = {"flavors": {"python_function": flavor}, "signature": {**signature, "params": None}}
    environment = {"python": platform.python_version(), "dependencies": ["-r requirements.txt"]}
    with store.new_directory(folder) as draft:
        draft.write("MLmodel", yaml.safe_dump(about).encode())
        draft.write("python_env.yaml", yaml.safe_dump(environment).encode())
        draft.write("requirements.txt", f"sentiment-cli=={__version__}\nmlflow-skinny\npandas\n".encode())
        with draft.create(f"{name}.model") as output:
            for data in packed_bytes(files_to_pack(model)):
                output.write(data)


class _PyFunc:
    """What MLflow asks: a table of texts in, a table of answers out, in the order of the rows."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Return the columns of `predict --out answers.csv`; a row whose text is missing has none."""
        import pandas

        texts = [text if isinstance(text, str) else None for text in model_input[_TEXT]]
        answers = answers_to(self._predictor, texts)
        columns = list(added_columns(self._predictor, (), is_flat=True, shown=str)[1])
        rows = [{} if answer is None else answer for answer in answers]
        return pandas.DataFrame(rows, columns=columns, index=getattr(model_input, "index", None))


def _load_pyfunc(data_path: str) -> _PyFunc:
    return _PyFunc(open_predictor(Path(data_path)))
