"""Which pictures a report has, and what each one shows."""

from recbole_prorec.report import figures


def all_pictures(source, numbers):
    """{file name: (figure, caption)}; the numbers of the maps, shares of variance, are added to `numbers`."""
    codes, quality = source.recommender.network.codes.cpu().numpy(), numbers["quality"]
    pictures = {f"curve-{stage}.png": (figures.curves(stage, points, numbers["valid_metric"]), f"Losses and validation score: {stage}.")
                for stage, points in numbers["curves"].items() if points}
    pictures["prefixes.png"] = figures.prefixes(codes), "Items below the prefixes of each length."
    numbers["maps"] = {}
    for name in ("E_S", "E_C", "integrated"):
        figure, numbers["maps"][name] = figures.maps(name, source.spaces[name][1:], codes[1:, 0])
        pictures[f"map-{name}.png"] = figure, f"Map of the items: {figures.SPACES[name]}."
    for measure, title in (("overlap", "Neighbourhoods that survive"), ("cka", "Pairwise similarities that survive (CKA)")):
        pictures[f"domination-{measure}.png"] = figures.domination(numbers["domination"]["survival"], measure, title), f"{title}."
    for name, what in (("popularity", "interactions of the target in training"), ("history_length", "interactions of the user before")):
        pictures[f"quality-{name}.png"] = (figures.bars_by_group(quality[f"by_{name}"], what, quality["depth"]),
                                           f"Quality by {what}, with two standard errors.")
    pictures["beam.png"] = figures.beam(numbers["beam"]["levels"]), "Targets that are still in the beam behind every code."
    return pictures
