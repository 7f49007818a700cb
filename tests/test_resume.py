"""A run that was killed and started again ends as one that was not; what is done is not done again."""

import shutil

import pytest
import torch
from markov_data import write_markov_dataset
from pipeline import Run
from recbole.config import Config

from recbole_prorec.trainer.stages import PROREC_SETTINGS, TIGER_SETTINGS

STAGES = ("alignment", "generation")
EVERY_EPOCH = [(stage, epoch) for stage in STAGES for epoch in range(3)]
CANNOT_CHANGE_A_RESULT = {
    "cache_dir", "show_progress", "loss_decimal_place", "learning_rate",  # where artifacts lie; what is shown
    "reg_weight", "train_batch_size", "train_neg_sample_args",  # RecBole warns of the first, shows the second; its batches are not used
    "model", "single_spec", "eval_type",  # these have one value in any run
}


class Killed(Exception):
    """In the place of a signal."""


def small(folder):
    return write_markov_dataset(folder, n_items=40, n_users=30, length=8)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["pytest"])
    return small(tmp_path)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The test metrics of a run that nobody killed, and the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("uninterrupted"))
        patch.setattr("sys.argv", ["pytest"])
        run = Run(small(tmp_path_factory.mktemp("elsewhere"))).fit()
        assert run.trained == EVERY_EPOCH
        return run.test(), run


def kill_in_epoch(run, stage, epoch):
    train_epoch = run.trainer._train_epoch

    def killed(train_data, epoch_idx, *args, **kwargs):
        losses = train_epoch(train_data, epoch_idx, *args, **kwargs)
        if (run.model.stage, epoch_idx) == (stage, epoch):
            raise Killed
        return losses

    run.trainer._train_epoch = killed
    with pytest.raises(Killed):
        run.fit()


def same_weights(a, b):
    a, b = a.model.state_dict(), b.model.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("epoch", [0, 2])
def test_killed_in_an_epoch_and_started_again_ends_the_same(tiny, uninterrupted, stage, epoch):
    kill_in_epoch(Run(tiny), stage, epoch)
    again = Run(tiny).fit()
    assert again.trained == EVERY_EPOCH[EVERY_EPOCH.index((stage, epoch)):]
    assert again.test() == uninterrupted[0]
    assert (again.valid_score, again.valid_result) == (uninterrupted[1].valid_score, uninterrupted[1].valid_result)
    assert same_weights(again, uninterrupted[1])


@pytest.mark.parametrize("epoch", [0, 2])
def test_killed_between_two_epochs_of_generation_ends_the_same(tiny, uninterrupted, epoch):
    def kill(epoch_idx, valid_score):
        if epoch_idx == epoch:
            raise Killed

    with pytest.raises(Killed):
        Run(tiny).fit(callback_fn=kill)
    again = Run(tiny).fit()
    assert again.trained == EVERY_EPOCH[4 + epoch:]
    assert again.test() == uninterrupted[0]


@pytest.mark.parametrize("name", ["quantization", "finish"])
def test_killed_between_two_stages_ends_the_same(tiny, uninterrupted, name, monkeypatch):
    def kill(*args, **kwargs):
        raise Killed

    killed = Run(tiny)
    monkeypatch.setattr(killed.trainer, name, kill)
    with pytest.raises(Killed):
        killed.fit()
    assert Run(tiny).fit().test() == uninterrupted[0]


def test_killed_time_and_again_ends_the_same(tiny, uninterrupted):
    for stage, epoch in EVERY_EPOCH:
        kill_in_epoch(Run(tiny), stage, epoch)
    assert Run(tiny).fit().test() == uninterrupted[0]


def test_early_stopping_is_resumed_too(tiny):
    stopping = {"stopping_step": 1, "learning_rate": 1.0, "warm_learning_rate": 1.0, "alignment_epochs": 1, "epochs": 30}
    whole = Run(tiny, **stopping, cache_dir=str(tiny.folder.parent / "other")).fit()  # nothing is learned at such a rate
    tested = whole.test()
    assert 2 < len(whole.trained) < 31
    kill_in_epoch(Run(tiny, **stopping), *whole.trained[-1])
    again = Run(tiny, **stopping).fit()
    assert again.trained == whole.trained[-1:]
    assert again.test() == tested


@pytest.mark.parametrize("scores, trained, kept", [
    ([0.5] * 30, 3, 0),  # a flat curve ends, and its first epoch is kept
    ([0.1, 0.5, 0.5, 0.6, 0.6, 0.6, 0.7], 6, 3),  # a tie is not an improvement, but an improvement starts the count anew
])
def test_a_tie_is_no_improvement(tiny, monkeypatch, scores, trained, kept):
    run, left = Run(tiny, stopping_step=1, alignment_epochs=1, epochs=30, ranking="generative"), iter([0.0, *scores])  # stage 1 first
    monkeypatch.setattr("recbole.trainer.trainer.calculate_valid_score", lambda *_: next(left))
    run.fit()
    assert run.trained == [("alignment", 0), *(("generation", epoch) for epoch in range(trained))]
    assert (run.trainer.best_epoch, run.valid_score) == (kept, scores[kept])


def test_what_is_kept_is_the_average_of_the_weights(tiny):
    plain, averaged = Run(tiny, average_decay=0.0).fit(), Run(tiny, average_decay=0.999).fit()
    assert not same_weights(plain, averaged)


def test_two_runs_that_start_in_one_second_keep_a_checkpoint_each(tiny, monkeypatch):
    monkeypatch.setattr("recbole.trainer.trainer.get_local_time", lambda: "Jan-01-2026_00-00-00")
    first = Run(tiny).fit()
    second = Run(tiny, seed=8)
    assert second.trainer.saved_model_file != first.trainer.saved_model_file


def test_a_finished_run_is_not_trained_again(tiny):
    first = Run(tiny).fit()
    second = Run(tiny).fit()
    assert second.trained == []
    assert second.test() == first.test()
    assert (second.valid_score, second.valid_result) == (first.valid_score, first.valid_result)


def test_sampled_candidates_are_the_same_whatever_ran_before(tiny):
    sampled = {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "uni10"}}
    whole = Run(tiny, **sampled, cache_dir=str(tiny.folder.parent / "other")).fit()
    kill_in_epoch(Run(tiny, **sampled), "generation", 1)
    again = Run(tiny, **sampled).fit()
    assert again.test() == whole.test()
    assert again.valid_result == whole.valid_result


def test_candidates_by_popularity_are_of_all_data(tiny):
    sampled = {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "pop10"}}
    Run(tiny, **sampled).fit()
    assert Run(tiny, **sampled).fit().trained == []
    lines = (tiny.folder / "tiny.inter").read_text().splitlines()
    user, _, time = lines[-1].split("\t")  # of the test
    (tiny.folder / "tiny.inter").write_text("\n".join([*lines[:-1], f"{user}\ti0\t{time}"]) + "\n")
    assert Run(tiny, **sampled).fit().trained == EVERY_EPOCH


def test_a_checkpoint_goes_on_the_same_whether_its_stages_were_trained_or_found(tiny):
    runs = []
    for first in (Run(tiny).fit(), Run(tiny).fit()):
        runs.append(Run(tiny, epochs=5))
        runs[-1].trainer.resume_checkpoint(first.trainer.saved_model_file)
        runs[-1].fit()
    assert runs[0].trained[-1] == ("generation", 4) and runs[0].trained == runs[1].trained
    assert same_weights(*runs)


def test_the_optimizer_of_a_checkpoint_is_of_its_epoch(tiny, monkeypatch):
    left = iter([0.0, 0.1, 0.2, 0.1, 0.1, 0.1])  # stage 1 first
    monkeypatch.setattr("recbole.trainer.trainer.calculate_valid_score", lambda *_: next(left))
    run = Run(tiny, alignment_epochs=1, epochs=5, ranking="generative").fit()
    steps = {int(state["step"]) for state in run.trainer.optimizer.state_dict()["state"].values()}
    assert run.trainer.best_epoch == 1 and steps == {2 * len(run.trainer.batches(0))}


def test_the_cache_may_be_deleted_while_it_is_used(tiny, uninterrupted):
    run = Run(tiny)
    run.fit(callback_fn=lambda epoch, score: shutil.rmtree(tiny.folder.parent / "cache"))
    assert run.test() == uninterrupted[0]


def test_a_run_without_artifacts_repeats_itself(tiny, uninterrupted):
    assert Run(tiny).fit().test() == uninterrupted[0]


def artifacts(tiny, pattern):
    return sorted((tiny.folder.parent / "cache").glob(pattern))


@pytest.mark.parametrize("pattern, trained", [
    ("alignment-*.pt", EVERY_EPOCH[:3]), ("codes-*.npz", []), ("generation-*.pt", EVERY_EPOCH[3:]),
])
def test_a_truncated_artifact_is_made_again(tiny, pattern, trained):
    first = Run(tiny).fit()
    file, = artifacts(tiny, pattern)
    file.write_bytes(file.read_bytes()[:-100])
    second = Run(tiny).fit()
    assert second.trained == trained
    assert second.test() == first.test()
    assert file.with_name(file.name + ".damaged").exists()


@pytest.mark.parametrize("changes, trained", [
    ({"seed": 8}, EVERY_EPOCH), ({"alignment_weight": 0.2}, EVERY_EPOCH), ({"integrated_embedding": "concat"}, EVERY_EPOCH[3:]),
    ({"distillation_weight": 0.3}, EVERY_EPOCH[3:]), ({"beam_size": 25}, EVERY_EPOCH[3:]), ({"show_progress": True}, []),
    ({"metric_decimal_place": 2}, EVERY_EPOCH), ({"collaborative_dropout_prob": 0.5}, EVERY_EPOCH),
    ({"text_whitening": 0.5}, EVERY_EPOCH), ({"history_sum": False}, EVERY_EPOCH),
    ({"text_embedding_size": 6}, EVERY_EPOCH),  # what the texts have: the first weights are drawn otherwise
])
def test_a_changed_setting_repeats_the_stages_that_depend_on_it_alone(tiny, changes, trained):
    Run(tiny).fit()
    assert Run(tiny, **changes).fit().trained == trained


def test_other_data_or_other_texts_are_another_run(tiny):
    Run(tiny).fit()
    lines = (tiny.folder / "tiny.inter").read_text().splitlines()
    (tiny.folder / "tiny.inter").write_text("\n".join(lines[:-1]) + "\n")
    assert Run(tiny).fit().trained == EVERY_EPOCH
    (tiny.folder.parent / "text.npz").unlink()
    item_lines = (tiny.folder / "tiny.item").read_text().splitlines()
    (tiny.folder / "tiny.item").write_text("\n".join([item_lines[0], *reversed(item_lines[1:])]) + "\n")
    assert Run(tiny).fit().trained == EVERY_EPOCH  # the same vectors, but each for another item


def recording(stage_reads, trainer):
    """Let config name what every stage reads of it."""
    read = Config.__getitem__

    def recorded(config, key):
        stage_reads.setdefault(trainer.reading, set()).add(key)
        return read(config, key)

    return recorded


@pytest.mark.parametrize("model, changes, settings_of_stages", [
    ("PRORec", {}, PROREC_SETTINGS), ("TIGER", {"backbone": "causal"}, TIGER_SETTINGS), ("TIGER", {}, TIGER_SETTINGS),
])
def test_what_a_stage_reads_is_in_its_fingerprint(tiny, monkeypatch, model, changes, settings_of_stages):
    run, reads = Run(tiny, model, **changes), {}
    trainer = run.trainer
    trainer.reading = "before"
    for name in ("begin_stage", "train_stage", "quantization"):
        wrapped(trainer, name, monkeypatch)
    monkeypatch.setattr(trainer, "key", lambda stage, **inputs: "0" * 16)  # which reads what is in the fingerprint
    monkeypatch.setattr(Config, "__getitem__", recording(reads, trainer))
    run.fit(saved=False)
    for stage, settings_of_stage in settings_of_stages.items():
        unlisted = reads[stage] - set(settings_of_stage) - CANNOT_CHANGE_A_RESULT
        assert not unlisted, f"{stage} reads {unlisted}"


def wrapped(trainer, name, monkeypatch):
    original = getattr(trainer, name)

    def method(*args, **kwargs):
        before, trainer.reading = trainer.reading, "quantization" if name == "quantization" else args[0]
        try:
            return original(*args, **kwargs)
        finally:
            trainer.reading = before

    monkeypatch.setattr(trainer, name, method)
