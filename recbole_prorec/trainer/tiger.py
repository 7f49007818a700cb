"""TIGER's stages: text, codes, generation."""

from recbole_prorec.data.prefixes import PrefixBatches
from recbole_prorec.model.generative import GENERATION
from recbole_prorec.nn.matmul import fast_matmul
from recbole_prorec.trainer.staged import StagedTrainer
from recbole_prorec.trainer.stages import TIGER_SETTINGS


class TIGERTrainer(StagedTrainer):
    """Text -> codes -> generation."""

    settings = TIGER_SETTINGS
    weights = {GENERATION: ("network.",)}

    def prepare(self, dataset, data_key):
        self.generation_title = f"generation, backbone {self.model.backbone}"
        text, text_key = self.text(dataset)
        codes, codes_key = self.quantization(dataset, lambda: text, "text embedding", text=text_key)
        self.model.begin_generation(codes.to(self.device))
        return {"codes": codes_key, "data": data_key}

    def _train_epoch(self, *args, **kwargs):
        if self.model.backbone == "causal":  # windows of all lengths: few shapes come twice
            return super()._train_epoch(*args, **kwargs)
        with fast_matmul(self.device):
            return super()._train_epoch(*args, **kwargs)

    def batches(self, seed):
        if self.model.backbone == "causal":
            return super().batches(seed)
        return PrefixBatches(self.run["train_data"]._dataset, self.config["train_batch_size"], self.device, seed)
