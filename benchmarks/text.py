"""Text encoding: items per CPU second through recbole_prorec/text, and by sentence-transformers itself on batches sorted by length.

  python benchmarks/text.py [--items FILE.item --template "{title}. {brand}"]

Without a file the texts are made up, as long as Beauty's titles, brands, categories and prices. The encoder is loaded once, before the
clock starts."""

from unittest import mock

import common
import numpy as np
from workload import SEED, parse, parser

from recbole_prorec.text import encoder
from recbole_prorec.text.item_text import item_texts

REFERENCE, BATCH, WANTED = "sentence-transformers, sorted batches", 128, 0.9
WORDS = "moisturizing cream hair care shampoo skin night oil natural organic brush set palette lipstick nail polish gel women oz".split()


def made_up(number, rng):
    lengths = np.clip(rng.normal(19, 9, number), 3, 140).astype(int)  # words: Beauty has 20 +- 9, from 4 to 143
    return [" ".join(rng.choice(WORDS, length)) + f" {index}" for index, length in enumerate(lengths)]


def texts_of(flags):
    rng = np.random.default_rng(SEED)
    if flags.items is None:
        return made_up(flags.number, rng)
    with open(flags.items, encoding="utf-8") as file:
        keys = [line.split("\t")[0] for line in file][1:]
    return item_texts(flags.items, list(rng.choice(keys, min(flags.number, len(keys)), replace=False)), flags.template)


def main():
    flags = parser(__doc__, rounds=3, seconds=0)
    flags.add_argument("--items", help="an .item file")
    flags.add_argument("--template", help="an item as one text")
    flags.add_argument("--number", type=int, default=512, help="items encoded in one measurement")
    flags = parse(flags)
    texts, model = texts_of(flags), encoder.load_encoder("all-MiniLM-L6-v2")
    ordered = sorted(texts, key=len, reverse=True)
    with mock.patch.object(encoder, "load_encoder", lambda *_: model):
        variants = {REFERENCE: lambda: len(model.encode(ordered, batch_size=BATCH, show_progress_bar=False)),
                    "recbole_prorec/text": lambda: len(encoder.encode_texts(texts, "all-MiniLM-L6-v2", BATCH, show_progress=False))}
        rows, peak = common.measure(variants, "items", flags.rounds, flags.seconds, REFERENCE)
    goal = common.goal("text encoding, items/s (0.9 of the encoder's own)", WANTED * rows[0]["items/s"], rows[1], "items", peak)
    common.save("text", flags.command, "Text encoding", __doc__, [(f"{len(texts)} items, all-MiniLM-L6-v2", rows)], [goal], peak)


if __name__ == "__main__":
    main()
