"""Rules that no linter has: what may write and import, what names mean, how long modules are."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import sentiment_cli

PACKAGE = Path(sentiment_cli.__file__).parent
MAY_WRITE = {"store.py", "disk.py", "failpoints.py", "locks.py"}  # locks opens directories, to lock them
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "torch.hub"}
PICKLE_CALLS = {"torch.load", "torch.save", "torch.jit.load", "np.fromfile"}
# Of these modules only what changes nothing.
READ_ONLY = {
    "shutil": {"disk_usage", "get_terminal_size", "which"},
    "tempfile": set[str](),
}
OS_WRITES = set("remove unlink rename renames replace mkdir makedirs rmdir removedirs link symlink truncate".split())
OS_WRITES |= set("ftruncate write writev pwrite chmod chown mkfifo mknod utime".split())
METHODS = set("write_text write_bytes rename unlink rmdir mkdir touch symlink_to hardlink_to chmod tofile".split())
METHODS |= set("save_file savetxt to_csv to_parquet to_pickle FileHandler".split())
# These take a path or a handle; the handle is one that the store yielded, or is memory.
SAVERS = {
    "figure.savefig",
    "np.save",
    "np.savez",
    "np.savez_compressed",
    "zipfile.ZipFile",
    "tarfile.open",
    "onnx.save",
    "pq.write_table",
}
READ_FLAGS = {"os.O_RDONLY", "os.O_NOFOLLOW", "os.O_NONBLOCK"}
OPENERS = {"tarfile", "zipfile", "gzip", "bz2", "lzma", "io", "codecs"}


def problems(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, what) for every way of writing that is not the store's, and for every pickle."""
    tree = ast.parse(source)
    handles = {item.optional_vars.id for item in _with_items(tree) if isinstance(item.optional_vars, ast.Name)}
    handles |= {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.value) == "io.BytesIO()"
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [f"{node.module}.{a.name}" for a in node.names] if isinstance(node, ast.ImportFrom) else []
            for name in (*names, *(alias.name for alias in node.names if isinstance(node, ast.Import))):
                module, _, attribute = name.partition(".")
                if module in PICKLES or name in PICKLES | PICKLE_CALLS or name.startswith("torch.hub"):
                    yield node.lineno, f"import {name}"
                if attribute and module in READ_ONLY and attribute not in READ_ONLY[module]:
                    yield node.lineno, f"import {name}"
                if module == "os" and attribute in OS_WRITES:
                    yield node.lineno, f"import {name}"
        elif isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name in PICKLE_CALLS or name.startswith("torch.hub"):
                yield node.lineno, name
            module = ast.unparse(node.value)
            if module in READ_ONLY and node.attr not in READ_ONLY[module]:
                yield node.lineno, name
            if module == "os" and node.attr in OS_WRITES:
                yield node.lineno, name
        elif isinstance(node, ast.Call) and _writes(node, handles):
            yield node.lineno, ast.unparse(node)


def _with_items(tree: ast.AST) -> Iterator[ast.withitem]:
    for node in ast.walk(tree):
        if isinstance(node, ast.With):
            yield from node.items


def _writes(call: ast.Call, handles: set[str]) -> bool:
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if not _is_constant(keywords.get("allow_pickle"), {False}) or not _is_constant(
        keywords.get("mmap_mode"), {"r", "c"}
    ):
        return True
    name = ast.unparse(call.func)
    if name in SAVERS and not (name.startswith(("zip", "tar")) and not _may_write(call, 1, "r")):
        return not (call.args and isinstance(call.args[0], ast.Name) and call.args[0].id in handles)
    if name == "json.dump":
        return True
    if name == "os.open":
        flags = ast.unparse(call.args[1])
        return ast.unparse(call.args[0]) != "os.devnull" and bool(set(flags.split(" | ")) - READ_FLAGS)
    if name in ("open", "io.FileIO") or (name.endswith(".open") and name.rpartition(".")[0] in OPENERS):
        return _may_write(call, 1, "r")
    if isinstance(call.func, ast.Attribute):
        if call.func.attr == "open" and "timeout" not in keywords:  # that one is of a URL
            return _may_write(call, 1 if len(call.args) > 1 else 0, "r")  # of a path, or of a file system
        if call.func.attr == "replace":  # of a path; that of a string takes two arguments
            return len(call.args) == 1 and not keywords
        return call.func.attr in METHODS
    return False


def _is_constant(value: ast.expr | None, allowed: set[object]) -> bool:
    return value is None or (isinstance(value, ast.Constant) and value.value in allowed)


def _may_write(call: ast.Call, position: int, default: str) -> bool:
    """Say whether a mode is one for writing, or cannot be known."""
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] + call.args[position : position + 1]
    mode = modes[0] if modes else ast.Constant(default)
    return not (isinstance(mode, ast.Constant) and isinstance(mode.value, str) and not set(mode.value) & set("wax+"))


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_store_writes_and_nothing_pickles(path: Path) -> None:
    if path.parent == PACKAGE / "storage" and path.name in MAY_WRITE:
        return
    found = [f"{path}:{line}: {what}" for line, what in problems(path.read_text("utf-8"))]
    assert not found, "\n".join(found)


def test_only_store_and_locks_use_single_operations_of_the_disk() -> None:
    users = {
        path.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sentiment_cli"))
        and "disk" in {*(alias.name for alias in node.names), (node.module or "").rpartition(".")[2]}
    }
    assert users == {"store.py", "locks.py"}


@pytest.mark.parametrize(
    "planted",
    """open('a', 'w')
open('a', mode='ab')
open('a', 'r+')
open('a', mode)
Path('a').open('x')
path.open(mode='w')
io.open('a', 'w')
gzip.open('a', 'wt')
tarfile.open('a', 'w:gz')
zipfile.ZipFile('a', 'w')
os.open('a', os.O_WRONLY)
path.write_text('x')
path.write_bytes(b'x')
shutil.rmtree('a')
shutil.copy('a', 'b')
from shutil import move
os.rename('a', 'b')
os.replace('a', 'b')
os.remove('a')
os.unlink('a')
os.mkdir('a')
os.makedirs('a')
from os import rename
path.rename(other)
path.replace(other)
path.unlink()
path.unlink(missing_ok=True)
path.rmdir()
path.mkdir(parents=True)
path.touch()
path.symlink_to('a')
np.save('a', x)
np.save(path / 'a', x)
np.savez(path, x=x)
x.tofile('a')
json.dump(x, handle)
import tempfile; tempfile.mkdtemp()
from tempfile import TemporaryDirectory
np.load('a', mmap_mode='r+')
np.load('a', allow_pickle=True)
np.load('a', allow_pickle=flag)
import pickle
from pickle import loads
import torch.hub
from torch import load
torch.load('a')
torch.save(x, 'a')
torch.hub.load('a', 'b')
import joblib
safetensors.torch.save_file(x, 'a')
onnx.save(model, 'a')""".splitlines(),
)
def test_the_rules_find_what_they_forbid(planted: str) -> None:
    assert list(problems(f"def f():\n    {planted}\n"))


@pytest.mark.parametrize(
    "allowed",
    [
        "open('a')",
        "path.open('rb')",
        "open('a', encoding='utf-8')",
        "tarfile.open(path, 'r|*')",
        "zipfile.ZipFile(path)",
        "os.open(os.devnull, os.O_WRONLY)",
        "text.replace('a', 'b')",
        "dataclasses.replace(x, lr=1)",
        "handle.write(b'x')",
        "json.dumps(x)",
        "build_opener().open(request, timeout=3)",
        "safetensors.torch.save(x)",
        "shutil.disk_usage('a')",
        "np.load('a', mmap_mode='c', allow_pickle=False)",
        "with draft.create('a') as handle: np.save(handle, x, allow_pickle=False)",
        "with store.replacing(path) as handle: zipfile.ZipFile(handle, 'w')",
    ],
)
def test_the_rules_let_pass_what_is_fine(allowed: str) -> None:
    assert not list(problems(allowed))


# Public names that two modules define, with the reason; every other name has one meaning in the package.
DEFINED_TWICE = {
    "app": "each group of commands is a Typer app",
    "main": "the entry point, and the module that runs it",
    "AsJson": "an option of several commands",
    "Name": "an option of several commands",
    "Split": "an option of several commands",
    "build_loss": "the interface of a task",
    "build_model": "the interface of a task",
    "remove": "a command, a cache entry, and a file: each in the language of its layer",
    "prepare": "the command and the stage that it runs",
    "train": "the command and the stage that it runs",
    "score": "the function for engines, and that of metrics",
    "reproduce": "the command and the stage that it runs",
    "evaluate": "the command and the stage that it runs",
    "Format": "an option that Typer parses, and the dialect of a table",
    "Vocabulary": "a section of the configuration, and the vocabulary that it describes",
    "MOST_TOKENS": "checked by the schema, and again where a saved model is read without pydantic",
    "CELLS": "names in the catalogue, which loads no torch, and the classes that implement them",
    "Bag": "a layer of a network, and a sparse row of the linear model",
    "LONGEST_LINE": "a limit of a table's lines, and of a grid's sentences",
    "Layout": "of JSON rows, and of a grid of cells",
    "Member": "of an archive, and of an ensemble",
    "START": "a start token, and the first bytes of a file",
    "parse": "of a command line, and of YAML",
    "read_scores": "of an evaluation, and of a checkpoint",
    "Run": "a run in Python, and the option that names one",
    "Model": "a model in Python, and the section of the configuration",
    "App": "the command line, and the application that the server runs",
    "Group": "of commands, and of processes",
    "Line": "of a nested form, and of a chart",
    "Entry": "a row of a table of runs, and an entry of the cache",
    "COLUMNS": "of the table of runs, of packed rows, and of a split that is written",
    "ROWS_AT_ONCE": "of a split that is written, and of texts that are predicted",
    "count_words": "of a chunk of text, and of the rows that vectors are learnt from",
    "describe_model": "for a page in a browser, and for a report",
    "refusal": "why a model cannot be a page, and what a file system refuses",
    "read_text": "of a text that is explained, and of a request",
    "Histogram": "a chart of a report, and a metric of the server",
    "render_page": "of a report, and of the server",
    "parse_json": "of a request, and of a file of ours",
}
MOST_LINES = 300
LONGER = "This module is longer than 300 lines because"
MOST_MODULES = 15
# Folders with more modules, with the reason.
LARGER = {
    "cli": "a file per command",
    "config": "the schema and what reads, checks and explains a configuration: half of the files serve its messages",
    "data/sources": "a file per kind of place, and five that fetch and open the archive of IMDb",
    "evaluation": "a file per kind of score, and for each thing made of scores: comparisons, weights, thresholds",
    "training": "the loop and what it is made of lie side by side, so that the imports of epochs.py show all of it",
}


def top_level_names(source: str) -> set[str]:
    """Return the public names that a module defines; a Typer command's function is named after its command."""
    found = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            is_command = any(".command" in ast.unparse(decorator) for decorator in node.decorator_list)
            found |= set() if is_command else {node.name}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return {name for name in found if not name.startswith("_")}


def test_one_public_name_has_one_meaning() -> None:
    modules: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in top_level_names(path.read_text("utf-8")):
            modules.setdefault(name, []).append(str(path.relative_to(PACKAGE)))
    twice = {name for name, where in modules.items() if len(where) > 1}
    assert twice == DEFINED_TWICE.keys(), "rename one of each, or give the reason in DEFINED_TWICE"


def test_top_level_names_are_found_and_commands_are_not() -> None:
    source = "A = B, _C = 1, 2, 3\nD: int = 4\nclass E: ...\ndef f(): g = 1\n@app.command()\ndef h(): ...\n"
    assert top_level_names(source) == {"A", "B", "D", "E", "f"}


def test_folders_are_small() -> None:
    counts = {
        str(folder.relative_to(PACKAGE)): len({*folder.glob("*.py")} - {folder / "__init__.py"})
        for folder in (PACKAGE, *PACKAGE.rglob("*"))
        if folder.is_dir()
    }
    assert {folder for folder, n in counts.items() if n > MOST_MODULES} == LARGER.keys()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_is_short_or_says_why_not(path: Path) -> None:
    source = path.read_text("utf-8")
    docstring = " ".join((ast.get_docstring(ast.parse(source)) or "").split())
    is_long = len(source.splitlines()) > MOST_LINES
    assert (LONGER in docstring) is is_long, f"over {MOST_LINES} lines, and then only, a docstring says: {LONGER} …"


def test_programs_in_strings_import_names_that_there_are() -> None:
    """No type checker reads the programs that tests and benchmarks start; a moved module leaves stale imports there."""
    root = PACKAGE.parent
    stale = []
    for path in sorted([*(root / "tests").rglob("*.py"), *(root / "benchmarks").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                continue
            for module, names in re.findall(r"from (sentiment_cli[\w.]*) import (\w+(?:, \w+)*)", node.value):
                found = importlib.import_module(module)
                missing = [one for one in names.split(", ") if not hasattr(found, one)]
                stale += [
                    f"{path.relative_to(root)}: {module}.{one}"
                    for one in missing
                    if importlib.util.find_spec(f"{module}.{one}") is None
                ]
    assert not stale
