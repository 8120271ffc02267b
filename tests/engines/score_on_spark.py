"""Run the lines that docs/scaling.md has for Spark, on `local[2]` of 127.0.0.1, with names of one's own.

python tests/engines/score_on_spark.py reviews.parquet answers pocket
"""

import os
import re
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
_OPTIONS = "--master local[2] --conf spark.ui.enabled=false --conf spark.driver.host=127.0.0.1"


def lines_of_page() -> str:
    """Return the block of the page that imports pyspark."""
    (block,) = (
        one for one in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S) if "spark" in one
    )
    return str(block)


def main() -> None:
    source, out, model = sys.argv[1:]
    code = lines_of_page()
    for name, own in (("reviews.parquet", source), ("answers.parquet", out), ("pocket", model)):
        assert code.count(f'"{name}"') == 1, name
        code = code.replace(f'"{name}"', repr(own))
    os.environ |= {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"{_OPTIONS} --conf spark.driver.bindAddress=127.0.0.1 pyspark-shell"
    exec(compile(code, str(PAGE), "exec"), {})


if __name__ == "__main__":
    main()
