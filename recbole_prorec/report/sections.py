"""What the page says, section by section: each takes (source, numbers, shown), shown(prefix) being the pictures of that name."""

from recbole_prorec.report.codes import code_tree
from recbole_prorec.report.elements import definitions, item, paragraph, table
from recbole_prorec.report.figures import LOSSES, N_COLOURS, SPACES, span
from recbole_prorec.report.tree import explorer


def overview(source, numbers, shown):
    settings = [(name, "none" if value is None else value) for name, value in numbers["settings"].items()]
    quality, depth = numbers["quality"]["all"], numbers["quality"]["depth"]
    return (paragraph(f"{numbers['n_items']} items, {numbers['n_test_rows']} test rows: Recall@{depth} {_with_error(quality, 'recall')}, "
                      f"NDCG@{depth} {_with_error(quality, 'ndcg')} (mean ± standard error), ranking: {numbers['settings']['ranking']}"
                      + (f", fusion weight {numbers['fusion_weight']:g}" if numbers["settings"]["ranking"] == "fused" else "") + ".")
            + "<details><summary>Settings</summary>" + table(("setting", "value"), settings) + "</details>")


def curves(source, numbers, shown):
    if not numbers["curves"]:
        return paragraph("The checkpoint holds none: it was trained by a version that did not keep them.")
    said = "; ".join(f"{stage}: {', '.join(names)}" for stage, names in LOSSES.items())
    return paragraph("Training losses, as they enter the sum that is minimised, are means over an epoch's batches. "
                     f"({said}.) The score is {numbers['valid_metric']} on validation; each stage keeps its best epoch.") + shown("curve")


def codes(source, numbers, shown):
    code = numbers["codes"]
    last = len(code["levels"])
    levels = [(f"{row['level']}" + (" (tells collisions apart)" if row["level"] == last else ""),
               f"{row['used']} of {row['codebook_size']}",
               f"{row['entropy_bits']:.2f} of {row['most_bits']:.2f}") for row in code["levels"]]
    prefixes = [(row["length"], row["n_prefixes"], row["largest"], f"{row['median']:g}", row["with_one_item"]) for row in code["prefixes"]]
    return (paragraph("Codes used of each level, and the entropy of their use over items, -Σ p log2 p: as many bits as log2 of the "
                      "codebook's size if every code is used alike.")
            + table(("level", "codes used", "entropy, bits"), levels)
            + paragraph(f"Collisions, items whose codes another item has too: {code['items_in_collisions']['before']} of {code['n_items']} "
                        f"before the last level, {code['items_in_collisions']['after']} with it.")
            + table(("prefix of", "prefixes", "items: largest", "median", "with one item"), prefixes) + shown("prefixes"))


def tree(source, numbers, shown):
    table_of_codes = source.recommender.network.codes.cpu().numpy()
    return (paragraph("A prefix of codes, how many items have it, and the first of them; behind an item stands its key. Unfold a prefix to "
                      "go on.") + explorer(code_tree(table_of_codes), source.recommender.item_keys, source.texts))


def maps(source, numbers, shown):
    return paragraph(f"The first two principal components (PCA) of each space, a point for an item, coloured by the item's first code: "
                     f"the {N_COLOURS} most frequent codes have a colour, all others are grey.") + shown("map")


def samples(source, numbers, shown):
    return "".join(_sample(sample) for sample in numbers["samples"])


def _sample(sample):
    target, history = sample["target"], reversed(sample["history"])
    hit = any(each["key"] == target["key"] for each in sample["recommended"])
    seen = "".join(f"<li>{item(**each)}</li>" for each in history)
    found = "".join(f"<li{' class=hit' if each['key'] == target['key'] else ''}>{item(**each)}</li>" for each in sample["recommended"])
    return (f"<h3>User {item(sample['user'], '')}</h3><p>Came next: {item(**target)} ({'found' if hit else 'not found'})</p>"
            f'<div class="columns"><div>History, the latest first ({sample["interactions_before"]} in all)<ol>{seen}</ol></div>'
            f"<div>Recommended<ol>{found}</ol></div></div>")


def beam(source, numbers, shown):
    rows = [(row["level"], f"{row['in_beam']:.1%}", f"{row['lost_here']:.1%}") for row in numbers["beam"]["levels"]]
    apart = " This model ranks all items without a beam; these are the losses that it is spared." if (
        source.recommender.network.is_exhaustive) else ""
    return paragraph(f"Share of the test rows whose target's prefix is still among the {numbers['beam']['size']} of the beam behind each "
                     f"code, and the share that is lost at that code.{apart}") + table(("code", "in the beam", "lost here"), rows) \
        + shown("beam")


def quality(source, numbers, shown):
    parts = [paragraph("Test rows in groups of sizes as equal as ties allow; ± is one standard error, the bars in the pictures are two. "
                       "Popularity of a target: its interactions in training. History length: the user's interactions in training and "
                       "validation, of which the model reads the latest ones.")]
    for name, what in (("by_popularity", "popularity of the target"), ("by_history_length", "history length")):
        rows = [(span(row), row["users"], _with_error(row, "recall"), _with_error(row, "ndcg")) for row in numbers["quality"][name]]
        depth = numbers["quality"]["depth"]
        parts.append(table((what, "test rows", f"Recall@{depth}", f"NDCG@{depth}"), rows))
    return "".join(parts) + shown("quality")


def domination(source, numbers, shown):
    domination = numbers["domination"]
    k = domination["k"]
    about = [
        ("The question", "Put side by side, one modality can drown the other: then neighbours in the combination are the neighbours of "
         "that modality alone. Each column is a modality, each row a representation of the same items, each number what survives of the "
         "one in the other."),
        ("Modalities", "E_C: the collaborative embeddings of stage 1. E_S: the text encoder's embeddings. E_T: E_S behind the adaptation "
         "layer. Their mean lengths: " + ", ".join(f"{name} {length:.3g}" for name, length in domination["mean_length"].items()) + "."),
        ("Representations", f"Naive concatenation: [E_C, E_S] as they are. Integrated: what was quantized (integrated_embedding: "
         f"{numbers['settings']['integrated_embedding']}). Codes: one-hot prefixes, a column for every prefix of every length, without the "
         "level that tells collisions apart, so that the similarity of two items is the number of leading codes they share."),
        (f"Overlap of neighbourhoods, k = {k}", f"Mean over items of the share of its {k} nearest neighbours by cosine, itself left out, "
         "that are among its nearest in the other space as well. Items that tie for the last places, as of codes they do, share them: the "
         f"number is the mean over all orders of tied items, and so stays below 1 even between equal codes. 1: all neighbours survive; by "
         f"chance: {domination['overlap_by_chance']:.4f}."),
        ("Linear CKA", "Of centred X and Y: |Y'X|² / (|X'X| |Y'Y|), Frobenius norms: how alike the similarities of all pairs of items "
         "are. 1: equal but for a rotation and a scale; 0: unrelated."),
        ("Items", f"{domination['n_items']} of {numbers['n_items']}" + (", drawn at random." if domination["n_items"] < numbers["n_items"]
                                                                       else ".")),
    ]
    return definitions(about) + _survival(domination, "overlap", f"Overlap of the {k} nearest neighbours") \
        + _survival(domination, "cka", "Linear CKA") + shown("domination")


def _survival(domination, measure, title):
    survival = domination["survival"]
    names = list(next(iter(survival.values())))
    rows = [(name if name in survival else SPACES[name], *(f"{row[name][measure]:.3f}" for row in survival.values())) for name in names]
    return f"<h3>{title}</h3>" + table(("survives in", *(f"of {name}" for name in survival)), rows)


def _with_error(row, name):
    error = row[f"{name}_error"]
    return f"{row[name]:.4f}" + (f" ± {error:.4f}" if error is not None else "")


ALL = (("overview", "Overview", overview), ("curves", "Learning curves", curves), ("codes", "Codes", codes),
       ("tree", "Code tree", tree), ("maps", "Maps", maps), ("domination", "Semantic domination", domination),
       ("quality", "Quality by kinds of items and users", quality), ("beam", "Where the beam loses the target", beam),
       ("samples", "Sample users", samples))
