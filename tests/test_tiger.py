"""TIGER keeps RecBole's contract with both backbones, learns, resumes, and shares its codes with PRORec."""

import copy
import pickle

import pytest
import torch
from markov_data import write_markov_dataset
from pipeline import Run

from recbole_prorec.data.prefixes import PrefixBatches
from recbole_prorec.errors import InputError

BACKBONES = ("encoder_decoder", "causal")
SMALL = {"model": "TIGER", "decoder_layers": 1, "head_size": 8, "train_batch_size": 64, "rqvae_epochs": 5}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiger")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["pytest"])
        yield write_markov_dataset(folder)


@pytest.fixture(scope="module", params=BACKBONES)
def run(place, request):
    """A trained run; the tests read it and leave it as it is."""
    return Run(place, **SMALL, backbone=request.param).fit()


@pytest.fixture
def model(run):
    return run.model.eval()


def scores(model, run):
    with torch.no_grad():
        return model.full_sort_predict(run.batch()).view(-1, run.dataset.item_num)


def test_the_beam_fills_every_users_list_with_real_items(model, run):
    found = scores(model, run)
    assert found.shape == (80, 61)
    assert (torch.isfinite(found).sum(1) == model.beam_size).all()
    assert (found[:, 0] == float("-inf")).all()


def test_a_beam_of_all_items_ranks_as_predict_does(model, run, monkeypatch):
    monkeypatch.setattr(model, "beam_size", 60)
    batch, predicted = run.batch(), []
    with torch.no_grad():
        for item in range(1, 61):
            batch[model.ITEM_ID] = torch.full((80,), item)
            predicted.append(model.predict(batch))
    predicted = torch.stack(predicted, dim=1)
    torch.testing.assert_close(predicted, scores(model, run)[:, 1:], atol=1e-4, rtol=0)
    torch.testing.assert_close(predicted.exp().sum(1), torch.ones(80))


def test_a_batch_equals_its_users_one_by_one(model, run):
    batch = run.batch()
    with torch.no_grad():
        alone = torch.cat([model.full_sort_predict(batch[row:row + 1]).view(1, -1) for row in range(10)])
    torch.testing.assert_close(scores(model, run)[:10], alone, atol=1e-4, rtol=1e-4)


def test_the_loss_is_the_mean_of_minus_predict(model, run):
    batch = next(iter(run.train_data))
    with torch.no_grad():
        torch.testing.assert_close(model.calculate_loss(batch), -model.predict(batch).mean())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deepcopy", "pickle"])
def test_a_copy_scores_the_same(model, run, copied):
    assert torch.equal(scores(copied(model), run), scores(model, run))


def test_a_checkpoint_is_the_whole_model(run):
    from recbole.quick_start import load_data_and_model

    loaded = load_data_and_model(run.trainer.saved_model_file)[1]
    assert torch.equal(scores(loaded.eval(), run), scores(run.model.eval(), run))


def test_get_flops_works_before_fit(place, run):
    from recbole.data.transform import construct_transform
    from recbole.utils import get_flops

    fresh = Run(place, **SMALL, backbone=run.model.backbone)
    assert get_flops(fresh.model, fresh.dataset, fresh.config["device"], fresh.trainer.logger, construct_transform(fresh.config)) > 0


def test_prefix_batches_hold_every_row_once_and_little_padding(run):
    dataset = run.train_data._dataset
    batches = list(PrefixBatches(dataset, 64, "cpu", 3))
    items, lengths, _ = names = dataset.item_id_list_field, dataset.item_list_length_field, dataset.iid_field
    for batch in batches:
        assert batch[items].shape[1] == batch[lengths].max() <= batch[lengths].min() + 2
    found = sorted(tuple(row[row > 0].tolist()) + (int(target),) for batch in batches for row, target in zip(batch[items], batch[names[2]]))
    rows = dataset.inter_feat
    assert found == sorted(tuple(row[row > 0].tolist()) + (int(target),) for row, target in zip(rows[items], rows[names[2]]))
    again = PrefixBatches(dataset, 64, "cpu", 3)
    assert all(torch.equal(one[items], other[items]) for one, other in zip(batches, again))


class Killed(Exception):
    """In the place of a signal."""


@pytest.mark.parametrize("backbone", BACKBONES)
def test_killed_and_started_again_ends_the_same(tiny_dataset, backbone):
    def kill(epoch, valid_score):
        if epoch == 1:
            raise Killed

    with pytest.raises(Killed):
        Run(tiny_dataset, **SMALL, backbone=backbone).fit(callback_fn=kill)
    again = Run(tiny_dataset, **SMALL, backbone=backbone).fit()
    assert again.trained == [("generation", 2)]
    whole = Run(tiny_dataset, **SMALL, backbone=backbone, cache_dir=str(tiny_dataset.folder.parent / "other")).fit()
    assert again.test() == whole.test()
    assert all(torch.equal(a, b) for a, b in zip(again.model.state_dict().values(), whole.model.state_dict().values()))


@pytest.mark.parametrize("changes, n_codes, trained", [
    ({"seed": 8}, 2, 3), ({"quantizer": "residual_kmeans"}, 2, 3), ({"rqvae_epochs": 6}, 2, 3), ({"backbone": "causal"}, 1, 3),
    ({"head_size": 4}, 1, 3), ({"train_batch_size": 32}, 1, 3), ({"show_progress": True}, 1, 0)])
def test_a_changed_setting_repeats_the_stages_that_depend_on_it_alone(tiny_dataset, changes, n_codes, trained):
    settings = {**SMALL, "backbone": "encoder_decoder"}
    Run(tiny_dataset, **settings).fit()
    assert len(Run(tiny_dataset, **{**settings, **changes}).fit().trained) == trained
    assert len(list((tiny_dataset.folder.parent / "cache").glob("codes-*.npz"))) == n_codes


def test_other_data_are_another_run_of_the_same_codes(tiny_dataset):
    Run(tiny_dataset, **SMALL, backbone="causal").fit()
    inter = tiny_dataset.folder / "tiny.inter"
    inter.write_text("\n".join(inter.read_text().splitlines()[:-1]) + "\n")
    assert len(Run(tiny_dataset, **SMALL, backbone="causal").fit().trained) == 3
    assert len(list((tiny_dataset.folder.parent / "cache").glob("codes-*.npz"))) == 1


@pytest.mark.parametrize("quantizer", ["residual_kmeans", "rqvae"])
def test_prorec_on_text_alone_shares_its_codes(tiny_dataset, quantizer):
    shared = {"quantizer": quantizer, "rqvae_epochs": 5, "epochs": 1}
    tiger = Run(tiny_dataset, **{**SMALL, **shared}, backbone="causal").fit()
    prorec = Run(tiny_dataset, **shared, alignment_epochs=1, integrated_embedding="semantic").fit()
    assert torch.equal(tiger.model.codes, prorec.model.codes)
    assert len(list((tiny_dataset.folder.parent / "cache").glob("codes-*.npz"))) == 1


@pytest.mark.parametrize("backbone, learning_rate, at_least", [("encoder_decoder", 0.003, 0.6), ("causal", 0.01, 0.9)])
def test_it_learns_what_follows_what(tmp_path, monkeypatch, backbone, learning_rate, at_least):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["pytest"])
    small = {"hidden_size": 32, "head_size": 16, "inner_size": 64, "epochs": 20, "stopping_step": 20, "train_batch_size": 16,
             "learning_rate": learning_rate, "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0,
             "decoder_dropout_prob": 0.0}
    run = Run(write_markov_dataset(tmp_path, n_items=20, n_users=100, length=7), **{**SMALL, **small}, backbone=backbone)
    assert run.fit().test()["recall@5"] > at_least  # by chance it would be 0.25


def test_a_history_shorter_than_the_stride_matters_to_windows_alone(place):
    short = {**SMALL, "MAX_ITEM_LIST_LENGTH": 5}
    assert Run(place, **{**short, "backbone": "encoder_decoder"}).model.max_seq_length == 5
    with pytest.raises(InputError, match="window_stride 10 is above MAX_ITEM_LIST_LENGTH 5"):
        Run(place, **{**short, "backbone": "causal"})


@pytest.mark.parametrize("changes, message", [
    ({"backbone": "lstm"}, "backbone is 'lstm'; expected one of encoder_decoder, causal"),
    ({"quantizer": "pq"}, "quantizer is 'pq'; expected one of residual_kmeans, rqvae"),
    ({"beam_size": 10}, "beam_size 10 is below the largest topk 20"),
    ({"head_size": 0}, "head_size is 0; expected a whole number of at least 1"),
    ({"rqvae_epochs": 0}, "rqvae_epochs is 0; expected a whole number of at least 1"),
    ({"hidden_dropout_prob": 1}, "a dropout rate lies in"),
])
def test_what_cannot_work_is_refused_before_training(place, changes, message):
    with pytest.raises(InputError, match=message):
        Run(place, **{**SMALL, **changes})
