"""What went wrong, as an answer."""

from json import dumps

from starlette.responses import Response


class Refusal(Exception):
    """A request that is not answered, with its HTTP status and what to do."""

    def __init__(self, status, detail, **more):
        super().__init__(detail)
        self.status, self.content = status, {"detail": detail, **more}


def problem(refusal, headers=None):
    """In ASCII: what a message names may hold characters that UTF-8 cannot carry."""
    headers = {**({"retry-after": "1"} if refusal.status == 503 else {}), **(headers or {})}
    return Response(dumps(refusal.content), refusal.status, headers, media_type="application/json")


def in_words(errors):
    """Pydantic's list of errors as one sentence, without what was sent: that may be long."""
    said = [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in errors[:5]]
    return "; ".join(said) + (f"; and {len(errors) - 5} more" if len(errors) > 5 else "")
