"""Lists of users: constrained beams of 20 and 50, users per CPU second, and with --exact how often they are what scoring all items gives.

  python benchmarks/beam_search.py [--dataset=NAME --data_path=FOLDER --config_files=FILES]
  python benchmarks/beam_search.py --exact --checkpoint saved/PRORec-....pth [--test_users 1000 --rounds 3]

From histories of 20 items, which are 80 code tokens, to the scores that RecBole ranks (ours, SASRec) or to the list (the open TIGERs).
Codes are of 256 a level, as TIGER's, but for the variant with PRORec's default. PRORec leaves out items of the history, the others do not.
Every search is constrained to the codes of real items: ours by tensors, cornac's, torch-rechub's and Hugging Face's by dicts, the last
two through prefix_allowed_tokens_fn."""

import statistics

import common
import peers
import torch
from workload import MANY, K, T, Workload, parse, parser, scratch

REFERENCE, DEFAULT, TIGER = "PRORec, generative", "PRORec, generative, as many codes as fit", "TIGER, encoder_decoder"
BEAMS = (20, 50)
USERS, PEER_USERS = 256, 8  # ranked at once: TIGER's default; of the peers few, because their memory grows with users x beams


def ours(network, batch, beam_size, ranking=None):
    """run() -> users of a batch, ranked by the model as RecBole's evaluation does it."""
    network.eval()

    @torch.no_grad()
    def run():
        network.beam_size, network.ranking = beam_size, ranking
        network.full_sort_predict(batch)
        return len(batch)

    return run


def all_items(network, batch):
    """SASRec's full softmax and its best 20."""
    network.eval()

    @torch.no_grad()
    def run():
        network.full_sort_predict(batch).view(len(batch), -1).topk(BEAMS[0])
        return len(batch)

    return run


def variants(workload, models, others, beam_size):
    prorec, default, encoder_decoder, causal, sasrec = models
    batch, items = workload.prefixes(USERS, 1)[0], workload.items(PEER_USERS, T)
    found = {REFERENCE: ours(prorec, batch, beam_size, "generative"), "PRORec, fused": ours(prorec, batch, beam_size, "fused"),
             DEFAULT: ours(default, batch, beam_size, "generative"),
             "TIGER, causal": ours(causal, batch, beam_size), TIGER: ours(encoder_decoder, batch, beam_size),
             "SASRec of RecBole, all items": all_items(sasrec, batch)}
    return {**found, **{name: lambda model=model: model.rank(items, beam_size) for name, model in others.items()}}


def speed(flags):
    with scratch() as folder:
        workload = Workload(flags, folder)
        models = [workload.trainer(name, **changes)[0] for name, changes in (
            ("PRORec", {}), ("PRORec", {"codebook_size": MANY}), ("TIGER", {"backbone": "encoder_decoder"}),
            ("TIGER", {"backbone": "causal"}), ("SASRec", {}))]
        others, tables, goals = peers.available(workload, K, T), [], []
        for beam_size, wanted, wanted_tiger in zip(BEAMS, (2500, 1200), (250, 150)):
            rows, peak = common.measure(variants(workload, models, others, beam_size), "users", flags.rounds, flags.seconds, REFERENCE)
            row = {row["variant"]: row for row in rows}
            tables.append((f"Beam {beam_size}", rows))
            goals += [common.goal(f"beam {beam_size}, PRORec with 256 codes, users/s", wanted, row[REFERENCE], "users", peak),
                      common.goal(f"beam {beam_size}, TIGER's own shape, users/s", wanted_tiger, row[TIGER], "users", peak)]
    common.save("beam_search", flags.command, "Beam search", __doc__, tables, goals, peak)


def exact(flags):
    """The ten best of a beam against the ten best of all items, what that does to the metrics, and what it costs."""
    from recbole.quick_start import load_data_and_model

    config, network, _, _, _, test_data = load_data_and_model(flags.checkpoint)
    network.eval()
    *histories, targets = test_users(network, test_data, flags.test_users)
    tables = [(f"{config['dataset']}, {ranking}, {len(targets)} test users", compared(network, histories, targets, ranking, flags))
              for ranking in ("generative", "fused")]
    common.save("exactness", flags.command, "Beam search against all items", exact.__doc__, tables)


@torch.no_grad()
def compared(network, histories, targets, ranking, flags):
    """Rows of the ways to a ranking's ten best of every user."""
    def scored():
        return network.exact_scores(*histories).topk(10).indices

    def found(size, scope="beam"):
        network.fusion_scope = scope
        return network.best(*histories, size)[0][:, :10]

    network.ranking = ranking
    ways = {"all items, scored": scored, **{f"beam {size}": lambda size=size: found(size) for size in BEAMS}}
    if ranking == "fused":
        ways["all items, by bounds"] = lambda: found(10, "all")
    rates = common.alternate({name: lambda way=way: len(way()) for name, way in ways.items()}, flags.rounds, flags.seconds)[0]
    lists = {name: way() for name, way in ways.items()}
    best = lists["all items, scored"]
    return [{"way": name, **metrics(items, targets), "% of users with the same top 10": share(items, best),
             "in any order": share(items.sort(1)[0], best.sort(1)[0]), "users/s": statistics.median(rates[name])}
            for name, items in lists.items()]


def test_users(network, test_data, number):
    """Histories [U, T], their lengths and test items [U] of the first users."""
    found = []
    for interaction, _, _, items in test_data:
        found.append((interaction[network.ITEM_SEQ], interaction[network.ITEM_SEQ_LEN], items))
    return [torch.cat(parts)[:number] for parts in zip(*found)]


def share(lists, others):
    """Per cent of the rows that are equal."""
    return 100 * float((lists == others).all(1).float().mean())


def metrics(items, targets):
    hit = items == targets.unsqueeze(1)
    gain = 1 / torch.arange(2, 12).log2()
    return {"Recall@10": float(hit.any(1).float().mean()), "NDCG@10": float((hit * gain).sum(1).mean())}


def main():
    flags = parser(__doc__, rounds=5, seconds=1)
    flags.add_argument("--exact", action="store_true", help="compare with scoring all items instead of measuring speed")
    flags.add_argument("--checkpoint", type=common.existing_file, help="a trained PRORec, for --exact")
    flags.add_argument("--test_users", type=int, default=1000, help="how many, for --exact")
    flags = parse(flags)
    if flags.exact and not flags.checkpoint:
        raise SystemExit("--exact compares lists of a trained model: name it by --checkpoint")
    exact(flags) if flags.exact else speed(flags)


if __name__ == "__main__":
    main()
