"""The transformer sees the past alone, and its cached step is its forward."""

import pytest
import torch

from recbole_prorec.nn.transformer import (
    MASKED,
    Dropout,
    HistoryEncoder,
    SelfAttention,
    SteppedTransformer,
    attend,
    attend_fused,
    causal_mask,
    fast_dropout,
)

SHAPE = {"n_layers": 2, "n_heads": 2, "inner_size": 16, "max_length": 6, "attention_dropout": 0.5, "hidden_dropout": 0.5}


@pytest.fixture(params=[False, True])
def network(request):
    torch.manual_seed(0)
    return HistoryEncoder(8, adds_sum=request.param, **SHAPE).double().eval()


@pytest.fixture
def x():
    return torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_cached_step_equals_the_forward_at_every_position(x):
    network, cache = SteppedTransformer(8, **SHAPE).double().eval(), None
    whole = network(x)
    for position in range(x.shape[1]):
        state, cache = network.step(x[:, position], cache)
        torch.testing.assert_close(state, whole[:, position])


PADDED = torch.zeros(3, 1, 1, 6).index_fill(3, torch.tensor([4, 5]), MASKED)


@pytest.mark.parametrize("mask", [None, causal_mask(6, torch.zeros(1)), PADDED])
def test_the_fused_kernel_attends_as_the_plain_products_do(mask):
    q, k, v = torch.randn(3, 3, 2, 6, 8, generator=torch.Generator().manual_seed(3))
    dropout = Dropout(0.5).eval()
    torch.testing.assert_close(attend_fused(q, k, v, mask, dropout), attend(q, k, v, mask, dropout))


def test_no_position_sees_what_comes_after_it(network, x):
    changed = x.clone()
    changed[:, 4:] = torch.randn_like(changed[:, 4:])
    torch.testing.assert_close(network(changed)[:, :4], network(x)[:, :4])
    assert not torch.allclose(network(changed)[:, 4:], network(x)[:, 4:])


def test_every_position_sees_all_that_came_before_it(network, x):
    changed = x.clone()
    changed[:, 0] = -x[:, 0]
    assert ((network(changed) - network(x)).abs().sum(-1) > 1e-9).all()


def test_a_batch_equals_its_rows_one_by_one(network, x):
    torch.testing.assert_close(network(x), torch.cat([network(row) for row in x.split(1)]))


def test_a_shorter_history_gives_the_states_of_its_beginning(network, x):
    torch.testing.assert_close(network(x[:, :3]), network(x)[:, :3])


def test_training_drops_and_evaluation_does_not(network, x):
    assert torch.equal(network(x), network(x))
    network.train()
    assert not torch.equal(network(x), network(x))


def test_the_sum_of_the_history_is_added_to_the_states_by_age(x):
    torch.manual_seed(0)
    plain = HistoryEncoder(8, **SHAPE).double().eval()
    torch.manual_seed(0)
    encoder = HistoryEncoder(8, adds_sum=True, **SHAPE).double().eval()
    torch.testing.assert_close(encoder.age_weight, torch.tensor([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6]).double())
    expected = plain(x)
    with torch.no_grad():
        encoder.age_weight.copy_(torch.randn(6, generator=torch.Generator().manual_seed(2)))
        for position in range(6):
            for earlier in range(position + 1):
                expected[:, position] += encoder.age_weight[position - earlier] * x[:, earlier]
    torch.testing.assert_close(encoder(x), expected)


def test_in_training_the_sum_is_of_embeddings_with_dropout(x):
    encoder = HistoryEncoder(8, adds_sum=True, **{**SHAPE, "n_layers": 0}).double()
    with torch.no_grad():
        encoder.norm_input.weight.zero_()  # of the transformer nothing is left but the dropout of zeros
        encoder.age_weight[1:] = 0
    dropped = encoder(x) == 0
    assert 0.3 < dropped.double().mean() < 0.7


def test_a_width_that_the_heads_cannot_share_is_refused():
    with pytest.raises(ValueError, match="width 8 is no multiple of the number of heads 3"):
        SelfAttention(8, 3, 0.0)


@pytest.mark.parametrize("prob", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_rate_and_its_mean(prob):
    torch.manual_seed(0)
    x = torch.ones(1001, 301)
    dropped = fast_dropout(x, prob, training=True)
    rate = round(prob * 256) / 256
    share = (dropped == 0).double().mean().item()
    assert share == pytest.approx(rate, abs=4 * (rate * (1 - rate) / x.numel()) ** 0.5)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - rate)])


def test_dropout_of_nearly_all_keeps_some():
    torch.manual_seed(0)
    assert 0 < (fast_dropout(torch.ones(1001, 301), 0.999, training=True) > 0).double().mean() < 0.01


def test_dropout_draws_every_element_for_itself():
    torch.manual_seed(0)
    kept = (fast_dropout(torch.ones(4096, 64), 0.5, training=True) > 0).double()
    correlation = torch.corrcoef(kept.T) - torch.eye(64)
    assert correlation.abs().max() < 0.1
    assert not torch.equal(kept[:2048], kept[2048:])


def test_dropout_is_off_in_evaluation_and_at_rate_zero():
    x = torch.randn(5)
    assert fast_dropout(x, 0.5, training=False) is x
    assert fast_dropout(x, 0.0, training=True) is x


def test_the_gradient_of_dropout_goes_through_what_was_kept():
    torch.manual_seed(0)
    x = torch.ones(100, requires_grad=True)
    dropped = fast_dropout(x, 0.5, training=True)
    dropped.sum().backward()
    torch.testing.assert_close(x.grad, dropped.detach())


def test_dropout_repeats_itself_for_the_same_seed():
    x = torch.ones(3, 7)
    first, again = (torch.manual_seed(3) and fast_dropout(x, 0.5, training=True) for _ in range(2))
    assert torch.equal(first, again)
