"""What a request is answered with where it cannot be served: in OpenAI's shape."""

from __future__ import annotations

from typing import Any

from aiohttp import web

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error",
          429: "rate_limit_error"}  # fmt: skip


class Fault(Exception):
    """A request that is refused.

    Args:
        status: of HTTP.
        message: what is wrong, in one sentence.
        code: a short name for programs.
        param: the part of the request that is wrong.
        retry: seconds after which it may be tried again.
    """

    def __init__(
        self, status: int, message: str, code: str, *, param: str = "", retry: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.param, self.retry = param, retry

    def response(self) -> web.Response:
        """The answer."""
        headers = {} if self.retry is None else {"Retry-After": str(self.retry)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return web.json_response(self.to_json(), status=self.status, headers=headers)

    def to_json(self) -> dict[str, Any]:
        """The body of the answer."""
        kind = _TYPES.get(self.status)
        if kind is None:
            kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param or None,
                          "code": self.code}}  # fmt: skip
