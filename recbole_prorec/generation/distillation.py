"""Distillation: what stage 1 knows about the next item teaches the generator which codes are worth what.

Axes: B batch, T history, P positions, N items, D width, F children of the trie's root."""

import torch
from torch.nn import functional as F

from recbole_prorec.data.histories import INPUTS, TARGET_ROWS, TARGETS
from recbole_prorec.nn.losses import block_width
from recbole_prorec.nn.matmul import fast_matmul
from recbole_prorec.nn.seen import exclude, seen_before

KEPT_BYTES = 2**31  # of distributions kept for a whole data set; where they would take more, each step computes them from the states


class Teacher:
    """Stage 1 as it ended, frozen: p(item | history) = softmax(state . E) over the integrated embeddings E of all items.

    The paper gives back what quantization lost by pulling a state of the generator towards the embeddings of the next item (arXiv
    2502.06269, its abstract). Here both modalities teach in one piece, and in the generator's own terms: the probabilities of the items,
    summed below each node of the trie, are exact targets for the distribution over codes at every level (ours).

    It teaches on the histories that it was trained on, and of those it is too sure: with its dropout, as in its own training, the generator
    learns more from it. `keep` draws that once for each target: no worse than in every step, and nothing is computed twice (ours, measured:
    results/notes.md).

    Args:
        encoder: stage 1's; its dropout follows its mode. table: [n_items, D] what it reads and scores, row 0 padding. trie: of the codes.
        exclude_seen: whether the items of a history are no answers to it.
    """

    def __init__(self, encoder, table, trie, exclude_seen=False):
        self.encoder, self.table, self.trie, self.exclude_seen = encoder, table.detach(), trie, exclude_seen
        self.leaves = self.table[trie.leaf_item]  # in this order the items below a node are a run
        self.forget()

    def forget(self):
        """What `keep` did."""
        self.kept_states = self.kept = None

    @torch.no_grad()
    def states(self, inputs):
        """inputs [B, T] item ids, padded behind -> [B, T, D]."""
        return self.encoder(F.embedding(inputs, self.table))

    @torch.no_grad()
    def root_probs(self, states, seen=None):
        """states [P, D], seen [P, T] or None as of `SoftTargets` -> the probabilities summed below each child of the root [P, F]."""
        rows = max(1, min(block_width(len(self.leaves), states.device), len(states)))
        padded = F.pad(states, (0, 0, 0, -len(states) % rows))  # for blocks of one shape: see `fast_matmul`
        leaves = None if seen is None else torch.where(seen > 0, self.trie.item_leaf[seen], -1).split(rows)
        blocks = []
        with fast_matmul(states.device):
            for number, block in enumerate(padded.split(rows)):
                scores = self.leaves @ block.T
                if leaves is not None:
                    exclude(scores, leaves[number])
                blocks.append(self.trie.root_probs(torch.softmax(scores, 0)))
        return torch.cat(blocks)[: len(states)]

    def fits(self, n_targets):
        """Whether what the teacher expects of so many targets can be kept in KEPT_BYTES."""
        return 2 * n_targets * self.trie.levels[0].child_code.shape[1] <= KEPT_BYTES

    @torch.no_grad()
    def keep(self, batches, n_targets):
        """Draw the states behind all targets, with one dropout for every epoch; where they `fits`, compute the distributions too.

        Args:
            batches: `WindowBatches` that ask for all targets. n_targets: N of the data set.
        """
        self.forget()
        states = self.table.new_empty(n_targets, self.table.shape[1])
        for batch in batches:
            wanted = batch[TARGETS] > 0
            states[batch[TARGET_ROWS][wanted]] = self.states(batch[INPUTS])[wanted]
        self.kept_states = states
        if self.fits(n_targets):
            self.kept = KeptTargets(self.trie, n_targets, ((batch[TARGET_ROWS][batch[TARGETS] > 0],
                                                            self.soft_targets(batch, batch[INPUTS], batch[TARGETS])) for batch in batches))

    def soft_targets(self, batch, inputs, targets):
        """What the teacher expects in the place of the targets [B, T] that are asked for. batch: with TARGET_ROWS, what was kept of them
        is used."""
        wanted = targets > 0
        rows = batch[TARGET_ROWS][wanted] if TARGET_ROWS in batch else None
        if rows is not None and self.kept is not None:
            return self.kept.of(rows, targets[wanted])
        seen = seen_before(inputs, targets) if self.exclude_seen else None
        states = self.states(inputs)[wanted] if rows is None or self.kept_states is None else self.kept_states[rows]
        return SoftTargets(self, targets[wanted], states, seen)


class SoftTargets:
    """The teacher's distribution over items, summed below each child of the nodes that the paths of `items` pass.

    Args:
        teacher: a `Teacher`. items: [P] target items. states: [P, D] of the teacher. seen: [P, T] items that are no answers, 0 for none;
            not the target. None: all items are.
    """

    def __init__(self, teacher, items, states, seen=None):
        self.teacher, self.items, self.states, self.seen = teacher, items, states, seen
        self.root = teacher.root_probs(states, seen)

    @torch.no_grad()
    def at(self, rows, level):
        """[R, F] over the children of the nodes that the positions `rows` [R] pass at a level; each has a choice there."""
        if level == 0:
            return self.root[rows]
        trie = self.teacher.trie
        row, leaf = trie.leaves_below(trie.path_node[self.items[rows], level], level)
        scores = (self.states[rows[row]] * self.teacher.leaves[leaf]).sum(1)
        if self.seen is not None:
            scores[(self.seen[rows[row]] == trie.leaf_item[leaf].unsqueeze(1)).any(1)] = float("-inf")
        return trie.child_probs(scores, row, leaf, len(rows), level)


class KeptTargets:
    """`SoftTargets` of all targets of a data set, in 16 bits.

    Args:
        trie: L levels. n_targets: N. parts: pairs of targets [P], which of the N they are, and their `SoftTargets`.
    """

    def __init__(self, trie, n_targets, parts):
        device = trie.codes.device
        self.trie = trie
        self.root = torch.empty(n_targets, trie.levels[0].child_code.shape[1], dtype=torch.float16, device=device)
        self.first = torch.zeros(trie.n_levels, n_targets, dtype=torch.long, device=device)  # where a target's begin, level by level
        probs, done = [[self.root[:0].flatten()] for _ in trie.levels], [0] * trie.n_levels  # of the levels below, one behind the other
        for targets, soft_targets in parts:
            self.root[targets] = soft_targets.root.half()
            for level in range(1, trie.n_levels):
                rows = (trie.n_choices[soft_targets.items] > level).nonzero().squeeze(1)
                is_child = self._is_child(soft_targets.items[rows], level)
                n_children = is_child.sum(1)
                probs[level].append(soft_targets.at(rows, level)[is_child].half())
                self.first[level, targets[rows]] = done[level] + n_children.cumsum(0) - n_children
                done[level] += len(probs[level][-1])
        self.probs = [torch.cat(level) for level in probs]

    def of(self, targets, items):
        """A batch of targets [P], which are items [P]: read as `SoftTargets` are."""
        return _KeptOf(self, targets, items)

    def _is_child(self, items, level):
        return self.trie.levels[level].is_child[self.trie.path_node[items, level]]


class _KeptOf:
    def __init__(self, kept, targets, items):
        self.kept, self.targets, self.items = kept, targets, items

    def at(self, rows, level):
        kept, targets = self.kept, self.targets[rows]
        if level == 0:
            return kept.root[targets].float()
        is_child = kept._is_child(self.items[rows], level)
        at = kept.first[level, targets].unsqueeze(1) + torch.arange(is_child.shape[1], device=targets.device)
        return kept.probs[level][at.clamp(max=len(kept.probs[level]) - 1)].float().masked_fill(~is_child, 0)
