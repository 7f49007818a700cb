"""The rank of every test user's item, taken while RecBole evaluates."""

import time

import numpy as np
import torch

from recbole_prorec.compare import ranks
from recbole_prorec.compare.shared_codes import SharedCodes, corrected


class RankObserver:
    """Stands between trainer.evaluate and RecBole's collector: the ranks are of the very scores that RecBole's metrics are of."""

    def __init__(self, collector, config, codes=None, excludes=False):
        """codes: [n_items, L], of a model that has them. excludes: whether it leaves out the items of the history."""
        self.original, self.user_field, self.topk = collector.eval_batch_collect, config["USER_ID_FIELD"], config["topk"]
        self.history_field = config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"]
        self.batches, self.seconds, self.of_groups = [], 0.0, []
        self.rounding = 0.5 * 10 ** -config["metric_decimal_place"]
        self.shared_codes, self.excludes = None if codes is None else SharedCodes(codes), excludes
        collector.eval_batch_collect = self.eval_batch_collect

    def eval_batch_collect(self, scores, interaction, positive_u, positive_i):
        started = time.perf_counter()
        targets = positive_i.to(scores.device)[torch.argsort(positive_u).to(scores.device)]
        above, tied = ranks.count_above_and_tied(scores, targets)
        if self.history_field in interaction.interaction:
            history = interaction[self.history_field].to(scores.device)
        else:  # a general model, of which RecBole leaves out what the user has
            history = targets.new_zeros(len(targets), 1)
        seen_above, seen_tied = ranks.count_seen(scores, targets, history)
        kept = (interaction[self.user_field], targets, above, tied, ranks.top_items(scores, max(self.topk)), seen_above, seen_tied, history)
        self.batches.append([tensor.cpu().numpy() for tensor in kept])
        if self.shared_codes is not None:
            excluded = history if self.excludes else None
            self.of_groups.append([tensor.cpu().numpy() for tensor in self.shared_codes.ranks(scores, targets, excluded)])
        self.seconds += time.perf_counter() - started
        return self.original(scores, interaction, positive_u, positive_i)

    def finish(self, dataset, tested):
        """What is kept of the users, in the order of their keys, and measures of their lists. dataset: that of the training."""
        users, targets, above, tied, tops, seen_above, seen_tied, history = map(np.concatenate, zip(*self.batches))
        ranks.check_against(tested, self.topk, above, tied, self.rounding)
        user_keys = dataset.field2id_token[dataset.uid_field][users].astype(str)
        target_keys = dataset.field2id_token[dataset.iid_field][targets].astype(str)
        order = np.argsort(user_keys, kind="stable")
        depth, (counts, of_users) = ranks.chosen_depth(self.topk), training_counts(dataset)
        arrays = {"user_keys": user_keys, "target_keys": target_keys, "above": above.astype(np.int32), "tied": tied.astype(np.int32),
                  "top_items": tops.astype(np.int32), "popularity": counts[targets].astype(np.int32),
                  "history": of_users[users].astype(np.int32), "seen_above": seen_above.astype(np.int32),
                  "seen_tied": seen_tied.astype(np.int32)}
        measures = {"n_users": len(users), "n_items": int(dataset.item_num), "depth": depth,
                    "coverage": ranks.coverage(tops[:, :depth], dataset.item_num),
                    "popularity": ranks.average_popularity(tops[:, :depth], counts),
                    "seen": ranks.share_seen(tops[:, :depth], history),
                    "unseen": ranks.all_metrics(self.topk, above - seen_above, tied - seen_tied)}
        if self.shared_codes is not None:
            measures["corrected"] = corrected(self.topk, *map(np.concatenate, zip(*self.of_groups)))
            measures["items_in_collisions"] = self.shared_codes.n_in_collisions
        return {name: values[order] for name, values in arrays.items()}, measures


def training_counts(dataset):
    """Training interactions per item [n_items] and per user [n_users]. RecBole's own count misses the first items of histories, for
    sequential models alone."""
    rows = dataset.inter_feat
    items, users = rows[dataset.iid_field].numpy(), rows[dataset.uid_field].numpy()
    history = getattr(dataset, "item_id_list_field", f"{dataset.iid_field}{dataset.config['LIST_SUFFIX']}")
    if history in rows.interaction:
        first = rows[dataset.config["ITEM_LIST_LENGTH_FIELD"]].numpy() == 1
        items, users = np.concatenate([items, rows[history].numpy()[first, 0]]), np.concatenate([users, users[first]])
    return np.bincount(items, minlength=dataset.item_num), np.bincount(users, minlength=dataset.user_num)
