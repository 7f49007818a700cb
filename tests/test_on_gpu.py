"""What is done otherwise on a GPU, on tensors that only say that they are there: the same results, and by the other way."""

import pytest
import torch
from random_codes import SHAPES, random_codes, random_decoder, random_states
from torch.nn import functional as F

from recbole_prorec.compare import machine
from recbole_prorec.generation import choices, decoder
from recbole_prorec.generation.beam_search import beam_search
from recbole_prorec.generation.encoder_decoder import EncoderDecoder
from recbole_prorec.generation.trie import Trie
from recbole_prorec.nn import transformer
from recbole_prorec.nn.losses import block_width
from recbole_prorec.trainer.one_kernel import in_one_kernel


class OnGpu(torch.Tensor):
    is_cuda = True


def on_gpu(tensor):
    return tensor.as_subclass(OnGpu)


def refuse(*_, **__):
    raise AssertionError("the way of a CPU")


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)  # the first has one item, and nothing to choose
def test_the_losses_and_their_gradients_are_the_same(shape, monkeypatch):
    network, trie, states = random_decoder(*shape[1:]), Trie(random_codes(*shape)), random_states(17)
    items = torch.randint(1, trie.n_items, (17,), generator=torch.Generator().manual_seed(0))
    assert_same(network, lambda wrap: decoder.code_losses(network, trie, wrap(states), wrap(items))[0], monkeypatch)


def test_the_losses_of_a_network_with_a_memory_are_the_same(monkeypatch):
    torch.manual_seed(0)
    blocks = {"n_layers": 2, "n_heads": 2, "head_size": 8, "inner_size": 16, "attention_dropout": 0.3, "hidden_dropout": 0.3}
    trie = Trie(random_codes(40, 3, 4))
    network = EncoderDecoder(3, 4, 8, 6, blocks, blocks).eval()
    inputs, lengths = torch.tensor([[5, 9, 1], [7, 0, 0], [2, 3, 0]]), torch.tensor([3, 1, 2])
    items = torch.tensor([4, 11, 40])

    def loss(wrap):
        memory = network(wrap(inputs), lengths, trie.codes)
        return decoder.code_losses(network.decoder, trie, memory, wrap(items))[0]

    assert_same(network, loss, monkeypatch)


def assert_same(network, loss, monkeypatch):
    network.zero_grad()
    expected = loss(lambda tensor: tensor)
    expected.backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    network.zero_grad()
    monkeypatch.setattr(decoder, "hidden_by_depth", refuse)
    found = loss(on_gpu)
    found.backward()
    torch.testing.assert_close(found.as_subclass(torch.Tensor), expected)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-5, msg=name)


def test_no_items_ask_for_nothing():
    network, trie = random_decoder(3, 4), Trie(random_codes(40, 3, 4))
    assert list(decoder.hidden_in_one_pass(network, trie, random_states(0), torch.zeros(0, dtype=torch.long))) == []


def test_a_beam_finds_the_same_items(monkeypatch):
    network, trie, states = random_decoder(3, 4), Trie(random_codes(40, 3, 4)), random_states(5)
    items, log_probs = beam_search(network, states, trie, 6)
    fused, rows = transformer.attend_fused, set()
    monkeypatch.setattr(transformer, "attend_fused", lambda q, *args: rows.add(len(q)) or fused(q, *args))
    same, near = beam_search(network, on_gpu(states), trie, 6)
    assert rows == {5, 20, 30}  # users, then beams of each level; what reads the codes first of all does not know that it is on a GPU here
    assert torch.equal(same.as_subclass(torch.Tensor), items)
    torch.testing.assert_close(near.as_subclass(torch.Tensor), log_probs)


@pytest.mark.parametrize("room, ways", [(10, "pairs"), (11, "all")])
def test_all_logits_are_computed_where_there_is_room(room, ways, monkeypatch):
    monkeypatch.setattr(choices, "GPU_LOGITS", room)
    assert choices._all_are_cheaper(on_gpu(torch.zeros(1, 2)), None, 11) == (ways == "all")


def test_attention_is_one_kernel_unless_the_rows_are_too_many(monkeypatch):
    q, k, v = torch.randn(3, 3, 2, 6, 8, generator=torch.Generator().manual_seed(3))
    none = transformer.Dropout(0.5).eval()
    expected = transformer.attend(q, k, v, None, none)
    monkeypatch.setattr(transformer, "FUSED_ROWS", 2)
    monkeypatch.setattr(transformer, "attend_fused", refuse)
    torch.testing.assert_close(transformer.attend(on_gpu(q), k, v, None, none).as_subclass(torch.Tensor), expected)
    monkeypatch.setattr(transformer, "FUSED_ROWS", 3)
    with pytest.raises(AssertionError, match="the way"):
        transformer.attend(on_gpu(q), k, v, None, none)


def test_fused_attention_drops_the_share_that_it_should():
    v = torch.ones(200, 2, 6, 8)
    q = torch.zeros_like(v)
    out = transformer.attend_fused(q, q, v, None, transformer.Dropout(0.75))  # of the 6 that each attends to 1.5 stay, four times as large
    assert out.mean() == pytest.approx(1, abs=0.05)
    assert (out == 0).float().mean() == pytest.approx(0.75**6, abs=0.03)


def test_the_mask_of_fused_attention_has_the_precision_of_what_is_masked(monkeypatch):
    taken = []
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda q, k, v, mask, prob: taken.append(mask) or q)
    q = torch.zeros(1, 1, 2, 2, dtype=torch.float16)
    transformer.attend_fused(q, q, q, torch.zeros(2, 2), transformer.Dropout(0.5))
    assert taken[0].dtype == torch.float16


def test_dropout_is_torchs_own_at_the_rounded_rate(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "random_", refuse)
    out = transformer.fast_dropout(on_gpu(torch.ones(100_000)), 0.3, training=True).as_subclass(torch.Tensor)
    assert out.unique().tolist() == pytest.approx([0, 256 / (256 - 77)])
    assert (out == 0).float().mean() == pytest.approx(0.3, abs=0.01)
    assert (transformer.fast_dropout(on_gpu(torch.ones(9)), 0.3, training=False) == 1).all()


def test_more_scores_are_held_at_once():
    gpu, cpu, other = (block_width(10_000, torch.device(name)) for name in ("cuda", "cpu", "meta"))
    assert gpu > 10 * cpu and other == cpu


@pytest.mark.parametrize("kind, cpu, gpu", [("Adam", True, True), ("SGD", True, True), ("Adagrad", True, False), ("RMSprop", None, None)])
def test_a_step_is_one_kernel_where_torch_has_one(kind, cpu, gpu):
    optimizer = getattr(torch.optim, kind)([torch.nn.Parameter(torch.zeros(2))], lr=0.1)
    for device, fused in (("cpu", cpu), ("cuda", gpu), ("cpu", cpu)):  # a state of one device may be read on another
        assert in_one_kernel(optimizer, torch.device(device)).param_groups[0].get("fused") is fused


def test_a_gpu_is_named_beside_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "gpu" not in machine.machine()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "fast one")
    found = machine.machine()
    assert machine.processors(found) == f"{found['cpu']} and fast one"
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")  # as with TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1
    assert machine.machine()["gpu"] == "fast one (float32_matmul_precision: high)"
