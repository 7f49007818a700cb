"""Converters from the public raw files to RecBole's atomic files, one command per source.

A converter (amazon2014.py, amazon2023.py, movielens.py, yelp.py, steam.py, general.py) says only what is special about its source.
The road they share: files -> reading -> interactions -> filters -> writing, items beside it, and command on top.
"""
