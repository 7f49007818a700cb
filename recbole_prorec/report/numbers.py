"""Every number of a report, as json can hold it."""

import numpy as np

from recbole_prorec.report.codes import code_numbers
from recbole_prorec.report.domination import N_NEIGHBOURS, code_prefixes, survival
from recbole_prorec.report.quality import beam_numbers, beam_survival, by_group, metrics, recall_and_ndcg, recommended

N_SAMPLES = 6
LONGEST_HISTORY = 10  # items of a history that are shown
DEPTH = 10
MOST_ITEMS = 2000  # that are compared pair by pair
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
        "domination": domination_numbers(source, codes), "samples": samples(source, lists),
        "codes_of_items": dict(zip(recommender.item_keys[1:], codes[1:].tolist())),
    }


def domination_numbers(source, codes):
    """What survives of each modality; of a large catalogue, over items drawn at random."""
    items = np.arange(1, len(codes))
    if len(items) > MOST_ITEMS:
        items = np.sort(np.random.default_rng(0).choice(items, MOST_ITEMS, replace=False))
    k = min(N_NEIGHBOURS, len(items) - 1)
    spaces = {name: space[items] for name, space in source.spaces.items()}
    modalities = {name: spaces[name] for name in ("E_C", "E_T", "E_S")}
    compared = {**modalities, "naive": spaces["naive"], "integrated": spaces["integrated"], "codes": code_prefixes(codes[items, :-1])}
    lengths = {name: float(np.linalg.norm(space, axis=1).mean()) for name, space in modalities.items()}
    return {"n_items": len(items), "k": k, "overlap_by_chance": k / (len(items) - 1), "mean_length": lengths,
            "survival": survival(modalities, compared, k)}


def samples(source, lists):
    """A few users drawn at random, with their histories and recommendations as item ids' keys and texts."""
    cases = source.cases
    chosen = np.sort(np.random.default_rng(0).permutation(len(cases.targets))[:N_SAMPLES])

    def named(items):
        return [{"key": source.recommender.item_keys[item], "text": source.texts[item]} for item in items]

    return [{"user": str(cases.user_keys[row]), "interactions_before": int(cases.n_before[row]),
             "history": named(cases.histories[row][-LONGEST_HISTORY:]), "target": named([cases.targets[row]])[0],
             "recommended": named(lists[row])} for row in chosen]
