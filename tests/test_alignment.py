"""Stage 1: the joint objective, and what it hands on."""

import pytest
import torch
from torch.nn import functional as F

from recbole_prorec.errors import InputError
from recbole_prorec.nn.losses import info_nce
from recbole_prorec.tokenizer.alignment import AlignmentModel, integrated_embedding

ENCODER = {"n_layers": 1, "n_heads": 2, "inner_size": 16, "max_length": 5, "attention_dropout": 0.0, "hidden_dropout": 0.0}
INPUTS = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])
TARGETS = torch.tensor([[2, 0, 4, 5], [6, 2, 0, 0]])


def aligner(text_as_input=True, n_items=8, collaborative_dropout=0.0):
    torch.manual_seed(0)
    return AlignmentModel(n_items, 6, 4, 0.2, 0.0, collaborative_dropout, text_as_input, ENCODER)


@pytest.fixture
def text():
    text = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
    text[0] = 0
    return text


def test_the_padding_item_stays_zero(text):
    collaborative, adapted = aligner().embeddings(text)
    assert (collaborative[0] == 0).all() and (adapted[0] == 0).all()
    assert (collaborative[1:] != 0).all() and (adapted[1:] != 0).all()


@pytest.mark.parametrize("text_as_input", [True, False])
def test_the_losses_equal_those_written_out(text, text_as_input):
    model = aligner(text_as_input)
    collaborative, adapted = model.embeddings(text)
    table = collaborative + adapted if text_as_input else collaborative
    states, wanted = model(INPUTS, table), TARGETS > 0
    expected = F.cross_entropy(states[wanted] @ table[1:].T, TARGETS[wanted] - 1)
    next_item, align = model.losses(INPUTS, TARGETS, text)
    torch.testing.assert_close(next_item, expected)
    asked = torch.tensor([2, 4, 5, 6])  # each item once, however often it is a target
    torch.testing.assert_close(align, info_nce(collaborative[asked], adapted[asked], 0.2))


def test_without_text_as_input_text_acts_through_the_alignment_alone(text):
    model = aligner(text_as_input=False)
    next_item, align = model.losses(INPUTS, TARGETS, text)
    adapter = list(model.adapter.parameters())
    assert all(gradient is None for gradient in torch.autograd.grad(next_item, adapter, retain_graph=True, allow_unused=True))
    assert all((gradient != 0).any() for gradient in torch.autograd.grad(align, adapter))


def test_text_of_another_width_gets_an_adapter_of_its_own(text):
    model = aligner()
    model.set_text_size(9)
    assert model.embeddings(torch.randn(8, 9))[1].shape == (8, 4)


def test_a_share_of_the_items_is_known_by_its_text_alone_while_training():
    model, adapted = aligner(n_items=2000, collaborative_dropout=0.25), torch.randn(2000, 4)
    whole = model.collaborative.weight + adapted
    table = model.train().item_table(adapted)
    alone = (table == adapted).all(1)
    assert torch.equal(table[~alone], whole[~alone]) and 0.2 < alone[1:].double().mean() < 0.3
    assert not torch.equal(alone, (model.item_table(adapted) == adapted).all(1))  # others in the next step
    assert torch.equal(model.eval().item_table(adapted), whole)


def test_items_that_are_read_without_their_texts_are_never_dropped():
    model = aligner(text_as_input=False, collaborative_dropout=0.25).train()
    assert torch.equal(model.item_table(torch.randn(8, 4)), model.collaborative.weight)


def test_what_is_quantized(text):
    collaborative, adapted = torch.randn(8, 4), torch.randn(8, 4)
    given = (collaborative, adapted, text)
    concat = integrated_embedding("concat", *given)
    torch.testing.assert_close(concat, torch.cat([collaborative / collaborative.norm(dim=1, keepdim=True),
                                                  adapted / adapted.norm(dim=1, keepdim=True)], dim=1))
    assert torch.equal(integrated_embedding("sum", *given), collaborative + adapted)
    assert torch.equal(integrated_embedding("collaborative", *given), collaborative)
    assert torch.equal(integrated_embedding("semantic", *given), text)
    assert torch.equal(integrated_embedding("naive_concat", *given), torch.cat([collaborative, text], dim=1))
    with pytest.raises(InputError, match="integrated_embedding is 'both'; expected sum"):
        integrated_embedding("both", *given)
