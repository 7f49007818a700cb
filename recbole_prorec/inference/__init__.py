"""Trained models outside RecBole: raw item keys in, raw item keys out. Nothing here, nor what it imports, needs RecBole."""

import csv

from recbole_prorec.inference.recommender import Recommender, load

__all__ = ["Recommender", "load"]

csv.field_size_limit(2**31 - 1)  # Python's own, 131,072 characters, is less than a long text or history
