"""Every number of a report, as json can hold it."""

import numpy as np

from recbole_prorec.report.codes import code_numbers
from recbole_prorec.report.domination import domination_numbers
from recbole_prorec.report.quality import beam_numbers, beam_survival, by_group, metrics, recall_and_ndcg, recommended

N_SAMPLES = 6
LONGEST_HISTORY = 10  # items of a history that are shown
DEPTH = 10
SHOWN_SETTINGS = ("dataset", "ranking", "integrated_embedding", "quantizer", "text_encoder", "hidden_size", "n_levels", "codebook_size",
                  "beam_size", "seed")


def all_numbers(source, checkpoint):
    recommender, cases = source.recommender, source.cases
    depth = min(DEPTH, recommender.n_items, recommender.network.beam_size)
    lists = recommended(recommender, cases.histories, depth)
    recall, ndcg = recall_and_ndcg(lists, cases.targets)
    popularity = source.popularity[cases.targets]
    codes = recommender.network.codes.cpu().numpy()
    return {
        "checkpoint": str(checkpoint), "model": recommender.model,
        "settings": {name: source.settings.get(name) for name in SHOWN_SETTINGS}, "fusion_weight": float(recommender.network.fusion_weight),
        "n_items": recommender.n_items, "n_test_rows": len(cases.targets), "valid_metric": source.settings.get("valid_metric"),
        "curves": source.curves, "codes": code_numbers(codes, recommender.network.codebook_size),
        "quality": {"depth": depth, "all": metrics(recall, ndcg), "by_popularity": by_group(popularity, recall, ndcg),
                    "by_history_length": by_group(cases.n_before, recall, ndcg)},
        "beam": {"size": recommender.network.beam_size, "levels": beam_numbers(beam_survival(recommender, cases))},
        "domination": domination_numbers(source.spaces, codes), "samples": samples(source, lists),
        "codes_of_items": dict(zip(recommender.item_keys[1:], codes[1:].tolist())),
    }


def samples(source, lists):
    """A few users drawn at random, with their histories and recommendations as item ids' keys and texts."""
    cases = source.cases
    chosen = np.sort(np.random.default_rng(0).permutation(len(cases.targets))[:N_SAMPLES])

    def named(items):
        return [{"key": source.recommender.item_keys[item], "text": source.texts[item]} for item in items if item]

    return [{"user": str(cases.user_keys[row]), "interactions_before": int(cases.n_before[row]),
             "history": named(cases.histories[row][-LONGEST_HISTORY:]), "target": named([cases.targets[row]])[0],
             "recommended": named(lists[row])} for row in chosen]
