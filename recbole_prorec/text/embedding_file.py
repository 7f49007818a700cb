"""Ready-made item embeddings from a file, in the order of the item keys."""

from pathlib import Path

import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured

from recbole_prorec.errors import InputError
from recbole_prorec.text.item_text import read_header, read_item_fields

LAYOUTS = ("expected a .npz with the arrays item_keys (text) and embeddings [n, D], a .npy [n, D] with <same name>.keys.txt beside it "
           "(one key per line), or an .itememb file (iid:token<tab>item_emb:float_seq)")


def load_embedding_file(path, item_keys):
    """Embeddings float32 [n, D], one row per item key. Rows of other items in the file are left out."""
    path = Path(path).expanduser()
    readers = {".npz": _read_npz, ".npy": _read_npy, ".itememb": _read_itememb}
    if path.suffix not in readers or not path.is_file():
        kind = "is of an unknown kind" if path.exists() else "does not exist"
        raise InputError(f"text_embedding_file {path} {kind}: {LAYOUTS}.")
    try:
        keys, embeddings = readers[path.suffix](path)
    except InputError:
        raise
    except Exception as error:  # a file that is something else can fail anywhere in NumPy's or zip's readers
        raise InputError(f"the embeddings in {path} cannot be read ({type(error).__name__}: {error}): {LAYOUTS}.") from error
    check_embeddings(embeddings, len(keys), path)
    return embeddings[_rows_of(keys, item_keys, path)].astype(np.float32)


def check_embeddings(embeddings, n_rows, source):
    """Refuse what is not n_rows finite vectors of one length."""
    if embeddings.ndim != 2 or len(embeddings) != n_rows or embeddings.shape[1] == 0 or embeddings.dtype.kind not in "fiu":
        raise InputError(f"the embeddings from {source} are {embeddings.dtype} of shape {embeddings.shape}; "
                         f"expected numbers of shape [{n_rows}, D], a row per key.")
    with np.errstate(over="ignore"):
        broken = np.flatnonzero(~np.isfinite(embeddings.astype(np.float32)).all(axis=1))
    if len(broken):
        raise InputError(f"{len(broken)} embeddings from {source} hold NaN or infinity as float32, the first in row {broken[0]} "
                         "(counted from 0); expected finite numbers. Make them again without.")


def _rows_of(keys, item_keys, path):
    row_of = {key: row for row, key in enumerate(keys)}
    if len(row_of) < len(keys):
        raise InputError(f"{path} has {len(keys)} rows, but only {len(row_of)} different keys; expected one row per item. "
                         "Remove the repeated ones.")
    missing = [key for key in item_keys if str(key) not in row_of]
    if missing:
        raise InputError(f"{path} has no embedding for {len(missing)} of {len(item_keys)} items, the first is {str(missing[0])!r} "
                         f"(the first key in the file is {keys[0] if keys else None!r}). Add them, by the data set's own item ids.")
    return [row_of[str(key)] for key in item_keys]


def _read_npz(path):
    with np.load(path, allow_pickle=False) as npz:
        return npz["item_keys"].astype(str).reshape(-1).tolist(), npz["embeddings"]


def _read_npy(path):
    keys = path.with_suffix(".keys.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    embeddings = np.load(path, allow_pickle=False)
    return keys, embeddings if embeddings.dtype.names is None else structured_to_unstructured(embeddings)


def _read_itememb(path):
    kinds = read_header(path)
    key_field = next((name for name, kind in kinds.items() if kind == "token"), None)
    vector_field = next((name for name, kind in kinds.items() if kind == "float_seq"), None)
    if key_field is None or vector_field is None:
        raise InputError(f"{path} has the fields {', '.join(kinds)}: {LAYOUTS}.")
    rows = read_item_fields(path, item_id_field=key_field)
    return list(rows), np.array([row[vector_field].split() for row in rows.values()], dtype=np.float64)
