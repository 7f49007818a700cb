"""What requests and answers look like; the OpenAPI page is made of it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


def request_of(limits, example):
    """The class of requests within these limits. example: item keys."""
    history = Annotated[list[str], Field(min_length=1, max_length=limits.max_history)]

    class RecommendRequest(BaseModel):
        """Histories of item keys, the latest item last."""

        model_config = ConfigDict(extra="forbid", strict=True)
        histories: list[history] = Field(min_length=1, max_length=limits.max_histories, examples=[[example[:limits.max_history]]])
        k: int = Field(min(10, limits.max_k), ge=1, le=limits.max_k, description="Items for each history.")
        exclude_seen: bool | None = Field(None, description="Leave out all items of the history, or none; null is as the model was "
                                                            "evaluated.")

    return RecommendRequest


class Recommendation(BaseModel):
    """Best first. Texts come where the service was given an item file."""

    items: list[str]
    scores: list[float]
    texts: list[str] | None = None


class Recommendations(BaseModel):
    """One for every history, in their order."""

    recommendations: list[Recommendation]


class Item(BaseModel):
    key: str
    codes: list[int] = Field(description="Its semantic id.")
    text: str | None = None


class Health(BaseModel):
    status: str
    model: str
    ranking: str
    n_items: int
    max_length: int = Field(description="So many items of a history, the latest, are read.")
    requests: int = Field(description="Requests that are waiting or being answered.")


class Problem(BaseModel):
    detail: str
    unknown_keys: list[str] | None = Field(None, description="Item keys that the model does not know, where that is the problem.")
