"""Robustness cases B01 to B05, M05, M06 and M10 by name, and every key of the schema misspelt once."""

import re
import time
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment_cli.config import nearest as nearest_module
from sentiment_cli.config import yaml_text
from sentiment_cli.config.catalogue import CELLS, KINDS, POOLINGS
from sentiment_cli.config.loader import (
    _leaves,
    differences,
    experiment_values,
    experiment_yaml,
    load_experiment,
    load_settings,
)
from sentiment_cli.config.recipes import find_config, recipe_names
from sentiment_cli.config.schema import Encoder, Experiment, Model
from sentiment_cli.errors import Change, UsageError


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_experiment(path, overrides)
    return str(caught.value)


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str | bytes, name: str = "exp.yaml") -> Path:
        (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_experiments_load_and_come_back_the_same(name: str, write) -> None:
    experiment = load_experiment(name)
    assert load_experiment(write(experiment_yaml(experiment))) == experiment


@pytest.mark.parametrize(
    ("data", "place", "said"),
    [
        ("a: x\n\tb: 1\n", "2:1", "not YAML"),
        ("name: [\n", "2:1", "not YAML"),
        ('name: "x\n', "2:1", "not YAML"),
        ("name: a\x00b\n", "1:8", "the character U+0000 cannot stand in YAML"),
        ("name: a\x1bb\n", "1:8", "the character U+001B cannot stand in YAML"),
        (b"\xff\xfen\x00", "1:1", "the file is UTF-16; save it as UTF-8"),
        (b"x: 1\nname: \xe9\n", "2:7", "byte 0xe9 is not UTF-8"),
        ("- name: x\n", "1:1", "an experiment is a mapping of settings"),
        ("just text\n", "1:1", "an experiment is a mapping of settings"),
        ("name: x\n---\nname: y\n", "2:1", "not YAML"),
        ("", "1:1", "name is missing"),
        ('seed: 1\nname: "\\U00110000"\n', "2:8", "not YAML: an escape that names no character"),
        ('name: "\\UFFFFFFFF"\n', "1:8", "not YAML: an escape that names no character"),
        (b"#" * 5_000_000, "1:1", "the file has more than 262,144 bytes"),
    ],
)
def test_b01_malformed_yaml(write, data, place: str, said: str) -> None:
    path = write(data)
    message = refusal(path)
    assert f"{path}:{place}: " in message
    assert said in message
    assert message.endswith(f"1 problem in {path}. Nothing was downloaded or written.")


def test_b01_a_bom_is_no_mistake(write) -> None:
    assert load_experiment(write(b"\xef\xbb\xbfname: x\n")).name == "x"


def test_b02_five_mistakes_are_five_reports(write) -> None:
    path = write(
        "name: x\nmodel:\n  encoder:\n    widht: 256\n  pooling: lst\ntrain:\n  lr: 1e-3\n  lr: 2\n  epochs: no\n"
        "text: {pad: left}\n"
    )
    assert refusal(path) == (
        f"{path}:4:5: model.encoder.widht is not a setting\n"
        "    4 |     widht: 256\n"
        "      |     ^^^^^ did you mean width?\n"
        f"{path}:5:12: model.pooling is 'lst': it should be 'last', 'mean', 'max', 'both', 'concat' or 'attention'\n"
        "    5 |   pooling: lst\n"
        "      |            ^^^ did you mean last?\n"
        f"{path}:8:3: train.lr is set twice, first in line 7\n"
        "    8 |   lr: 2\n"
        "      |   ^^\n"
        f"{path}:9:11: train.epochs is 'no': it should be a valid integer\n"
        "    9 |   epochs: no\n"
        "      |           ^\n"
        f"{path}:10:13: text.pad is left and text.pad_to is null: left and a length go together\n"
        "   10 | text: {pad: left}\n"
        "      |             ^\n"
        f"5 problems in {path}. Nothing was downloaded or written."
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lr: 1", "lr is not a setting"),
        ("Train: {lr: 1}", "did you mean train?"),
        ("train: {LR: 1}", "train.LR is not a setting"),
        ("width: 3", "did you mean model.encoder.width?"),
        ("model: {lr: 1}", "did you mean train.lr?"),
        ("train.lr: 1", "write it as train: {lr: …}"),
    ],
)
def test_b02_wrong_case_and_wrong_section(write, text: str, said: str) -> None:
    assert said in refusal(write(f"name: x\n{text}\n"))


KEYS = [path for path, _ in _leaves(experiment_values(Experiment(name="x")))]


@pytest.mark.parametrize("path", KEYS, ids=[".".join(map(str, path)) for path in KEYS])
def test_every_key_misspelt_by_one_letter_is_found_and_corrected(write, path) -> None:
    for key in range(len(path)):
        right = str(path[key])
        for wrong in {
            right[:-1] + "q",
            "q" + right[1:],
            right + "q",
            right[: len(right) // 2] + "q" + right[len(right) // 2 :],
        } - {right}:  # quoting begins with the letter
            parts = [*map(str, path[:key]), wrong, *map(str, path[key + 1 :])]
            lines = ["name: x"] if path != ("name",) else []
            lines += [f"{'  ' * i}{part}:" for i, part in enumerate(parts)]
            message = refusal(write("\n".join(lines) + " 1\n"))
            line = len(lines) - len(parts) + key + 1
            assert f"exp.yaml:{line}:{2 * key + 1}: {'.'.join(parts[: key + 1])} is not a setting" in message
            suggested = message.split("did you mean ")[1].split("?")[0].split(".")[-1]
            assert suggested in (right, right.removesuffix("s"))  # data.valid has fold and folds


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("train.lr: 1e-3", 0.001),
        ("train.lr: 1", 1.0),
        ("train.lr: .5", 0.5),
        ("train.batch_tokens: 16_384", 16384),
        ("name: no", "no"),
        ("name: on", "on"),
        ("text.lowercase: false", False),
        ("text.max_tokens: null", None),
        ("text.max_tokens: ~", None),
    ],
)
def test_b03_plain_values(write, setting: str, value: object) -> None:
    key, _, text = setting.partition(": ")
    settings_ = {s.key: s.value for s in load_settings(write("name: x\n"), [f"{key}={text}"])}
    assert settings_[key] == value


@pytest.mark.parametrize(
    "setting",
    [
        'train.epochs="64"',
        "train.epochs=3.0",
        "train.epochs=true",
        "train.warmup=null",
        "train.epochs=[1]",
        "train.epochs=12:30:45",
        "train.lr=nan",
        "train.lr=.inf",
        "train.lr=" + "9" * 400,
        "text.lowercase=yes",
        "text.lowercase=1",
        "name=1",
        "name=true",
        "train={}x",
        "vocabulary.from=train",
        "vocabulary.from=[]",
    ],
)
def test_b03_wrong_types_are_refused(setting: str) -> None:
    key = setting.partition("=")[0]
    with pytest.raises(UsageError, match=f"(?s)--set {key}=.*: ({key}|not YAML)"):
        load_experiment("default", [setting])


def test_b03_a_duplicate_key_shows_both_lines_and_does_not_stop_the_other_checks(write) -> None:
    message = refusal(write("name: x\nname: y\nseed: -1\n"))
    assert "exp.yaml:2:1: name is set twice, first in line 1" in message
    assert "exp.yaml:3:7: seed is -1" in message


@pytest.mark.parametrize(
    ("settings_", "said"),
    [
        (["train.lr=0"], "train.lr is 0: it should be greater than 0"),
        (["model.dropout=1"], "model.dropout is 1: it should be less than 1"),
        (["train.batch_tokens=0"], "train.batch_tokens is 0"),
        (["text.max_tokens=0"], "text.max_tokens is 0"),
        (["data.valid.share=1.0"], "data.valid.share is 1.0: it should be less than 1"),
        (["data.valid.folds=1"], "data.valid.folds is 1"),
        (["data.valid.folds=5"], "data.valid.folds is 5 and data.valid.fold is null: they go together"),
        (["data.valid.fold=2"], "data.valid.folds is null and data.valid.fold is 2: they go together"),
        (["data.valid.folds=5", "data.valid.fold=6"], "data.valid.fold is 6, more than data.valid.folds 5"),
        (["vocabulary.size=2"], "vocabulary.size is 2"),
        (["model.encoder.layers=0"], "model.encoder.layers is 0"),
        (["train.device=gpu"], "train.device is 'gpu': it should be auto, cpu, cuda, cuda:1 or mps"),
        (["train.precision=fp8"], "it should be 'auto', 'fp32', 'bf16' or 'fp16'"),
        (["train.precision=fp16", "train.device=cpu"], "is fp16, which needs a CUDA device, and train.device is cpu"),
        (["train.device=mps", "model.encoder.cell=goru"], "is mps, which cannot compute model.encoder.cell goru"),
        (["train.device=mps", "task=vectors"], "train.device mps trains classifiers only, and task is vectors"),
        (["seed=2147483648"], "seed is 2147483648"),
        (["text.pad=left"], "text.pad is left and text.pad_to is null: left and a length go together"),
        (["text.pad_to=512"], "text.pad is none and text.pad_to is 512: left and a length go together"),
        (["text.pad=left", "text.pad_to=100"], "text.max_tokens is 400, which does not fit in text.pad_to 100"),
        (["train.batch_tokens=10"], "train.batch_tokens is 10, less than one row of text.max_tokens 400"),
        (["train.patience=99"], "train.patience is 99, not less than train.epochs 5"),
        (["model.embedding.word_dropout=0.1", "vocabulary.unknown=padding"], "which needs vocabulary.unknown: own"),
        (["model.kind=linear", "vocabulary.vectors=x.txt"], "vocabulary.vectors is to start from, and model.kind is"),
        (["model.kind=linear", "init_from=some-run"], "init_from is to start from, and model.kind is linear"),
        (["init_from=some-run", "vocabulary.vectors=x.txt"], "init_from and vocabulary.vectors both say which"),
        (
            ["init_backward=some-run", "model.encoder.bidirectional=true", "vocabulary.vectors=x.txt"],
            "init_backward and vocabulary.vectors both say which",
        ),
    ],
)
def test_b04_out_of_range_and_contradictory(write, settings_: list[str], said: str) -> None:
    base = write("name: x\ntext: {max_tokens: 400}\ntrain: {epochs: 5}\n")
    assert said in refusal(base, *settings_)


@pytest.mark.parametrize(
    ("recipe", "typed", "reset"),
    [
        ("default", ["model.wide.use=none"], ["model.linear.min_count=2", "model.wide.dropout=0.0"]),
        ("default", ["model.wide.use=none", "train.epochs=0"], []),  # no default helps
        ("linear", ["model.encoder.cell=gru"], ["model.encoder.cell=lstm"]),
        ("linear", ["objective.adversarial.weight=1"], ["objective.adversarial.weight=0.0"]),
    ],
)
def test_what_a_recipe_sets_and_an_option_contradicts_goes_back_to_its_default(
    recipe: str, typed: list[str], reset: list[str]
) -> None:
    with pytest.raises(UsageError) as error:
        load_experiment(recipe, typed)
    hint = error.value.hint
    assert (hint.options if isinstance(hint, Change) else ()) == tuple(w for one in reset for w in ("--set", one))
    if reset:
        load_experiment(recipe, [*typed, *reset])


def test_b04_contradictions_are_all_told_and_placed_where_the_last_word_was_said(write) -> None:
    path = write("name: x\ntrain:\n  epochs: 3\n  batch_tokens: 9\n")
    message = refusal(path, "train.patience=9")
    assert f"{path}:4:17: train.batch_tokens is 9, less than one row of text.max_tokens 400" in message
    assert "--set train.patience=9: train.patience is 9, not less than train.epochs 3" in message
    assert "2 problems" in message


def test_b04_a_typo_brings_no_second_false_mistake(write) -> None:
    assert "1 problem in" in refusal(write("name: x\ntext: {pad: lefft, pad_to: 512}\n"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.lr", "--set 'train.lr' is not KEY=VALUE"),
        ("=1", "--set '=1' is not KEY=VALUE"),
        ("train..lr=1", "is not KEY=VALUE"),
        ("train.lrr=1", "--set train.lrr=1: train.lrr is not a setting (did you mean train.lr?)"),
        ("train.lr=-1", "--set train.lr=-1: train.lr is -1: it should be greater than 0"),
        ("name.x=1", "--set name.x=1: name is {'x': 1}"),
        ("train=3", "--set train=3: train is 3: it should be a section of settings"),
        ("train.lr=[1", "--set train.lr=[1: not YAML"),
        ("name=", "--set name=: name is None"),
        ("name=a=b", "name is 'a=b'"),  # split on the first = alone
        ("extends=sample", "--set extends=sample: extends belongs in a file"),
        ("vocabulary.from=[train, train]", "an entry stands twice"),
    ],
)
def test_b05_set_is_checked_as_the_file_is(override: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_experiment("default", [override])
    assert said in str(caught.value)


def test_b05_later_sets_win_and_leave_the_rest() -> None:
    experiment = load_experiment("default", ["train.lr=1e-4", "train.lr=2e-4", "vocabulary.from=[train, valid]"])
    assert experiment.train.lr == 2e-4
    assert experiment.vocabulary.from_ == ("train", "valid")
    assert experiment.model == load_experiment("default").model


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: !!python/object/apply:os.system [x]\n", "the tag tag:yaml.org,2002:python/object/apply:os.system"),
        ("name: !x y\n", "the tag !x is not read"),
        ("a: &x 1\nb: *x\n", "anchors and aliases are not read"),
        ("a: &a [*a]\n", "anchors and aliases are not read"),
        ("base: &b {x: 1}\nname: {<<: *b}\n", "anchors and aliases are not read"),
        ("a: [" + "[" * 2000 + "]" * 2000 + "]\n", "deeper than 20 levels"),
        ("a: &x [l,l,l]\n" + "".join(f"a{i}: &x{i} [*x,*x,*x]\n" for i in range(50)), "anchors and aliases"),
        (b" " * 50_000_000, "more than 262,144 bytes"),
    ],
)
def test_m05_yaml_bombs_are_refused_at_once(write, text, said: str) -> None:
    path = write(text)
    spent = []
    for _ in range(3):
        began = time.process_time()
        assert said in refusal(path)
        spent.append(time.process_time() - began)
    assert min(spent) < 0.1


@pytest.mark.parametrize(
    "name",
    [
        "../../etc",
        "~",
        "$(id)",
        "{{x}}",
        "file:///x",
        "os.system/x",
        '"a\\nb"',
        "a" * 300,
        '"\\e[2J"',
        '"\\u202eb"',
        '""',
    ],
)
def test_m06_m10_names_choose_no_path_and_no_code(name: str) -> None:
    with pytest.raises(UsageError, match=r"name is .*: it should be a"):
        load_experiment("default", [f"name={name}"])


def test_m06_every_text_setting_is_a_choice_or_a_pattern() -> None:
    for path, value in _leaves(experiment_values(Experiment(name="x"))):
        if isinstance(value, str) and path != ("data", "source"):
            with pytest.raises(UsageError):
                load_experiment("default", [f"{'.'.join(map(str, path))}=sentiment_cli.store:remove_directory"])


def said_of(config: str | Path, *overrides: str) -> str:
    """What is said against a config; where nothing is, its place and option, so that the caller finds them."""
    try:
        load_experiment(config, overrides)
    except UsageError as error:
        return str(error)
    return f"{config}: --set"


YAMLISH = st.text(alphabet="name: x\n-[]{}&*!|>'\"#,?%@`\t0.e1~<trainlmodwih\x00\ufeff\u2028é", max_size=60)


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        YAMLISH.map(str.encode),
        st.text(max_size=300).map(lambda text: b"name: x\nextends: " + text.encode("utf-8", "replace")),
        st.just(b"extends: " + b"a" * 300),
    )
)
def test_any_bytes_give_an_experiment_or_an_error_with_a_position(tmp_path_factory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    assert f"{path}:" in said_of(path)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30).filter(lambda text: "extends" not in text))
def test_any_override_gives_an_experiment_or_an_error(text: str) -> None:
    for override in (text, f"train.lr={text}", f"{text}=1"):
        assert "--set" in said_of("sample", override)


@settings(max_examples=100, deadline=None)
@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True))
def test_any_name_comes_back_from_the_resolved_file(tmp_path_factory, name: str) -> None:
    path = tmp_path_factory.getbasetemp() / "name.yaml"
    experiment = Experiment(name=name)
    path.write_bytes(experiment_yaml(experiment))
    assert load_experiment(path) == experiment


@pytest.mark.parametrize("name", ["1e3", "null", "12", "1_0", "true"])
def test_names_that_look_like_values_come_back(write, name: str) -> None:
    assert load_experiment(write(experiment_yaml(Experiment(name=name)))).name == name


def test_extends_lays_a_file_over_another_and_says_who_set_what(write, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    write("name: base\nseed: 3\ntrain: {lr: 1e-3, epochs: 4}\nmodel: {pooling: max}\n", "base.yaml")
    write("extends: ../base.yaml\nname: child\ntrain:\n  lr: 2e-3\n", "sub/child.yaml")
    origins = {s.key: (s.value, s.origin) for s in load_settings("sub/child.yaml", ["seed=5"])}
    assert origins["name"] == ("child", "sub/child.yaml:2")
    assert origins["train.lr"] == (0.002, "sub/child.yaml:4")
    assert origins["train.epochs"] == (4, "base.yaml:3")
    assert origins["model.pooling"] == ("max", "base.yaml:4")
    assert origins["seed"] == (5, "--set seed=5")
    assert origins["train.warmup"] == (0.0, "default")


def test_extends_takes_a_shipped_experiment_too(write) -> None:
    experiment = load_experiment(write("extends: sample\nname: mine\n"))
    assert [key for key, *_ in differences(load_experiment("sample"), experiment)] == ["name"]


def test_a_mistake_is_reported_in_the_file_that_made_it(write, tmp_path: Path) -> None:
    base = write("name: base\ntrain: {lrr: 1}\n", "base.yaml")
    child = write("extends: base.yaml\nmodel: {pooling: 3}\n", "child.yaml")
    message = refusal(child)
    assert f"{base}:2:9: train.lrr is not a setting" in message
    assert f"{child}:2:18: model.pooling is 3" in message
    assert f"2 problems in {base}, {child}." in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: nosuch.yaml\n", "extends is 'nosuch.yaml', which is neither a file beside exp.yaml nor"),
        ("extends: sampel\n", "did you mean sample?"),
        ("extends: 3\n", "extends is 3: it should be a file"),
        ("extends: exp.yaml\n", "extends goes in a circle"),
        ("extends: other.yaml\n", "extends goes in a circle"),
    ],
)
def test_extends_that_leads_nowhere(write, text: str, said: str) -> None:
    write("extends: exp.yaml\n", "other.yaml")
    message = refusal(write(text))
    assert said in message
    assert ":1:10: " in message


def unknown_keys(n: int) -> str:
    return "name: x\n" + "".join(f"kez{i}: 1\n" for i in range(n))


COSTLY = {
    "unknown keys": unknown_keys,
    "unknown keys of a section": lambda n: "name: x\ntrain:\n" + "".join(f"  kez{i}: 1\n" for i in range(n)),
    "one key many times": lambda n: "name: x\n" * n,
    "a section many times": lambda n: "name: x\n" + "train: {lr: 1}\n" * n,
    "keys that are no words": lambda n: "name: x\n" + "[a]: 1\n" * n,
    "a long list": lambda n: f"name: x\nvocabulary: {{from: [{', '.join(['trian'] * n)}]}}\n",
    "aliases": lambda n: "name: x\na: &a [1]\n" + "".join(f"b{i}: *a\n" for i in range(n)),
    "flat brackets": lambda n: "name: x\na: " + "[" * n,
    "one long line": lambda n: "name: x\n" + f"train: {{{', '.join(f'kez{i}: 1' for i in range(n))}}}\n",
}


@pytest.mark.parametrize("make", COSTLY.values(), ids=COSTLY.keys())
def test_a12_a_file_of_mistakes_is_answered_by_ten_and_a_count(write, monkeypatch, make) -> None:
    """A12: a configuration that costs minutes. The work is counted: similar words looked for, lines of the answer."""
    looked_for: list[str] = []
    find = nearest_module.difflib.get_close_matches
    monkeypatch.setattr(
        nearest_module.difflib,
        "get_close_matches",
        lambda word, *args, **more: looked_for.append(word) or find(word, *args, **more),
    )
    few, many = refusal(write(make(200))), refusal(write(make(5_000)))
    assert len(looked_for) <= 2 * 3 * 10
    for message in (few, many):
        assert message.count("\n") <= 3 * 10 + 2
        assert max(map(len, message.splitlines())) < 1_000
    if "more" in few:
        assert re.search(r"… and [\d,]{3,} more\n[\d,]+ problems in ", many)


def test_a12_layers_that_set_the_same_keys_are_laid_over_each_other_once(write, monkeypatch) -> None:
    """A12: the places of 3,000 replaced keys are forgotten in one pass over each layer, not in one pass per key."""
    changed: list[str] = []
    monkeypatch.setattr(
        yaml_text.YamlDocument,
        "__setattr__",
        lambda self, name, value: changed.append(name) or object.__setattr__(self, name, value),
    )
    write(unknown_keys(3_000), "base.yaml")
    assert "problems in" in refusal(write("extends: base.yaml\n" + unknown_keys(3_000)))
    assert 0 < changed.count("values") < 20


@pytest.mark.parametrize("n", [19, 21, 1_100])
def test_a12_a_chain_of_files_has_an_end(write, tmp_path: Path, n: int) -> None:
    for i in range(n):
        (tmp_path / f"e{i}.yaml").write_text(f"extends: e{i + 1}.yaml\n")
    (tmp_path / f"e{n}.yaml").write_text("name: deep\n")
    if n < 20:
        assert load_experiment(tmp_path / "e0.yaml").name == "deep"
    else:
        assert "extends leads over more than 20 files" in refusal(tmp_path / "e0.yaml")


@pytest.mark.parametrize("n", [25, 1_100, 20_000])
def test_a12_deep_nesting_is_refused(write, n: int) -> None:
    assert "deeper than 20 levels" in refusal(write("name: x\na: " + "{a: " * n))
    assert "deeper than 20 levels" in refusal(write(f"name: x\na:\n {'- ' * n}1\n"))


def test_an_unknown_config_suggests_the_nearest() -> None:
    assert find_config("sample").name == "sample.yaml"
    with pytest.raises(UsageError, match=r"^there is no experiment 'sampel'\. Did you mean 'sample'\?$") as caught:
        find_config("sampel")
    assert caught.value.hint == Change(words={"sampel": "sample"})


def test_the_resolved_experiment_spells_out_every_default() -> None:
    values = yaml.safe_load(experiment_yaml(load_experiment("sample")))
    assert values["text"]["tokenizer"] == "words"
    assert values["vocabulary"]["from"] == ["train"]


def test_paths_in_a_file_are_meant_from_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiments").mkdir()
    file = tmp_path / "experiments" / "mine.yaml"
    file.write_text("name: x\ndata: {source: my.csv}\nvocabulary: {vectors: ../words.txt}\n")
    monkeypatch.chdir(tmp_path)
    experiment = load_experiment(file)
    assert experiment.data.source == str(tmp_path / "experiments" / "my.csv")
    assert experiment.vocabulary.vectors == str(tmp_path / "words.txt")
    assert load_experiment(file, ["vocabulary.vectors=own.txt"]).vocabulary.vectors == str(tmp_path / "own.txt")


@pytest.mark.parametrize(
    ("settings_", "said"),
    [
        (["model.kind=linear", "model.encoder.cell=gru"], "model.encoder.cell is of kind recurrent, and model.kind is"),
        (["model.kind=bag", "model.encoder.width=64"], "model.encoder.width is of kind recurrent or transformer"),
        (["model.linear.ngrams=2"], "model.linear.ngrams is of kind linear, and model.kind is recurrent"),
        (
            ["model.wide.use=skip", "model.linear.char_ngrams=[2, 3]"],
            "char_ngrams is of kind linear, and model.kind is",
        ),
        (["model.kind=linear", "model.wide.use=skip"], "model.wide.use is of kind recurrent or transformer or bag"),
        (["model.wide.folds=3"], "model.wide.folds is of model.wide.use channel or skip or both, and that is none"),
        (
            ["model.wide.use=channel", "model.wide.dropout=0.5"],
            "model.wide.dropout is of model.wide.use skip or both, and",
        ),
        (["model.regions.width=64"], "model.regions.width is of model.regions.use frozen or tuned, and that is none"),
        (["model.wide.use=skip", "model.wide.width=3"], "model.wide.width is of model.wide.use channel or both, and"),
        (
            ["model.wide.use=both", "model.head=steps"],
            "adds logits of whole rows, and model.head steps judges each token",
        ),
        (["model.kind=transformer", "model.encoder.heads=3"], "which 3 heads of an even width do not divide"),
        (["model.encoder.cell=sru", "model.encoder.state_dropout=0.1"], "state_dropout is not for the cell sru"),
        (["model.encoder.cell=goru", "model.encoder.weight_dropout=0.1"], "its recurrent matrix stays orthogonal"),
        (["model.encoder.cell=gru", "model.encoder.forget_bias=0.0"], "forget_bias is not for the cell gru"),
        (["model.encoder.cell=lstm-grid", "model.encoder.forget_bias=1"], "only lstm and lstm-peephole take it"),
        (["model.kind=bag"], "model.pooling last of model.kind bag would read the last word alone"),
        (
            ["model.encoder.cell=lstm-2d", "model.encoder.chop=8"],
            "is not for the cell lstm-2d: it needs the sentence",
        ),
        (["model.head=steps", "model.pooling=max"], "model.head steps is read at the last step"),
        (["model.context_window=3"], "model.context_window is of local context, and model.context is none"),
        (["model.embedding.uniform=0.1", "model.embedding.std=0.2"], "both say how the fresh vectors are drawn"),
        (["data.target=stars", "train.label_smoothing=0.1"], "train.label_smoothing is set to what single labels need"),
    ],
)
def test_b04_settings_of_a_model_that_do_not_go_together(write, settings_: list[str], said: str) -> None:
    assert said in refusal(write("name: x\n"), *settings_)


def test_the_catalogue_names_every_choice() -> None:
    choices = {"kind": (Model, KINDS), "cell": (Encoder, CELLS), "pooling": (Model, POOLINGS)}
    for key, (section, told) in choices.items():
        assert list(told) == list(get_args(section.model_fields[key].annotation))


def test_a_setting_replaces_that_for_gpus_of_the_files_below(write) -> None:
    """Whoever asks for a batch of their own gets it on every device."""
    base = write("name: base\ntrain:\n  gpu: {batch_tokens: 131072, lr: 6e-3}\n", "base.yaml")
    assert load_experiment(base).train.gpu.batch_tokens == 131_072
    typed = load_experiment(base, ["train.batch_tokens=8192"])
    assert typed.train.batch_tokens == 8192
    assert (typed.train.gpu.batch_tokens, typed.train.gpu.lr) == (None, None)  # which is for the other batch
    child = write("extends: base.yaml\nname: child\ntrain: {lr: 1e-3, gpu: {batch_tokens: 65536}}\n", "child.yaml")
    gpu = load_experiment(child).train.gpu
    assert (gpu.batch_tokens, gpu.lr) == (65_536, None)
    both = load_experiment(base, ["train.lr=1e-3", "train.gpu.lr=2e-3"])
    assert (both.train.lr, both.train.gpu.lr) == (1e-3, 2e-3)
    origins = {s.key: (s.value, s.origin) for s in load_settings(base, ["train.lr=1e-3"])}
    assert origins["train.gpu.lr"] == (None, "--set train.lr=1e-3")
    assert str(origins["train.gpu.batch_tokens"]).endswith("base.yaml:3')")


def test_a_batch_for_gpus_holds_a_row(write) -> None:
    said = refusal(write("name: x\ntext: {max_tokens: 400}\ntrain:\n  gpu: {batch_tokens: 100}\n"))
    assert "train.gpu.batch_tokens is 100, less than one row of text.max_tokens 400" in said
