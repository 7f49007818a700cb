"""Chunks of raw text -> one compact table of integers: 20 bytes for an interaction, whatever else its line held."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .keys import KeyIndex
from .times import Times, is_missing, to_numbers


@dataclass
class Interactions:
    """`frame` has the columns user, item (positions in the key arrays), time (seconds) and, where known, rating."""

    frame: pd.DataFrame
    user_keys: np.ndarray
    item_keys: np.ndarray
    time_kind: str


def collect(chunks, path, malformed):
    """Read all chunks (columns line, user, item and, where the source has them, time and rating)."""
    users, items, parts, times = KeyIndex(), KeyIndex(), [], Times()
    for chunk in chunks:
        part = pd.DataFrame({"user": users.encode(chunk["user"]), "item": items.encode(chunk["item"])})
        part["time"] = times.read(chunk["time"]) if "time" in chunk else np.nan
        if "rating" in chunk:
            part["rating"] = to_numbers(chunk["rating"]).astype(np.float32).values
        parts.append(part[_usable(part, chunk, path, malformed)])
        times.note_missing(parts[-1], chunk)
    malformed.check(path)
    frame, time_kind = times.finish(pd.concat(parts, ignore_index=True), path, malformed)
    malformed.check(path)
    return Interactions(frame, users.keys(), items.keys(), time_kind)


def _usable(part, chunk, path, malformed):
    """The rows with two ids, a rating if there is such a column, and a time unless it is missing (see Times.finish)."""
    reasons = {
        "user": (part["user"] < 0, "cannot be a user id"),
        "item": (part["item"] < 0, "cannot be an item id"),
    }
    if "time" in chunk:
        reasons["time"] = (~np.isfinite(part["time"]) & ~is_missing(chunk["time"]).values, "is neither a number nor an ISO date")
    if "rating" in chunk:
        reasons["rating"] = (~np.isfinite(part["rating"]), "is not a rating")
    usable = np.ones(len(part), dtype=bool)
    for column, (wrong, reason) in reasons.items():
        for row in np.flatnonzero(wrong & usable):
            malformed.add(path, chunk["line"].iloc[row], f"{column} {str(chunk[column].iloc[row])[:60]!r} {reason}")
        usable &= ~np.asarray(wrong)
    return usable
