"""Bad input is one clear error before any training, or has a stated and harmless effect."""

import io
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from markov_data import write_markov_dataset
from pipeline import Run

from recbole_prorec.errors import InputError

TOP_2 = {"topk": [2], "valid_metric": "NDCG@2"}


def refused(tiny, message, **changes):
    """Refused when the model is built."""
    with pytest.raises(InputError, match=message):
        Run(tiny, **changes)


@pytest.mark.parametrize("name, value, message", [
    ("n_levels", 0, "n_levels is 0; expected .* at least 1"), ("n_levels", 1.5, "n_levels is 1.5; expected a whole number"),
    ("n_levels", True, "n_levels is True; expected a whole number"), ("n_levels", None, "n_levels is None"),
    ("codebook_size", 0, "codebook_size is 0; expected .* at least 2"), ("codebook_size", 1, "codebook_size is 1; expected .* at least 2"),
    ("codebook_size", "many", "codebook_size is 'many'; expected"),
    ("beam_size", 19, "beam_size 19 is below the largest topk 20.*Set beam_size to 20"),
    ("beam_size", 0, "beam_size is 0"), ("ranking", "fuse", "ranking is 'fuse'; expected one of generative, fused"),
    ("fusion_scope", "none", "fusion_scope is 'none'; expected one of beam, all"), ("alignment_input", "text", "alignment_input is 'text'"),
    ("learning_rate_decay", "linear", "learning_rate_decay is 'linear'; expected one of cosine, none"),
    ("integrated_embedding", "mean", "integrated_embedding is 'mean'; expected one of sum"),
    ("hidden_dropout_prob", 1.0, r"hidden_dropout_prob is 1.0; a dropout rate lies in \[0, 1\)"),
    ("text_dropout_prob", -0.1, "text_dropout_prob"),
    ("collaborative_dropout_prob", 1.0, "collaborative_dropout_prob is 1.0"),
    ("hidden_dropout_prob", "half", "hidden_dropout_prob is 'half'"), ("alignment_temperature", 0, "alignment_temperature is 0"),
    ("alignment_temperature", float("nan"), "alignment_temperature is nan"),
    ("learning_rate", None, "learning_rate is None; expected a number above 0"),
    ("warm_learning_rate", -0.003, "warm_learning_rate is -0.003"),
    ("alignment_learning_rate", "fast", "alignment_learning_rate is 'fast'"), ("epochs", 1.5, "epochs is 1.5; expected a whole number"),
    ("stopping_step", None, "stopping_step is None"), ("alignment_stopping_step", None, "alignment_stopping_step is None"),
    ("text_embedding_size", "x", "text_embedding_size is 'x'"),
    ("distillation_weight", float("nan"), "distillation_weight is nan"),
    ("alignment_weight", -1, "alignment_weight is -1"), ("distillation_weight", 1.5, "distillation_weight is 1.5"),
    ("text_whitening", 1.5, "text_whitening is 1.5; expected a number from 0 to 1"), ("text_whitening", True, "text_whitening is True"),
    ("history_sum", "some", "history_sum is .some.; expected one of True, False"),
    ("hidden_size", 15, "hidden_size 15 is no multiple of n_heads 2"),
    ("decoder_size", 9, "decoder_size 9 is no multiple of decoder_heads 2"),
    ("window_stride", 21, "window_stride 21 is above MAX_ITEM_LIST_LENGTH 20"), ("window_stride", 0, "window_stride is 0"),
    ("topk", [5, 10, 61], "beam_size 20 is below the largest topk 61"),
    ("topk", [5, 20], "valid_metric is .NDCG@10., which is not computed; expected one of .*NDCG@5, NDCG@20"),
    ("text_template", {"title": None}, "text_template is {'title': None}; expected text.*in quotes"),
    ("text_template", 5, "text_template is 5"),
    ("text_encoder", None, "text_encoder is None"), ("text_embedding_file", 5, "text_embedding_file is 5"),
    ("loss_type", "nonsense", "loss_type is 'nonsense'; expected one of CE"),
    ("learner", "lion", "learner is 'lion'; expected one of adam, "), ("learner", "sparse_adam", "learner is 'sparse_adam'"),
    ("weight_decay", -1, "weight_decay is -1; expected a number from 0 on"), ("weight_decay", None, "weight_decay is None"),
    ("clip_grad_norm", 5, "clip_grad_norm is 5; expected a dictionary, such as {'max_norm'"),
    ("seed", -1, "seed is -1; expected a whole number from 0 to 4294967295"), ("seed", 5000000000, "seed is 5000000000; expected"),
    ("train_batch_size", 0, "train_batch_size is 0; expected a whole number from 1 on"), ("eval_batch_size", 0, "eval_batch_size is 0"),
    ("metrics", ["NDCG", "Foo"], "RecBole has no metric called 'Foo'; expected some of .*NDCG"),
    ("cache_dir", 2024, "cache_dir is 2024"), ("text_batch_size", 2.5, "text_batch_size is 2.5; expected a whole number"),
])
def test_a_setting_that_cannot_work_is_refused(tiny_dataset, name, value, message):
    refused(tiny_dataset, message, **{name: value})


def test_a_catalogue_of_one_item_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["pytest"])
    refused(write_markov_dataset(tmp_path, n_items=1), "one item alone", topk=[1], valid_metric="NDCG@1")


def test_codes_too_few_for_the_catalogue_are_refused(tiny_dataset):
    refused(tiny_dataset, "1 levels of 7 codes.* name 49 items at most.*has 60.*Raise n_levels or codebook_size", n_levels=1,
            codebook_size=7)


def test_more_codes_than_the_catalogue_can_fill_are_lowered_with_a_note(tiny_dataset, caplog):
    run = Run(tiny_dataset, codebook_size=256, alignment_epochs=1, state="INFO")
    with caplog.at_level(logging.INFO):
        run.fit()
    assert run.model.codebook_size == 15
    assert "2 levels x 15 codes (not 256: too many for 60 items)" in caplog.text


def test_a_topk_of_more_items_than_there_are_is_refused(tmp_path, small):
    refused(small(5), "catalogue has 5 items, but topk asks for 10. Lower topk", topk=[10])


def test_a_topk_of_more_items_than_a_history_leaves_is_refused(small):
    place = small(12, n_users=24, length=9)
    with pytest.raises(InputError, match="topk asks for 6 items, but exclude_seen.* leaves 5 of 12. Lower topk, or set exclude_seen"):
        Run(place, topk=[6], valid_metric="NDCG@6", ranking="stage1").fit()  # 7 items of a history that is validated
    run = Run(place, topk=[4], valid_metric="NDCG@4", ranking="stage1").fit()
    assert run.model.exclude_seen and 0 <= run.test()["recall@4"] <= 1  # 8 items of a history that is tested


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A function from the size of a catalogue to a data set of so many items."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["pytest"])
    return lambda n_items, **changes: write_markov_dataset(tmp_path, n_items=n_items, **changes)


@pytest.mark.parametrize("seed", range(3))
def test_a_catalogue_of_five_items_works(small, seed):
    run = Run(small(5), seed=seed, n_levels=3, codebook_size=256, **TOP_2).fit()
    assert len(np.unique(run.model.codes[1:].numpy(), axis=0)) == 5
    assert 0 <= run.test()["hit@2"] <= 1


def rewrite(tiny, users):
    """Keep the first interactions of every user: users {user: how many}."""
    header, *lines = (tiny.folder / "tiny.inter").read_text().splitlines()
    kept, seen = [header], {}
    for line in lines:
        user = line.split("\t")[0]
        seen[user] = seen.get(user, 0) + 1
        if seen[user] <= users.get(user, 10):
            kept.append(line)
    (tiny.folder / "tiny.inter").write_text("\n".join(kept) + "\n")


NO_FILTER = {"user_inter_num_interval": None, "item_inter_num_interval": None}


def test_users_of_fewer_than_three_interactions_train_or_count_for_nothing(tiny_dataset):
    rewrite(tiny_dataset, {"u0": 1, "u1": 2, "u2": 3})
    run = Run(tiny_dataset, **NO_FILTER).fit()
    assert len(run.test_data.dataset) == 78  # not u0 and u1
    assert len(run.valid_data.dataset) == 77  # nor u2, whose three items are one for training, one to predict from it, one for the test
    assert run.trainer.histories.n_targets == 77 * 7 + 2  # one of u1 and one of u2
    assert np.isfinite(run.test()["ndcg@10"])


def test_nobody_with_two_interactions_is_one_clear_error(tiny_dataset):
    rewrite(tiny_dataset, {f"u{user}": 1 for user in range(80)})
    with pytest.raises(InputError, match="'tiny': no user has an item to be predicted.*at least 3 interactions"):
        Run(tiny_dataset, **NO_FILTER).fit()


def test_nobody_with_three_interactions_trains_without_validation(tiny_dataset):
    rewrite(tiny_dataset, {f"u{user}": 2 for user in range(80)})
    run = Run(tiny_dataset, **NO_FILTER, **TOP_2).fit()
    assert len(run.trained) == 6 and run.valid_result is None


def with_items(tiny, lines):
    (tiny.folder / "tiny.item").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_no_text_field_is_one_clear_error(tiny_dataset):
    run = Run(tiny_dataset, text_embedding_file=None, text_template=None)
    with_items(tiny_dataset, ["item_id:token", *(f"i{i}" for i in range(60))])
    with pytest.raises(InputError, match="no field besides 'item_id'.*set text_embedding_file"):
        run.fit()
    assert run.trained == []


def test_no_text_at_all_is_one_clear_error(tiny_dataset):
    run = Run(tiny_dataset, text_embedding_file=None, text_template=None)
    with_items(tiny_dataset, ["item_id:token\ttitle:token", *(f"i{i}\t" for i in range(60))])
    with pytest.raises(InputError, match="none of the 60 items has a text"):
        run.fit()


def test_no_item_file_is_one_clear_error(tiny_dataset):
    run = Run(tiny_dataset, text_embedding_file=None)
    (tiny_dataset.folder / "tiny.item").unlink()
    with pytest.raises(InputError, match="there is no item file .*tiny.item"):
        run.fit()


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_text_embeddings_that_are_no_numbers_are_refused(tiny_dataset, broken):
    run = Run(tiny_dataset)
    file = tiny_dataset.folder.parent / "text.npz"
    content = dict(np.load(file))
    content["embeddings"][3, 2] = broken
    np.savez(file, **content)
    with pytest.raises(InputError, match="1 embeddings from .*text.npz hold NaN or infinity.*row 3"):
        run.fit()


def test_a_cache_folder_that_cannot_be_written_is_one_clear_error(tiny_dataset):
    (tiny_dataset.folder.parent / "file").write_text("")
    run = Run(tiny_dataset, cache_dir=str(tiny_dataset.folder.parent / "file" / "cache"))
    with pytest.raises(InputError, match="the folder .*file/cache cannot be used.*set `cache_dir`"):
        run.fit()
    assert run.trained == []


def test_a_checkpoint_folder_that_cannot_be_written_is_one_clear_error_before_any_training(tiny_dataset):
    file = tiny_dataset.folder.parent / "file"
    file.write_text("")
    refused(tiny_dataset, "the folder .*/file cannot be used.*set `checkpoint_dir`", checkpoint_dir=str(file))


def test_a_disk_that_fills_up_loses_no_finished_stage_and_leaves_no_half_checkpoint(tiny_dataset, monkeypatch):
    save = torch.save

    def disk_full(state, file, **kwargs):
        if isinstance(file, io.BytesIO):  # an artifact of the cache
            return save(state, file, **kwargs)
        file.write(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    run = Run(tiny_dataset)
    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(InputError, match="write failed, while .*PRORec-.*pth was written; finished stages are kept in .*`checkpoint_dir`"):
        run.fit()
    assert list(Path(run.config["checkpoint_dir"]).iterdir()) == [] and run.trained
    monkeypatch.undo()
    again = Run(tiny_dataset).fit()
    assert not set(again.trained) & {(stage, epoch) for stage, epoch in run.trained if stage == "alignment"}
    assert Path(again.trainer.saved_model_file).exists()


def test_items_that_no_codes_tell_apart_are_one_clear_error(tiny_dataset):
    run = Run(tiny_dataset, integrated_embedding="semantic")
    file = tiny_dataset.folder.parent / "text.npz"
    content = dict(np.load(file))
    np.savez(file, item_keys=content["item_keys"], embeddings=np.ones_like(content["embeddings"]))
    with pytest.raises(InputError, match="60 items share one code tuple.*different texts"):
        run.fit()


def test_a_loss_that_is_no_number_stops_the_run(tiny_dataset):
    run = Run(tiny_dataset, learning_rate=float("inf"))
    with pytest.raises(ValueError, match=re.escape("nan")):
        run.fit()
