"""How much one request, and all requests together, may ask for."""

from dataclasses import asdict, dataclass, replace

from recbole_prorec.errors import InputError

CONNECTIONS, SPARE = 512, 64  # open ones, idle ones too; spare ones, so that a full service can say that it is. A system allows some 1000


@dataclass(frozen=True)
class Limits:
    max_k: int = 100
    max_histories: int = 64
    max_history: int = 1000
    max_body: int = 2**20
    max_requests: int = 64
    body_seconds: float = 10.0

    def __post_init__(self):
        for name, value in asdict(self).items():
            if value <= 0:
                raise InputError(f"{name} is {value}; expected at least 1. Raise --{name.replace('_', '-')}.")
        if self.max_requests > CONNECTIONS:
            raise InputError(f"max_requests is {self.max_requests}; expected at most {CONNECTIONS}, the connections held open. Lower "
                             "--max-requests.")

    def of(self, recommender):
        """With max_k as the model allows it."""
        network = recommender.network
        return replace(self, max_k=min(self.max_k, recommender.n_items if network.is_exhaustive else network.beam_size))
