import json

import pytest

from sentiment_cli.config.paths import runs_dir


def test_a_profile_says_where_the_time_goes_and_makes_no_run(cli) -> None:
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
