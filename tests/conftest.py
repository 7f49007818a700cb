"""One thread, and a small catalogue that there is something to learn from."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and faiss are imported: on a busy machine several threads are slower than one

import pytest  # noqa: E402
import torch  # noqa: E402
from markov_data import write_markov_dataset  # noqa: E402

import recbole_prorec  # noqa: E402, F401 (before any test imports RecBole)

torch.set_num_threads(1)


@pytest.fixture
def tiny_dataset(tmp_path, monkeypatch):
    """The Markov catalogue as atomic files; RecBole's logs go beside it, and RecBole reads no flags of pytest's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["pytest"])
    return write_markov_dataset(tmp_path)
