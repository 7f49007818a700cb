"""Item fields -> one string -> text embeddings [n_items, D_text]. The encoder is imported when there is something to encode."""

from recbole_prorec.text.embedding_file import load_embedding_file
from recbole_prorec.text.encoder import encode_texts, text_embeddings
from recbole_prorec.text.encoder_source import resolve_encoder
from recbole_prorec.text.item_text import item_texts, read_item_fields, render

__all__ = ["encode_texts", "item_texts", "load_embedding_file", "read_item_fields", "render", "resolve_encoder", "text_embeddings"]
