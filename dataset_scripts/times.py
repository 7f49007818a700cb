"""Timestamps as seconds since 1970: from numbers in any of the usual units, from ISO dates, or from the order of the rows."""

import numpy as np
import pandas as pd

from .errors import ConversionError

# the largest numbers of each unit: 1e11 seconds lie in the year 5138, 1e11 milliseconds in 1973
TIME_UNITS = [(1e11, 1, "seconds"), (1e14, 1e3, "milliseconds"), (1e17, 1e6, "microseconds"), (np.inf, 1e9, "nanoseconds")]
ROW_ORDER = "row order"


def is_missing(values):
    return values.isna() | values.isin(["", "NA", "None", "null", "nan", "NaN"])


def to_numbers(values):
    """As float64, NaN for what is no number."""
    try:
        return pd.to_numeric(values, errors="coerce").astype(np.float64)
    except OverflowError:  # integers that no float holds
        return pd.to_numeric(values.astype(str), errors="coerce").astype(np.float64)


class Times:
    """Timestamps as seconds: from numbers (seconds down to nanoseconds, told apart by their size) or from ISO dates."""

    def __init__(self):
        self.kinds, self.first_missing = set(), None

    def read(self, values):
        numbers = to_numbers(values)
        textual = numbers.isna() & ~is_missing(values)
        if textual.any():
            dates = pd.to_datetime(values[textual].astype(str), format="ISO8601", utc=True, errors="coerce")
            numbers[textual] = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
            self.kinds |= {"dates"} if dates.notna().any() else set()
        self.kinds |= {"numbers"} if np.isfinite(numbers[~textual]).any() else set()
        return numbers.values

    def note_missing(self, part, chunk):
        missing = part.index[part["time"].isna()]
        if self.first_missing is None and len(missing):
            self.first_missing = chunk["line"].iloc[missing[0]]

    def finish(self, frame, path, malformed):
        """No timestamp at all: the order of the rows is the order. Some missing: those lines are malformed."""
        if len(self.kinds) == 2:
            raise ConversionError(f"{path}: some timestamps are numbers and some are dates. Bring them to one form.")
        if not self.kinds:
            return frame.assign(time=frame.groupby("user").cumcount().astype(np.float64)), ROW_ORDER
        known = frame["time"].notna()
        if not known.all():
            malformed.add(path, self.first_missing, "no timestamp (and others like it)", int((~known).sum()))
            frame = frame[known].reset_index(drop=True)
        return (frame, "dates") if self.kinds == {"dates"} else in_seconds(frame, path)


def in_seconds(frame, path):
    low, high = frame["time"].min(), frame["time"].max()
    unit = _unit(low)
    if unit != _unit(high):
        raise ConversionError(
            f"{path}: timestamps run from {low:.0f} to {high:.0f}, which cannot be one unit. Bring all to seconds since 1970."
        )
    _, per_second, name = unit
    return (frame if per_second == 1 else frame.assign(time=frame["time"] / per_second)), name


def _unit(time):
    return next(unit for unit in TIME_UNITS if abs(time) < unit[0])
