"""The trie holds exactly the real items."""

import itertools

import pytest
import torch
from random_codes import SHAPES, random_codes

from recbole_prorec.generation.trie import Trie


@pytest.fixture(params=SHAPES, ids=str)
def codes(request):
    return random_codes(*request.param)


@pytest.fixture
def trie(codes):
    return Trie(codes)


def paths(trie, level=0, node=0):
    """Every path below a node, as its codes and the leaf at its end."""
    if level == trie.n_levels:
        yield (), node
        return
    table = trie.levels[level]
    for slot in range(int(table.n_children[node])):
        for rest, leaf in paths(trie, level + 1, int(table.child_node[node, slot])):
            yield (int(table.child_code[node, slot]), *rest), leaf


def below(trie, node, level):
    """Item ids whose path passes a node, from the codes alone."""
    return [item for item in range(1, trie.n_items) if int(trie.path_node[item, level]) == node]


def test_its_leaves_are_the_items_and_nothing_else(trie, codes):
    found = {path: int(trie.leaf_item[leaf]) for path, leaf in paths(trie)}
    assert found == {tuple(row.tolist()): item for item, row in enumerate(codes) if item}
    assert sorted(trie.leaf_item.tolist()) == list(range(1, len(codes)))


def test_a_child_marked_as_real_is_one_and_no_other_is(trie):
    for table in trie.levels:
        assert table.is_child.sum(1).tolist() == table.n_children.tolist()
        assert (table.n_children >= 1).all()
        for node, n_children in enumerate(table.n_children):
            real = table.child_code[node, :n_children].tolist()
            assert real == sorted(set(real))


def test_an_items_path_leads_to_the_item(trie, codes):
    for item in range(1, len(codes)):
        node = 0
        for level, table in enumerate(trie.levels):
            assert node == trie.path_node[item, level]
            slot = trie.path_slot[item, level]
            assert table.child_code[node, slot] == codes[item, level]
            node = int(table.child_node[node, slot])
        assert trie.leaf_item[node] == item


def test_two_items_share_a_node_exactly_when_they_share_the_codes_before_it(trie, codes):
    for a, b in itertools.combinations(range(1, min(len(codes), 20)), 2):
        for level in range(trie.n_levels):
            same = bool((codes[a, :level] == codes[b, :level]).all())
            assert same == bool(trie.path_node[a, level] == trie.path_node[b, level])


def test_leaves_below_a_node_are_its_run(trie):
    for level, table in enumerate(trie.levels):
        for node in range(len(table.n_children)):
            first, size = int(table.first_leaf[node]), int(table.n_leaves[node])
            assert sorted(trie.leaf_item[first:first + size].tolist()) == below(trie, node, level)


def test_choices_end_where_one_item_is_left(trie):
    for item in range(1, trie.n_items):
        sizes = [len(below(trie, int(trie.path_node[item, level]), level)) for level in range(trie.n_levels)]
        assert trie.n_choices[item] == sum(size > 1 for size in sizes)


def test_log_probs_are_a_distribution_over_the_children(trie):
    for level, table in enumerate(trie.levels):
        node = torch.arange(len(table.n_children))
        logits = torch.randn(len(node), int(trie.codes.max()) + 1, generator=torch.Generator().manual_seed(level))
        log_probs = trie.log_probs(logits, node, level)
        torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(len(node)))
        assert torch.equal(log_probs > float("-inf"), table.is_child)
        for row, slots in enumerate(table.n_children):
            expected = logits[row, table.child_code[row, :slots]].log_softmax(0)
            torch.testing.assert_close(log_probs[row, :slots], expected)


def some_scores(trie, n_rows):
    return torch.randn(n_rows, trie.n_items - 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def child_probs(trie, scores, node, level):
    """Of nodes [R], by scores [R, n_leaves] of every leaf."""
    row, leaf = trie.leaves_below(node, level)
    return trie.child_probs(scores[row, leaf], row, leaf, len(node), level)


def test_child_probs_equal_the_sums_written_out(trie):
    scores = some_scores(trie, 3)
    for level, table in enumerate(trie.levels):
        for node in range(len(table.n_children)):
            found = child_probs(trie, scores, torch.full((3,), node), level)
            expected = torch.zeros_like(found)
            for item in below(trie, node, level):
                expected[:, trie.path_slot[item, level]] += scores[:, trie.item_leaf[item]].exp()
            torch.testing.assert_close(found, expected / expected.sum(1, keepdim=True))


def test_child_probs_of_scores_far_below_the_others_are_no_nan(trie):
    scores = some_scores(trie, 1) - 1e4
    root = torch.zeros(1, dtype=torch.long)
    torch.testing.assert_close(child_probs(trie, scores, root, 0), child_probs(trie, scores + 1e4, root, 0))


def test_root_probs_are_the_child_probs_of_the_root(trie):
    scores = some_scores(trie, 3)
    root = child_probs(trie, scores, torch.zeros(3, dtype=torch.long), 0)
    torch.testing.assert_close(trie.root_probs(scores.softmax(1).T), root)


def test_child_probs_of_several_nodes_equal_those_of_each(trie):
    level = trie.n_levels - 1
    nodes = torch.arange(len(trie.levels[level].n_children))
    scores = some_scores(trie, len(nodes))
    together = child_probs(trie, scores, nodes, level)
    alone = [child_probs(trie, *one, level) for one in zip(scores.split(1), nodes.split(1))]
    torch.testing.assert_close(together, torch.cat(alone))


def test_codes_that_two_items_share_are_refused():
    with pytest.raises(ValueError, match="two items share one code tuple"):
        Trie(torch.tensor([[0, 0], [1, 2], [0, 1], [1, 2]]))
