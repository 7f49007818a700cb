"""Open implementations of TIGER, at TIGER's shape, on the codes and histories of a workload: pip install -c constraints.txt ".[bench]"

Each is a class with train(items, targets), one step that returns its samples, and rank(items, beam_size), the lists of a batch.
items [B, T] and targets [B] are item ids; every history is full, 80 tokens."""

import contextlib
import io

import torch

BATCH = 64  # samples of a training step
SHAPE = {"d_model": 128, "d_ff": 1024, "num_heads": 6, "d_kv": 64}


class Cornac:
    """cornac's TIGER: constrained beam search, one user at a time, the trie a dict of allowed codes. Users come through its score()."""

    def __init__(self, codes, history):
        from cornac.models import TIGER
        from cornac.models.tiger.tiger import TIGERSeq2Seq

        self.recommender = model = TIGER(scoring="beam", device="cpu", max_len=history, **SHAPE)
        model.num_items = model.pad_idx = len(codes) - 1
        model.device_ = "cpu"
        model._build_semantic_ids(codes[1:, :-1].numpy())  # resolves collisions as we do: by counting
        assert (model.sid_table == codes[1:].numpy()).all()
        model.model = TIGERSeq2Seq(model.level_sizes, **SHAPE)
        self.codes, tokens = codes, codes[1:] + model.model.offsets
        self.tokens = torch.cat([tokens, torch.zeros_like(tokens[:1])])
        model.enc_token_table = self.tokens.numpy()
        self.optimizer = torch.optim.AdamW(model.model.parameters(), lr=model.learning_rate, weight_decay=model.weight_decay)

    def train(self, items, targets):
        network = self.recommender.model.train()
        tokens = self.tokens[items - 1].flatten(1)
        return step(self.optimizer, network(tokens, (tokens != 0).float(), self.codes[targets]), len(items))

    def rank(self, items, beam_size):
        self.recommender.n_beams = beam_size
        for history in (items - 1).tolist():
            self.recommender.score(0, history)
        return len(items)


class T5:
    """Hugging Face's T5, and generate() with prefix_allowed_tokens_fn over dicts. Token 0 is padding, then come the levels' codes."""

    def __init__(self, codes, codebook_size):
        from transformers import T5Config

        n_levels = codes.shape[1]
        self.end = 1 + n_levels * codebook_size
        self.tokens = codes + 1 + torch.arange(n_levels) * codebook_size
        self.network = self.build(T5Config(vocab_size=self.end + 1, num_layers=4, num_decoder_layers=4, dropout_rate=0.1, pad_token_id=0,
                                           eos_token_id=self.end, decoder_start_token_id=0, **SHAPE))
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-3)
        self.allowed = self.prefix_fn([[0, *row] for row in self.tokens[1:].tolist()])

    def build(self, config):
        from transformers import T5ForConditionalGeneration

        return T5ForConditionalGeneration(config)

    def prefix_fn(self, sequences):
        trie = dict_trie(sequences)

        def allowed(batch_id, prefix):
            node = trie
            for token in prefix.tolist():
                node = node.get(token, {})
            return list(node) or [self.end]  # beams that beam search fills up with before there are enough prefixes

        return allowed

    def train(self, items, targets):
        self.network.train()
        tokens = self.tokens[items].flatten(1)
        loss = self.network(input_ids=tokens, attention_mask=(tokens > 0).long(), labels=self.tokens[targets]).loss
        return step(self.optimizer, loss, len(items))

    @torch.no_grad()
    def rank(self, items, beam_size):
        self.network.eval()
        tokens = self.tokens[items].flatten(1)
        self.network.generate(input_ids=tokens, attention_mask=(tokens > 0).long(), num_beams=beam_size, num_return_sequences=beam_size,
                              max_new_tokens=self.tokens.shape[1], prefix_allowed_tokens_fn=self.allowed)
        return len(items)


class TorchRechub(T5):
    """torch-rechub's TIGERModel, a T5 of Hugging Face's with a loss of its own, and generate() over its own Trie."""

    def build(self, config):
        from torch_rechub.models.generative.tiger import TIGERModel

        return TIGERModel(config)

    def prefix_fn(self, sequences):
        from torch_rechub.utils.data import Trie

        trie = Trie(sequences)
        allowed = trie.def_prefix_allowed_tokens_fn(trie)
        return lambda batch_id, prefix: allowed(batch_id, prefix) or [self.end]


def dict_trie(sequences):
    """The trie as plain Python has it: a dict of dicts."""
    root = {}
    for sequence in sequences:
        node = root
        for token in sequence:
            node = node.setdefault(token, {})
    return root


def step(optimizer, loss, n_samples):
    """One step of training; n_samples."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return n_samples


def available(workload, codebook_size, history):
    """{name: peer} of those that are installed; the others are named on the screen, and are missing in the tables."""
    makers = {"cornac 3.0.1": lambda: Cornac(workload.codes(codebook_size), history),
              "torch-rechub 0.9.0": lambda: TorchRechub(workload.codes(codebook_size), codebook_size),
              "Hugging Face T5": lambda: T5(workload.codes(codebook_size), codebook_size)}
    found = {}
    for name, make in makers.items():
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                found[name] = make()
        except ImportError as error:
            print(f'{name} is left out: {error}. pip install -c constraints.txt ".[bench]"')
    return found
