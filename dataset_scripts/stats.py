"""The numbers by which one knows a data set."""

import numpy as np

from .times import ROW_ORDER


def statistics(interactions, coverage=None):
    frame = interactions.frame
    lengths = frame.groupby("user").size()
    n_users, n_items = len(lengths), frame["item"].nunique()
    return {
        "users": n_users,
        "items": n_items,
        "interactions": len(frame),
        "density": round(len(frame) / (n_users * n_items), 8),
        "average_length": round(float(lengths.mean()), 4),
        "median_length": float(lengths.median()),
        "timestamps": interactions.time_kind,
        "users_whose_last_two_share_a_timestamp": None if interactions.time_kind == ROW_ORDER else last_two_tied(frame),
        "items_with": {column.split(":")[0]: round(share, 4) for column, share in (coverage or {}).items()},
    }


def last_two_tied(frame):
    """Share of the users for whom the order of the test and the validation item is the file's, not the clock's."""
    user, time = frame["user"].values, frame["time"].values  # sorted by user and time
    last = np.flatnonzero(np.append(user[1:] != user[:-1], True))
    last = last[last > 0]
    before = last - 1
    tied = (user[before] == user[last]) & (time[before] == time[last])
    return round(float(tied.sum() / frame["user"].nunique()), 4)
