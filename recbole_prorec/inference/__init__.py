"""Trained models outside RecBole: raw item keys in, raw item keys out. Nothing here, nor what it imports, needs RecBole."""

from recbole_prorec.inference.recommender import Recommender, load

__all__ = ["Recommender", "load"]
