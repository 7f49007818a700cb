"""Training: samples (one target item each) per CPU second, of PRORec's two stages, TIGER on both backbones, SASRec, and the open TIGERs.

  python benchmarks/training.py [--dataset=NAME --data_path=FOLDER --config_files=FILES]

Every history has 20 items, which are 80 code tokens, of 256 codes a level as TIGER's but for the variant with PRORec's default. A step is
the trainer's own: batch, forward, backward, optimizer. Causal networks train 20 targets of a history in one pass, the others one. Stage 2
of PRORec is all its epochs, with the one pass of its teacher.
In the second table histories are as long as the data set's."""

from types import SimpleNamespace

import common
import peers
from workload import MANY, SEED, K, T, Workload, parse, parser, scratch

from recbole_prorec.data.histories import TARGETS, WindowBatches
from recbole_prorec.data.prefixes import PrefixBatches

REFERENCE, DEFAULT, TIGER = "PRORec, stage 2", "PRORec, stage 2, as many codes as fit", "TIGER, encoder_decoder"
TARGETS_A_STEP, PREFIXES, SASREC_BATCH = 512, 256, 256  # the first two are the defaults of PRORec and TIGER
HISTORIES = TARGETS_A_STEP // T
BATCHES = 8  # of real lengths in one call


class Epoch(list):
    """Batches as RecBole's trainer takes them."""

    shuffle = False


def ours(made, batches, n_samples):
    """run() -> the samples of an epoch of `batches`, by the model's own trainer."""
    batches, (_, trainer) = Epoch(batches), made
    trainer.batches = lambda seed: batches

    def run():
        trainer._train_epoch(batches, 0)
        return n_samples

    return run


def taught(made, batches, n_samples, n_targets):
    """The same for PRORec's second stage: as many epochs as it has, the one pass of its teacher included. n_targets: of all the data."""
    batches, (model, trainer) = Epoch(batches), made

    def run():
        trainer.batches, trainer.histories = lambda seed: batches, SimpleNamespace(n_targets=n_targets)
        model.teacher.forget()
        for epoch in range(trainer.epochs):
            trainer._train_epoch(batches, epoch)
        return trainer.epochs * n_samples

    return run


def recboles(made, batches, n_samples):
    """The same for a model of RecBole's, as it comes."""
    return lambda: made[1]._train_epoch(Epoch(batches), 0) and n_samples


def peer(model, items, targets):
    return lambda: model.train(items, targets)


def full_histories(workload, backbones):
    stage_1, stage_2, default, causal, encoder_decoder, sasrec = backbones
    windows, prefixes = workload.windows(HISTORIES, 2), workload.prefixes(PREFIXES, 1)
    n_targets = 2 * HISTORIES * T
    variants = {REFERENCE: taught(stage_2, windows, n_targets, n_targets), DEFAULT: taught(default, windows, n_targets, n_targets),
                "PRORec, stage 1": ours(stage_1, windows, n_targets),
                "TIGER, causal": ours(causal, windows, n_targets), TIGER: ours(encoder_decoder, prefixes, PREFIXES),
                "SASRec of RecBole": recboles(sasrec, workload.prefixes(SASREC_BATCH, 2), 2 * SASREC_BATCH)}
    items, targets = workload.items(peers.BATCH, T), workload.items(peers.BATCH)
    return {**variants, **{name: peer(model, items, targets) for name, model in peers.available(workload, K, T).items()}}


def real_histories(workload, backbones):
    stage_1, stage_2, default, causal, encoder_decoder, _ = backbones
    histories = workload.histories()
    windows = some(WindowBatches(histories, T, 10, TARGETS_A_STEP, "cpu", SEED), BATCHES)
    prefixes = some(PrefixBatches(workload.train_data._dataset, PREFIXES, "cpu", SEED), 2)
    n_targets = sum(int((batch[TARGETS] > 0).sum()) for batch in windows)
    return {REFERENCE: taught(stage_2, windows, n_targets, histories.n_targets),
            DEFAULT: taught(default, windows, n_targets, histories.n_targets), "PRORec, stage 1": ours(stage_1, windows, n_targets),
            "TIGER, causal": ours(causal, windows, n_targets), TIGER: ours(encoder_decoder, prefixes, sum(map(len, prefixes)))}


def some(batches, number):
    return [batch for batch, _ in zip(batches, range(number))]


def main():
    flags = parse(parser(__doc__, rounds=5, seconds=2))
    with scratch() as folder:
        workload = Workload(flags, folder)
        backbones = [workload.aligner(), *(workload.trainer(name, **changes) for name, changes in (
            ("PRORec", {}), ("PRORec", {"codebook_size": MANY}), ("TIGER", {"backbone": "causal"}),
            ("TIGER", {"backbone": "encoder_decoder"}), ("SASRec", {})))]
        full, peak = common.measure(full_histories(workload, backbones), "samples", flags.rounds, flags.seconds, REFERENCE)
        real, _ = common.measure(real_histories(workload, backbones), "samples", flags.rounds, flags.seconds / 2, REFERENCE)
    row = {row["variant"]: row for row in full}
    goals = [common.goal("training, PRORec with 256 codes (stage 2), samples/s", 10_000, row[REFERENCE], "samples", peak),
             common.goal("training, TIGER's own shape (4+4, 80 tokens), samples/s", 250, row[TIGER], "samples", peak)]
    tables = [("Full histories: 20 items", full), (f"Histories as long as those of the data set: {flags.dataset}", real)]
    common.save("training", flags.command, "Training", __doc__, tables, goals, peak)


if __name__ == "__main__":
    main()
