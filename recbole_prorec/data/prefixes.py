"""RecBole's train rows as they are, one sample for every prefix of a history: what a bidirectional encoder is trained on."""

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_prorec.data.histories import shuffled_by_length


class PrefixBatches:
    """One epoch of rows in batches, those of like length together, so that little of a batch is padding.

    Args:
        dataset: the train part of a RecBole SequentialDataset. batch_size: rows. device: of the tensors. seed: of the order.
    """

    def __init__(self, dataset, batch_size, device, seed):
        self.names = dataset.item_id_list_field, dataset.item_list_length_field, dataset.iid_field
        items, lengths, targets = (dataset.inter_feat[name] for name in self.names)
        rng = np.random.default_rng(seed)
        order = torch.from_numpy(shuffled_by_length(lengths.cpu().numpy(), rng))
        self.columns = [column[order].to(device) for column in (items, lengths, targets)]
        self.longest = [int(some.max()) for some in lengths[order].split(batch_size)]
        self.batch_size, self.batch_order = batch_size, rng.permutation(len(self.longest))

    def __len__(self):
        return len(self.batch_order)

    def __iter__(self):
        for batch in self.batch_order:
            items, *others = (column[batch * self.batch_size : (batch + 1) * self.batch_size] for column in self.columns)
            yield Interaction(dict(zip(self.names, (items[:, : self.longest[batch]], *others))))
