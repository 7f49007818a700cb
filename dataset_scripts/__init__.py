"""Converters from the public raw files to RecBole's atomic files, one command per source.

A converter (amazon2014, amazon2023, movielens, yelp, steam, general) says only what is special about its source.
The road they share: files -> reading, tables -> interactions -> filters -> writing, with items beside it and command on top.
"""
