"""PRORec keeps RecBole's contract."""

import copy
import logging
import pickle

import numpy as np
import pytest
import torch
from markov_data import write_markov_dataset
from pipeline import Run, settings, texts_by_key

import recbole_prorec
from recbole_prorec.errors import InputError
from recbole_prorec.model import ranking as ranking_file
from recbole_prorec.model.prorec import PRORec

RANKING_METRICS = ["Recall", "NDCG", "MRR", "Hit", "Precision", "MAP", "GAUC", "ItemCoverage", "AveragePopularity", "GiniIndex",
                   "ShannonEntropy", "TailPercentage"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prorec")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["pytest"])
        yield write_markov_dataset(folder)


@pytest.fixture(scope="module")
def run(place):
    """A trained run; the tests read it and leave it as it is."""
    return Run(place).fit()


@pytest.fixture
def model(run):
    yield run.model.eval()
    run.model.exclude_seen.fill_(True)


def scores(model, run):
    with torch.no_grad():
        return model.full_sort_predict(run.batch()).view(-1, run.dataset.item_num)


def test_items_of_the_history_are_excluded_where_the_training_never_chooses_one_again(model, run, place, tmp_path):
    assert model.exclude_seen and not Run(place, exclude_seen=False).model.exclude_seen
    again = write_markov_dataset(tmp_path, n_items=30, length=40)
    assert not Run(again, MAX_ITEM_LIST_LENGTH=35).model.exclude_seen
    assert Run(again, MAX_ITEM_LIST_LENGTH=20).model.exclude_seen  # the items come again, but not within what the model reads
    assert Run(place, exclude_seen=1).model.exclude_seen.dtype == torch.bool
    found, history = scores(model, run), run.batch()[model.ITEM_SEQ]
    assert (found.gather(1, history) == -torch.inf).all()
    repeating = Run(again, MAX_ITEM_LIST_LENGTH=35).fit()
    assert np.isfinite(repeating.valid_score)
    found = scores(repeating.model.eval(), repeating).gather(1, repeating.batch()[model.ITEM_SEQ])
    assert torch.isfinite(found).any()


def test_full_sort_predict_scores_all_items_of_all_users(model, run):
    found = scores(model, run)
    assert found.shape == (80, 61)
    assert (torch.isfinite(found).sum(1) == model.beam_size).all()
    assert (found[:, 0] == float("-inf")).all()


def test_fusion_weights_share_the_beams_that_are_kept(model, run, monkeypatch):
    monkeypatch.setattr(model, "ranking", "fused")
    weight, searched = float(model.fusion_weight), []
    search = ranking_file.beam_search
    monkeypatch.setattr(ranking_file, "beam_search", lambda *args: searched.append(1) or search(*args))

    def rank():
        found = []
        for other in (0.0, 0.5, 2.0):
            model.fusion_weight.fill_(other)
            found.append(scores(model, run))
        return found

    try:
        with model.kept_beams():
            kept = rank()
        assert len(searched) == 1
        assert all(torch.equal(a, b) for a, b in zip(kept, rank()))
        assert len(searched) == 4
    finally:
        model.fusion_weight.fill_(weight)


def test_all_items_are_scored_once_with_the_weight_that_the_beams_chose(place, monkeypatch):
    seen, few, plain = [], {"epochs": 1, "alignment_epochs": 1}, PRORec._best_of_all
    monkeypatch.setattr(PRORec, "_best_of_all", lambda self, inputs, *rest: seen.append(len(inputs)) or plain(self, inputs, *rest))
    of_all, of_beam = (Run(place, fusion_scope=scope, **few).fit() for scope in ("all", "beam"))
    assert sum(seen) == len(of_all.valid_data.dataset) and of_all.model.is_exhaustive
    assert of_all.model.fusion_weight == of_beam.model.fusion_weight
    assert of_all.valid_score == of_all.trainer.validate(of_all.valid_data)[0]


def test_predict_is_the_score_of_full_sort_predict_up_to_a_constant_per_user(model, run):
    batch = run.batch()
    ranked = scores(model, run)
    items = ranked.topk(5).indices
    with torch.no_grad():
        single = []
        for item in items.T:
            batch[model.ITEM_ID] = item
            single.append(model.predict(batch))
    difference = torch.stack(single, dim=1) - ranked.gather(1, items)
    assert single[0].shape == (80,)
    torch.testing.assert_close(difference, difference[:, :1].expand(-1, 5), atol=1e-4, rtol=0)


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("ranking, fusion_scope", [("generative", "beam"), ("fused", "beam"), ("fused", "all")])
def test_a_beam_of_all_items_ranks_as_predict_does(model, run, ranking, fusion_scope, exclude_seen, monkeypatch):
    monkeypatch.setattr(model, "ranking", ranking)
    monkeypatch.setattr(model, "fusion_scope", fusion_scope)
    monkeypatch.setattr(model, "beam_size", 60)
    model.exclude_seen.fill_(exclude_seen)
    batch, predicted = run.batch(), []
    with torch.no_grad():
        for item in range(1, 61):
            batch[model.ITEM_ID] = torch.full((80,), item)
            predicted.append(model.predict(batch))
    predicted, found = torch.stack(predicted, dim=1), scores(model, run)[:, 1:]
    excluded = torch.zeros(80, 61, dtype=torch.bool).scatter_(1, batch[model.ITEM_SEQ], exclude_seen)[:, 1:]
    assert torch.equal(predicted == -torch.inf, excluded) and torch.equal(found == -torch.inf, excluded)
    difference = (predicted - found).masked_fill(excluded, torch.inf)
    difference = difference - difference.amin(1, keepdim=True)
    assert difference[~excluded].max() < 1e-4
    if ranking == "generative" and not exclude_seen:
        torch.testing.assert_close(predicted.exp().sum(1), torch.ones(80))


def test_fused_scores_are_those_of_both_stages(model, run, monkeypatch):
    monkeypatch.setattr(model, "ranking", "fused")
    model.exclude_seen.fill_(False)
    collaborative, adapted = model.aligned.chunk(2, dim=1)
    with torch.no_grad():
        found, codes = model.exact_scores(*model._history(run.batch())), model.code_scores(model.states(run.batch()))
        for row in range(5):
            history = run.batch()[model.ITEM_SEQ][row][:int(run.batch()[model.ITEM_SEQ_LEN][row])]
            state = model.aligner.encoder((collaborative + adapted)[history].unsqueeze(0))[0, -1]
            expected = codes[row, 1:] + model.fusion_weight * ((collaborative + adapted)[1:] @ state).log_softmax(0)
            torch.testing.assert_close(found[row, 1:], expected, atol=1e-4, rtol=1e-4)


def test_stage_2_leaves_stage_1_as_it_was(place):
    short, longer = (Run(place, epochs=epochs).fit().model.state_dict() for epochs in (1, 2))
    of_stage_1 = [name for name in short if name.startswith(("aligner.", "aligned"))]
    assert len(of_stage_1) > 10 and all(torch.equal(short[name], longer[name]) for name in of_stage_1)
    assert not torch.equal(short["generator.encoder.position.weight"], longer["generator.encoder.position.weight"])


def test_a_batch_equals_its_users_one_by_one(model, run):
    batch = run.batch()
    with torch.no_grad():
        alone = torch.cat([model.full_sort_predict(batch[row:row + 1]).view(1, -1) for row in range(10)])
    torch.testing.assert_close(scores(model, run)[:10], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deepcopy", "pickle"])
def test_a_copy_scores_the_same_in_evaluation_and_amid_training(model, run, copied):
    expected = scores(model, run)
    assert torch.equal(scores(copied(model), run), expected)
    model.train()
    sum(model.calculate_loss(next(iter(run.train_data)))).backward()
    model.zero_grad()
    assert torch.equal(scores(copied(model).eval(), run), expected)
    model.eval()


def test_a_copy_shares_nothing_with_the_original(model, run):
    expected, twin = scores(model, run), copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    twin.load_state_dict(twin.state_dict())
    assert torch.equal(scores(model, run), expected)
    assert not torch.equal(scores(twin, run), expected)


def test_the_state_dict_is_the_whole_model(model, run, place):
    fresh = Run(place, text_embedding_size=6).model.eval()
    assert not torch.equal(scores(fresh, run), scores(model, run))  # and its trie is built now
    fresh.load_state_dict(model.state_dict())
    fresh.load_other_parameter(model.other_parameter())
    assert torch.equal(scores(fresh, run), scores(model, run))


def test_new_weights_count_at_once(model, run):
    twin = copy.deepcopy(model)
    before = scores(twin, run)
    twin.load_state_dict({name: torch.zeros_like(tensor) if "position" in name else tensor for name, tensor in twin.state_dict().items()})
    assert not torch.equal(scores(twin, run), before)


def test_moving_the_model_drops_what_was_computed_before(model, run):
    twin = copy.deepcopy(model)
    scores(twin, run)
    with torch.no_grad():
        assert twin.double().item_table().dtype == torch.float64


def test_get_flops_works_before_fit(place):
    from recbole.data.transform import construct_transform
    from recbole.utils import get_flops

    fresh = Run(place)
    assert get_flops(fresh.model, fresh.dataset, fresh.config["device"], fresh.trainer.logger, construct_transform(fresh.config)) > 0


def test_an_untrained_model_is_a_distribution_over_the_catalogue(place):
    fresh = Run(place, ranking="generative")
    scored = fresh.model.eval().code_scores(fresh.model.states(fresh.batch()))
    torch.testing.assert_close(scored.exp().sum(1), torch.ones(80))


def test_recboles_own_batches_can_be_trained_on(model, run):
    losses = model.calculate_loss(next(iter(run.train_data)))
    assert all(torch.isfinite(loss) for loss in losses)


def test_a_checkpoint_loads_anywhere(run):
    from recbole.quick_start import load_data_and_model

    config, model, dataset, _, _, test_data = load_data_and_model(run.trainer.saved_model_file)
    loaded = scores(model.eval(), run)
    assert config["model"] == "PRORec" and dataset.item_num == 61 and len(test_data.dataset) == 80
    assert torch.equal(loaded, scores(run.model.eval(), run))


def test_an_untrained_model_has_codes_of_any_length():
    codes = ranking_file.placeholder_codes(61, 70, 4096)  # 4096^69 is more than numpy's numbers hold
    assert codes.shape == (61, 70) and (codes[:, :-1] == 0).all() and codes[1:, -1].tolist() == list(range(60))
    assert ranking_file.placeholder_codes(6, 3, 2)[1:].tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1], [1, 0, 0]]


def test_case_study_finds_real_items(run):
    from recbole.utils.case_study import full_sort_scores, full_sort_topk

    users = run.dataset.token2id(run.dataset.uid_field, ["u3", "u5"])
    values, items = full_sort_topk(users, run.model.eval(), run.test_data, k=10)
    assert items.shape == (2, 10) and (items > 0).all() and torch.isfinite(values).all()
    everything = full_sort_scores(users, run.model, run.test_data)
    torch.testing.assert_close(everything.gather(1, items), values)
    assert all(len(set(row)) == 10 for row in items.tolist())


@pytest.mark.parametrize("ranking", ["stage1", "fused"])
def test_items_may_be_their_collaborative_embeddings_alone(place, ranking):
    run = Run(place, ranking=ranking, alignment_input="collaborative", alignment_weight=0).fit()
    assert np.isfinite(run.valid_score) and run.test()["ndcg@10"] > 0
    names = run.model.state_dict().keys()
    assert not [name for name in names if "_table" in name]


def test_of_whitened_texts_the_adaptation_layer_reads_what_the_encoder_gave(place):
    runs = [Run(place, ranking="stage1", text_whitening=0.5).fit() for _ in range(2)]
    assert runs[0].trained and not runs[1].trained  # from the cache
    assert torch.equal(*(run.model.aligned for run in runs)) and runs[0].test() == runs[1].test()
    text = texts_by_key(place.folder.parent)
    read = torch.from_numpy(np.stack([text[key] for key in runs[0].dataset.field2id_token["item_id"][1:]]))
    for run in runs:
        torch.testing.assert_close(run.model.aligner.adapter(read), run.model.aligned[1:].chunk(2, dim=1)[1])


def test_stage_1_can_rank_alone(run, place):
    from recbole.quick_start import load_data_and_model

    alone = Run(place, ranking="stage1", alignment_epochs=2).fit()  # an epoch less than the other run, so that it is trained here
    found, expected = scores(alone.model.eval(), alone), alone.test()
    assert {stage for stage, _ in alone.trained} == {"alignment"} and alone.valid_score == pytest.approx(alone.valid_result["ndcg@10"])
    states = alone.model.states(alone.batch())
    table = alone.model.aligner.item_table(alone.model.aligned.chunk(2, dim=1)[1])
    expected_scores = (states @ table.T).scatter(1, alone.batch()[alone.model.ITEM_SEQ], -torch.inf)
    torch.testing.assert_close(found[:, 1:], expected_scores[:, 1:])
    _, loaded, *_ = load_data_and_model(alone.trainer.saved_model_file)
    assert torch.equal(scores(loaded.eval(), alone), found)
    again = Run(place, ranking="stage1", alignment_epochs=2).fit()
    assert again.trained == [] and again.test() == expected and again.valid_score == alone.valid_score
    for use in (recbole_prorec.load, Run(place, ranking="generative").trainer.resume_checkpoint):
        with pytest.raises(InputError, match="ranking: stage1"):
            use(alone.trainer.saved_model_file)


@pytest.mark.parametrize("changes", [{}, {"text_embedding_size": 6}], ids=["default width of the text", "its real width"])
def test_evaluate_takes_a_model_file(run, place, changes):
    fresh = Run(place, **changes)
    assert fresh.test(model_file=run.trainer.saved_model_file) == run.test()


def test_the_run_says_what_becomes_of_items_of_the_history(place, tmp_path, caplog):
    again = write_markov_dataset(tmp_path, n_items=30, length=40)
    for tiny, said in ((place, "; 0 targets are items of their history, and by exclude_seen: auto such items are left out"),
                       (again, "; 640 targets are items of their history, and by exclude_seen: auto such items are not left out")):
        with caplog.at_level(logging.INFO):
            Run(tiny, MAX_ITEM_LIST_LENGTH=35, ranking="stage1", alignment_epochs=1, state="INFO").fit()
        assert said in caplog.text


def test_a_checkpoint_can_be_resumed_for_more_epochs(run, place):
    more = Run(place, epochs=5)
    more.trainer.resume_checkpoint(run.trainer.saved_model_file)
    more.trainer.saved_model_file = run.trainer.saved_model_file.replace(".pth", "-more.pth")
    more.fit()
    first = run.trainer.best_epoch + 1
    assert more.trained == [("generation", epoch) for epoch in range(first, 5)]
    assert torch.equal(more.model.codes, run.model.codes)
    assert more.valid_score >= run.valid_score - 1e-9
    assert more.trainer.average.step == 5 * len(more.trainer.batches(0))  # as if it had been trained in one go


def test_resuming_without_validation_keeps_what_it_trains(run, place):
    more = Run(place, epochs=5, ranking="generative")
    more.trainer.resume_checkpoint(run.trainer.saved_model_file)
    more.trainer.saved_model_file = run.trainer.saved_model_file.replace(".pth", "-blind.pth")
    more.valid_data = None
    more.fit()
    trained, kept = more.model.generator.state_dict(), run.model.generator.state_dict()
    assert more.trained and any(not torch.equal(trained[name], kept[name]) for name in kept)


def test_training_without_validation_keeps_the_last_epoch(place, caplog):
    blind = Run(place, seed=8, state="INFO")
    blind.valid_data = None
    with caplog.at_level(logging.INFO):
        blind.fit()
    assert "Fused ranking: no validation data to choose its weight on, which stays 1.0" in caplog.text
    assert blind.trained == [(stage, epoch) for stage in ("alignment", "generation") for epoch in range(3)]
    assert blind.test()["ndcg@10"] >= 0


@pytest.mark.parametrize("mode", ["full", "uni10"])
def test_all_ranking_metrics_are_reported_with_and_without_stages_to_train(place, mode):
    evaluation = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": mode}
    for _ in range(2):  # the second time every stage is found finished
        metrics = [name for name in RANKING_METRICS if name != "GAUC" or mode != "full"]
        found = Run(place, metrics=metrics, eval_args=evaluation, topk=[5, 10], alignment_epochs=1, epochs=1).fit().test()
        assert {name.split("@")[0] for name in found} == {name.lower() for name in metrics}
        assert np.isfinite(list(found.values())).all()
    assert mode == "full" or found["hit@10"] > 0.5  # ten of eleven candidates are listed


def test_gauc_is_of_the_scores_of_all_items_or_refused(place):
    with pytest.raises(InputError, match="GAUC.*set ranking to stage1"):
        Run(place, metrics=["NDCG", "GAUC"])
    run = Run(place, metrics=["NDCG", "GAUC"], valid_metric="NDCG@10", ranking="stage1", alignment_epochs=1).fit()
    ranked, targets = scores(run.model, run)[:, 1:], run.batch()[run.model.ITEM_ID] - 1
    above, n_ranked = (ranked > ranked.gather(1, targets.unsqueeze(1))).sum(1), torch.isfinite(ranked).sum(1)
    assert run.test()["gauc"] == pytest.approx(float((1 - above / (n_ranked - 1)).mean()), abs=1e-4)


def test_stock_quick_start_runs_it(place):
    from recbole.quick_start import run_recbole

    result = run_recbole(model="PRORec", dataset="tiny", saved=False, config_dict=settings(place, epochs=1, alignment_epochs=1))
    assert set(result) >= {"best_valid_score", "test_result"}


@pytest.mark.parametrize("history_sum", [True, False])
def test_both_encoders_have_weights_of_ages_if_the_history_is_summed(place, history_sum):
    names = [name for name in Run(place, history_sum=history_sum).model.state_dict() if name.endswith("age_weight")]
    assert names == ["aligner.encoder.age_weight", "generator.encoder.age_weight"] * history_sum
