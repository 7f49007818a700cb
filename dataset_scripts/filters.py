"""What is kept, and in which order. Each function takes and returns a table with the columns user, item and time."""

import numpy as np


def between(frame, since=None, until=None):
    """since <= time < until, in seconds; None leaves that side open."""
    kept = np.ones(len(frame), dtype=bool)
    if since is not None:
        kept &= frame["time"] >= since
    if until is not None:
        kept &= frame["time"] < until
    return frame[kept]


def by_user_and_time(frame, user_keys, shuffle_seed=None):
    """Sorted by user key, then time, then the order of the file; or, with a seed, at random where the times are equal."""
    rank = np.empty(len(user_keys), dtype=np.int32)
    rank[np.argsort(user_keys)] = np.arange(len(user_keys))
    ties = np.arange(len(frame)) if shuffle_seed is None else np.random.default_rng(shuffle_seed).permutation(len(frame))
    return frame.iloc[np.lexsort((ties, frame["time"], rank[frame["user"]]))]


def without_repeats(frame, which):
    """Of several interactions of a user with an item keep the `first` or the `last` (in the sorted order), or all (`keep`)."""
    return frame if which == "keep" else frame.drop_duplicates(["user", "item"], keep=which)


def k_core(frame, k):
    """The largest part in which every user and every item has at least k interactions."""
    while True:
        kept = (_counts(frame["user"]) >= k) & (_counts(frame["item"]) >= k)
        if kept.all():
            return frame
        frame = frame[kept]


def _counts(codes):
    return np.bincount(codes)[codes]


def latest(frame, n):
    """The last n interactions of every user."""
    return frame[frame.groupby("user").cumcount(ascending=False) < n]
