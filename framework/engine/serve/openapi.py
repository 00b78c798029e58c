"""The description of the HTTP interface, OpenAPI 3.1, drawn from the models of its bodies."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from engine.serve.bodies import ALL
from engine.serve.settings import ServeSettings
from engine.version import __version__

_ERRORS = {
    "400": "the request cannot be used", "401": "a key is missing or wrong",
    "403": "pages of this origin may not call", "408": "the body came too slowly",
    "413": "too large", "415": "not JSON", "421": "called by another name",
    "429": "too much is waiting: try again after Retry-After", "500": "the service failed",
    "503": "too late, or the service is ending",
}  # fmt: skip
_OPEN_ERRORS = ("403", "421", "500")
_READ_ERRORS = ("401", "403", "421", "429", "500", "503")


def _content(model: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}}}


def _answers(model: str | None, errors: tuple[str, ...], kind: str = "") -> dict[str, Any]:
    content = _content(model) if model else {kind: {"schema": {"type": "string"}}}
    found: dict[str, Any] = {"200": {"description": "the answer", "content": content}}
    for status in errors:
        found[status] = {"description": _ERRORS.get(status, "not found"),
                         "content": _content("ErrorAnswer")}  # fmt: skip
        if status == "429":
            found[status]["headers"] = {
                "Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}
            }
    return found


def _post(name: str, summary: str, *more: str) -> dict[str, Any]:
    return {
        "operationId": name.lower(),
        "summary": summary,
        "requestBody": {"required": True, "content": _content(f"{name}Request")},
        "responses": _answers(f"{name}Answer", (*_ERRORS, "404", *more)),
    }


def _get(
    name: str,
    summary: str,
    answer: str | None,
    errors: tuple[str, ...],
    kind: str = "",
    parameters: tuple[dict[str, Any], ...] = (),
) -> dict[str, Any]:
    return {
        "operationId": name, "summary": summary, "parameters": list(parameters),
        "responses": _answers(answer, errors, kind),
    }  # fmt: skip


def _open(operation: dict[str, Any]) -> dict[str, Any]:
    return {**operation, "security": []}


def describe(settings: ServeSettings, width: int, *, sigmoid: bool) -> dict[str, Any]:
    """The description, with the limits that hold.

    Args:
        settings: the limits.
        width: numbers of a vector.
        sigmoid: whether the model has probabilities of a class by itself.
    """
    _, schemas = models_json_schema(
        [(model, "validation" if model.__name__.endswith("Request") else "serialization")
         for model in ALL],
        ref_template="#/components/schemas/{model}",
    )  # fmt: skip
    place = {"in": "path", "required": True}
    number = {"name": "number", "schema": {"type": "integer", "minimum": 0}, **place}
    paths: dict[str, Any] = {
        "/v1/embeddings": {"post": _post("Embeddings", "Vectors of texts or pictures.")},
        "/v1/classify": {"post": _post("Classify", "Which classes pictures show.")},
        "/v1/search": {"post": _post("Search", "Pictures of the index by texts and pictures.")},
        "/v1/models": {"get": _get("models", "The model.", "ModelsAnswer", _READ_ERRORS)},
        "/v1/models/{name}": {"get": _get(
            "model", "One model by its name.", "ModelAnswer", (*_READ_ERRORS, "404"),
            parameters=({"name": "name", "schema": {"type": "string"}, **place},),
        )},
        "/v1/pictures/{number}": {"get": _get(
            "picture", "A small copy of a picture of the index.", None, (*_READ_ERRORS, "404"),
            "image/jpeg", (number,),
        )},
        "/health": {"get": _open(_get("health", "Whether the process lives.", "StatusAnswer",
                                      _OPEN_ERRORS))},
        "/ready": {"get": _open(_get("ready", "Whether it takes requests.", "StatusAnswer",
                                     (*_OPEN_ERRORS, "503")))},
        "/metrics": {"get": _get("metrics", "Counters for Prometheus.", None, _READ_ERRORS,
                                 "text/plain")},
    }  # fmt: skip
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Engine", "version": __version__,
                 "description": "An image-text model: embeddings, classes, search."},
        "paths": paths,
        "components": {"schemas": schemas["$defs"]},
    }  # fmt: skip
    _limit(schemas["$defs"], settings, width)
    if not sigmoid:
        schemas["$defs"]["ClassifyRequest"]["properties"]["probabilities"]["enum"] = ["softmax"]
    if settings.api_keys:
        found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"key": []}]
    return found


def _limit(schemas: dict[str, Any], settings: ServeSettings, width: int) -> None:
    """Write the limits of a request into its schema."""
    text = {"maxLength": settings.max_characters}
    embeddings = schemas["EmbeddingsRequest"]["properties"]
    for choice in embeddings["input"]["anyOf"]:
        if choice["type"] == "array":
            choice["maxItems"] = settings.max_texts
    for choice in embeddings["dimensions"]["anyOf"]:
        if choice["type"] == "integer":
            choice["maximum"] = width
    classify = schemas["ClassifyRequest"]["properties"]
    search = schemas["SearchRequest"]["properties"]
    classify["images"]["maxItems"] = search["images"]["maxItems"] = settings.max_images
    classify["classes"]["maxItems"] = settings.max_classes
    classify["classes"]["items"] |= text
    for name in ("texts", "minus"):
        search[name]["maxItems"] = settings.max_texts // 2
        search[name]["items"] |= text
