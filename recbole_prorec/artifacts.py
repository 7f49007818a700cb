"""What a stage hands on: files called by a fingerprint of everything they depend on, whole or not there at all."""

import contextlib
import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from recbole_prorec.errors import InputError

FORMAT = 1
HEADER = "_header"  # the json string that stands beside the arrays of an .npz
LEFTOVER_SECONDS = 24 * 3600  # a temporary file older than this belongs to a killed process

logger = logging.getLogger(__name__)


def fingerprint(parts):
    """16 hex digits that change with any value in `parts`: nested dicts (in any order), lists, scalars, paths, arrays, tensors."""
    return _digest(parts).hex()[:16]


def _digest(value):
    """sha256 of one value. Every value is tagged with its type, and a container hashes its members' digests, so no two values meet."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return _sha("dict", *sorted(_digest(key) + _digest(member) for key, member in value.items()))
    if isinstance(value, (list, tuple)):
        return _sha("list", *map(_digest, value))
    if value is None or isinstance(value, (bool, int, float)):
        return _sha(type(value).__name__, repr(value).encode())
    if isinstance(value, (str, Path)):
        return _sha("str", str(value).encode("utf-8", "surrogatepass"))
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return _sha(f"array {value.dtype.descr} {value.shape}", np.ascontiguousarray(value).tobytes())
    if isinstance(value, torch.Tensor):
        # As bytes, because NumPy does not know every dtype of torch.
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return _sha(f"tensor {value.dtype} {tuple(value.shape)}", flat.tobytes())
    kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
    raise InputError(f"no fingerprint can be made of a {kind}; give dicts, lists, text, numbers, None, paths, arrays or tensors.")


def _sha(tag, *chunks):
    digest = hashlib.sha256(tag.encode() + b"\0")
    for chunk in chunks:
        digest.update(chunk)
    return digest.digest()


def writable_folder(folder, setting):
    """Make the folder that `setting` names, where it is not there yet -> its Path."""
    folder = Path(folder)
    with writing_to(folder, setting):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise unusable(folder, setting, "no permission to write there")
    return folder


@contextlib.contextmanager
def writing_to(folder, setting):
    """Within the block an OSError is an InputError, which names the folder and the setting that says where it lies."""
    try:
        yield
    except OSError as error:
        raise unusable(folder, setting, error) from error


def unusable(folder, setting, cause):
    return InputError(f"the folder {folder} cannot be used: {cause}. Expected a folder that can be written to, with room left; make it so, "
                      f"or set `{setting}` to another one.")


@contextlib.contextmanager
def whole_file(path, mode="wb", **how):
    """A file to be written, under another name until it is whole: who is killed at any moment leaves the old file or the new one, never
    half of one."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with open(unfinished, mode, **how) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


class ArtifactStore:
    """A folder of results, `<stage>-<key>.npz`, and of unfinished work, `<stage>-<key>.pt`; neither holds a pickle that could run code.

    A damaged file is reported, moved aside as `*.damaged` and then counts as absent, so that its stage is computed again.
    """

    def __init__(self, folder, setting="cache_dir"):
        """setting: what says where the folder lies."""
        self.folder, self.setting = writable_folder(folder, setting), setting
        with writing_to(self.folder, setting):
            self._remove_leftovers()

    def save(self, stage, key, arrays, meta=None):
        """Keep the finished result of a stage: named arrays, and what json can hold."""
        arrays = {name: np.asarray(array) for name, array in arrays.items()}
        meta = json.loads(json.dumps(meta or {}))
        checksum = fingerprint({"arrays": arrays, "meta": meta})
        header = {"format": FORMAT, "stage": stage, "key": key, "checksum": checksum, "meta": meta}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays, **{HEADER: np.array(json.dumps(header))})
        return self._write(self._path(stage, key, "npz"), buffer)

    def load(self, stage, key):
        """The arrays and the meta that `save` kept, or None."""
        return self._read(self._path(stage, key, "npz"), lambda file: _parse_arrays(file, stage, key))

    def save_state(self, stage, key, state):
        """Keep unfinished work: tensors, numbers and text in dicts and lists."""
        _check_state(state)
        kept = {"format": FORMAT, "stage": stage, "key": key, "state": state, "checksum": fingerprint({"state": state})}
        buffer = io.BytesIO()
        torch.save(kept, buffer)
        return self._write(self._path(stage, key, "pt"), buffer)

    def load_state(self, stage, key):
        """The state that `save_state` kept, its tensors on the CPU, or None."""
        return self._read(self._path(stage, key, "pt"), lambda file: _parse_state(file, stage, key))

    def drop_state(self, stage, key):
        """Forget unfinished work, if there is any."""
        with writing_to(self.folder, self.setting):
            self._path(stage, key, "pt").unlink(missing_ok=True)

    def _path(self, stage, key, suffix):
        return self.folder / f"{stage}-{key}.{suffix}"

    def _write(self, path, buffer):
        with writing_to(self.folder, self.setting):
            self.folder.mkdir(parents=True, exist_ok=True)  # it may have been deleted since
            with whole_file(path) as file:
                file.write(buffer.getbuffer())
        return path

    def _read(self, path, parse):
        try:
            with open(path, "rb") as file:
                try:
                    return parse(file)
                except Exception as error:  # damage shows itself in a dozen types, from BadZipFile to NotImplementedError
                    damage = f"{type(error).__name__}: {error}"
            os.replace(path, path.with_name(path.name + ".damaged"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unusable(self.folder, self.setting, error) from error
        logger.warning("The artifact %s is damaged (%s). It was moved aside, to %s.damaged, and will be computed again.",
                       path, damage, path.name)
        return None

    def _remove_leftovers(self):
        for leftover in self.folder.glob(".*.unfinished"):
            with contextlib.suppress(FileNotFoundError):  # another run may have finished it, or removed it, just now
                if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                    leftover.unlink()


def _parse_arrays(file, stage, key):
    with np.load(file, allow_pickle=False) as npz:
        arrays = {name: npz[name] for name in npz.files}
    header = json.loads(str(arrays.pop(HEADER)))
    _check_header(header, stage, key, {"arrays": arrays, "meta": header["meta"]})
    return arrays, header["meta"]


def _parse_state(file, stage, key):
    kept = torch.load(file, map_location="cpu", weights_only=True)
    _check_header(kept, stage, key, {"state": kept["state"]})
    return kept["state"]


def _check_header(header, stage, key, content):
    expected = {"format": FORMAT, "stage": stage, "key": key, "checksum": fingerprint(content)}
    wrong = [name for name, value in expected.items() if header.get(name) != value]
    if wrong:
        raise ValueError(f"wrong {' and '.join(wrong)}")


def _check_state(value):
    """Refuse at once what torch's safe loading would refuse later, when the work is already lost."""
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple)):
        for member in value:
            _check_state(member)
    elif not (value is None or isinstance(value, torch.Tensor) or type(value) in (bool, int, float, str)):
        raise InputError(f"a state cannot hold a {type(value).__name__}; expected tensors, numbers, text, None, and dicts or lists of "
                         "them. Turn it into one of these first.")
