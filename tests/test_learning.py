"""What can be learned is learned, and noise is not."""

import random

import pytest
from pipeline import Run

THOROUGH = {"alignment_epochs": 15, "epochs": 12, "train_batch_size": 64, "hidden_size": 32, "inner_size": 64, "decoder_size": 32,
            "alignment_learning_rate": 0.01, "learning_rate": 0.01, "warm_learning_rate": 0.003,
            "hidden_dropout_prob": 0.1, "attn_dropout_prob": 0.1}


def shuffled(tiny):
    """The same items of the same users, in random order: the next item is anyone's guess."""
    file = tiny.folder / "tiny.inter"
    header, *lines = file.read_text().splitlines()
    columns = [line.split("\t") for line in lines]
    items = [item for _, item, _ in columns]
    random.Random(0).shuffle(items)
    file.write_text("\n".join([header, *("\t".join((user, item, time)) for (user, _, time), item in zip(columns, items))]) + "\n")
    return tiny


@pytest.mark.parametrize("ranking", ["generative", "fused"])
def test_a_chain_of_items_is_learned_and_the_losses_fall(tiny_dataset, ranking):
    run, losses = Run(tiny_dataset, **THOROUGH, ranking=ranking), []
    run.fit(callback_fn=lambda epoch, score: losses.append(run.trainer.train_loss_dict[epoch]))
    assert run.test()["ndcg@5"] > 0.9
    assert losses[-1] < losses[0]


def test_a_shuffled_chain_is_not_learned(tiny_dataset):
    by_chance = 5 / 60
    assert Run(shuffled(tiny_dataset), **THOROUGH).fit().test()["hit@5"] < 3 * by_chance
