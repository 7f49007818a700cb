"""What a converter prints may be cut off without harm."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_reader_that_goes_away_is_no_failure(tmp_path):
    rows = [f"u{user},i{item},{item}" for user in range(6) for item in range(6)]
    (tmp_path / "in.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n", encoding="utf-8")
    words = [sys.executable, str(ROOT / "dataset_scripts" / "general.py"), "--name", "small", "--interactions", "in.csv"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"", 0)
    assert (tmp_path / "dataset" / "small" / "small.inter").is_file()
