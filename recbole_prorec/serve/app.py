"""The answers: /recommend, /items/{key}, /health and the OpenAPI page /docs."""

from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Path
from fastapi.exceptions import RequestValidationError
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException

from recbole_prorec.errors import InputError
from recbole_prorec.serve.gate import Gate
from recbole_prorec.serve.problem import Refusal, in_words, problem
from recbole_prorec.serve.schema import Health, Item, Problem, Recommendations, request_of

ABOUT = {400: "The body is no json.", 404: "The model does not know the item.", 408: "The body did not arrive in time.",
         413: "The body is too large.", 422: "The request cannot be answered as it is; the detail says why.",
         503: "As many requests as the service takes are being answered."}


class ItemKey(Convertor):
    """Any text. Starlette's own `path` ends at a line feed, and would take one item for another."""

    regex = r"[\s\S]*"

    def convert(self, value):
        return value

    def to_string(self, value):
        return value


register_url_convertor("item_key", ItemKey())


def create_app(recommender, batcher, limits, text_of=None):
    """The ASGI application. text_of: {item key: text}, or None; limits: what `Limits.of` gives for this recommender."""
    app = FastAPI(title="prorec", version="1", summary=f"Recommendations by a trained {recommender.model}.",
                  lifespan=_lifespan(recommender, batcher), redirect_slashes=False)
    gate = Gate(app, limits)
    _add_errors(app)
    _add_recommend(app, recommender, batcher, request_of(limits, list(recommender.item_keys[1:3])), text_of)
    _add_items(app, recommender, text_of)

    @app.get("/health")
    async def health() -> Health:
        return Health(status="ok", model=recommender.model, ranking=recommender.settings["ranking"],
                      n_items=recommender.n_items, max_length=recommender.max_length, requests=gate.inside)

    return gate


def _lifespan(recommender, batcher):
    @asynccontextmanager
    async def lifespan(_):
        async with batcher:
            yield

    return lifespan


def _add_recommend(app, recommender, batcher, request_class, text_of):
    @app.post("/recommend", responses=_problems(400, 408, 413, 422, 503), response_model_exclude_none=True)
    async def recommend(request: request_class) -> Recommendations:
        histories = read_histories(recommender, request)
        found = await batcher.recommend(histories, request.k, request.exclude_seen)
        texts = [{} if text_of is None else {"texts": [text_of[key] for key in keys]} for keys, _ in found]
        return {"recommendations": [{"items": keys, "scores": scores, **more} for (keys, scores), more in zip(found, texts)]}


def read_histories(recommender, request):
    unknown = list(dict.fromkeys(key for history in request.histories for key in history if key not in recommender.item_id))
    if unknown:
        raise Refusal(422, "The model does not know some of the item keys; expected keys of the data that it was trained on.",
                      unknown_keys=unknown)
    ids = []
    for number, history in enumerate(request.histories, start=1):
        try:
            ids.append(recommender.read_history(history, request.k, request.exclude_seen))
        except InputError as error:
            raise Refusal(422, f"history {number}: {error}") from error
    return ids


def _add_items(app, recommender, text_of):
    codes = recommender.network.codes

    @app.get("/items/{key:item_key}", responses=_problems(404, 422), response_model_exclude_none=True)
    async def item(key: Annotated[str, Path(examples=[recommender.item_keys[1]])]) -> Item:
        if key not in recommender.item_id:
            raise Refusal(404, "The model does not know the item key.", unknown_keys=[key])
        return Item(key=key, codes=codes[recommender.item_id[key]].tolist(), text=text_of and text_of[key])


def _problems(*statuses):
    return {status: {"model": Problem, "description": ABOUT[status]} for status in statuses}


def _add_errors(app):
    """Every error has the same form."""
    @app.exception_handler(Refusal)
    async def refused(_, error):
        return problem(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_, error):
        return problem(Refusal(422, in_words(error.errors())))

    @app.exception_handler(HTTPException)
    async def other(_, error):
        return problem(Refusal(error.status_code, str(error.detail)), error.headers)
