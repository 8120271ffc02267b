import json

import pytest

from sentiment_cli.config.paths import runs_dir


def test_a_profile_gives_time_shares_and_creates_no_run(cli) -> None:
    small = (
        "init_from=never-trained.yaml",
        "train.precision=fp32",
        "train.batch_tokens=1024",
        "model.encoder.width=8",
        "model.embedding.width=8",
    )
    done = cli("train", "sample", "--profile", "--json", *(part for one in small for part in ("--set", one)))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["tokens_per_second"] > 0
    assert sum(share["share"] for share in found["shares"]) == pytest.approx(1)
    assert found["shares"][0]["share"] >= found["shares"][-1]["share"]
    assert "aten::_fused_adamw_" in {share["operator"] for share in found["shares"]}
    assert not runs_dir().exists()


@pytest.mark.parametrize("options", [("--resume", "my-run"), ("--seeds", "3"), ("--nproc", "2", "--name", "mine")])
def test_a_profile_creates_no_run(cli, options: tuple[str, ...]) -> None:
    done = cli("train", "sample", "--profile", *options)
    assert done.returncode == 2
    assert "--profile does not create a run" in done.stderr
    assert options[0] in done.stderr


def test_a_profile_without_the_file_of_vectors_is_refused(cli) -> None:
    done = cli("train", "sample", "--profile", "--set", "vocabulary.vectors=no.txt")
    assert done.returncode == 2
    assert "no.txt, which is not a file" in done.stderr
