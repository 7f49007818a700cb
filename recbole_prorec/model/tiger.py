"""TIGER as RecBole sees it: calculate_loss, predict, full_sort_predict."""

from recbole_prorec.generation.decoder import code_log_probs, code_losses
from recbole_prorec.generation.encoder_decoder import EncoderDecoder
from recbole_prorec.generation.generator import Generator
from recbole_prorec.model.generative import GenerativeRecommender
from recbole_prorec.model.settings import check_tiger_settings
from recbole_prorec.nn.matmul import fast_matmul


class TIGER(GenerativeRecommender):
    """Recommender systems with generative retrieval (arXiv 2305.05065): codes of the text alone, and a network that reads and writes
    nothing but codes.

    The backbone `encoder_decoder` is the paper's; `causal` is PRORec's, one token per item and every position trained in one pass, so
    that codes can be compared with codes. Both normalise over the codes that exist, where the paper's is free to name none.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset, check_tiger_settings)
        self.backbone, width = config["backbone"], config["hidden_size"]
        block = {"n_heads": config["n_heads"], "head_size": config["head_size"], "inner_size": config["inner_size"]}
        encoder = {**block, "n_layers": config["n_layers"], "attention_dropout": config["attn_dropout_prob"],
                   "hidden_dropout": config["hidden_dropout_prob"]}
        decoder = {**block, "n_layers": config["decoder_layers"], "attention_dropout": config["decoder_dropout_prob"],
                   "hidden_dropout": config["decoder_dropout_prob"]}
        if self.backbone == "causal":
            encoder["max_length"] = self.max_seq_length
            self.network = Generator(self.n_levels, self.codebook_size, width, encoder, width, decoder, reads_aligned=False)
        else:
            self.network = EncoderDecoder(self.n_levels, self.codebook_size, width, self.max_seq_length, encoder, decoder)
        self.add_codes()

    @property
    def decoder(self):
        return self.network.decoder

    def begin_generation(self, codes):
        """codes [n_items, L]: what quantization made."""
        self.codes.copy_(codes)
        self.forget()

    # RecBole's contract

    def calculate_loss(self, batch):
        """batch: one of RecBole's own interactions, a sample a row; for the causal backbone also what `WindowBatches` gives."""
        states, items = self._positions(batch)
        return code_losses(self.decoder, self.trie, states, items)[0]

    def predict(self, interaction):
        """log p of the interaction's item, exact whatever the beam: [B]."""
        return code_log_probs(self.decoder, self.trie, self.states(interaction), interaction[self.ITEM_ID])

    def full_sort_predict(self, interaction):
        """Scores of all items, flat [B * n_items]; -inf for items that the beam did not reach."""
        return self.beam_scores(self.states(interaction)).flatten()

    def states(self, interaction):
        """What the decoder sees of each user: a vector (causal), or the memory of all tokens."""
        inputs, lengths = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        inputs = inputs[:, : int(lengths.max())]
        if self.backbone == "causal":
            return self.gather_indexes(self.network(self.network.item_table(self.codes[inputs])), lengths - 1)
        with fast_matmul(inputs.device):  # the large products, of few shapes; what the beam multiplies is of a new shape each time
            return self.network(inputs, lengths, self.codes)

    def _positions(self, batch):
        """The states of all positions of a batch that ask for an item, and these items [P]."""
        if self.backbone == "encoder_decoder":
            return self.states(batch), batch[self.POS_ITEM_ID]
        inputs, targets = self._windows(batch)
        wanted = targets > 0
        return self.network(self.network.item_table(self.codes[inputs]))[wanted], targets[wanted]
