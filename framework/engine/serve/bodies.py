"""What requests and answers hold: checked here, and described by /openapi.json."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints


def _whole(value: Any) -> Any:
    """JSON Schema counts 5.0 as a whole number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Dimensions = Annotated[int, Field(ge=1), BeforeValidator(_whole)]
Top = Annotated[int, Field(ge=1, le=1000), BeforeValidator(_whole)]
Text = Annotated[str, StringConstraints(min_length=1)]
Picture = Annotated[
    str,
    StringConstraints(min_length=1),
    Field(
        description="a data URI (`data:image/jpeg;base64,...`), or a URL where these are allowed"
    ),
]


Moment = Annotated[
    str,
    Field(
        description="a day or a time by ISO 8601, or a year",
        json_schema_extra={
            "anyOf": [
                {"format": "date"}, {"format": "date-time"}, {"pattern": "^[12][0-9]{3}$"},
            ]
        },
    ),
]  # fmt: skip


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EmbeddingsRequest(_Request):
    """Texts or pictures to be encoded; OpenAI's shape."""

    input: Text | Annotated[list[Text], Field(min_length=1)] = Field(
        description="a text or several; what begins with `data:image/` is a picture"
    )
    model: str | None = Field(None, description="the name of the model; default: the one there is")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Dimensions | None = Field(None, description="only the first numbers of each vector")
    user: str | None = Field(None, description="ignored")


class ClassifyRequest(_Request):
    """Pictures and the classes that they may show."""

    images: Annotated[list[Picture], Field(min_length=1)]
    classes: Annotated[list[Text], Field(min_length=1, json_schema_extra={"uniqueItems": True})]
    top: Top = Field(5, description="answers for each picture")
    probabilities: Literal["softmax", "sigmoid"] = "softmax"
    model: str | None = None


class SearchRequest(_Request):
    """What pictures of the index are looked for: at least one text or one picture."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["texts"], "properties": {"texts": {"minItems": 1}}},
                {"required": ["images"], "properties": {"images": {"minItems": 1}}},
            ]
        }
    )
    texts: list[Text] = Field(default_factory=list, description="what they show")
    minus: list[Text] = Field(default_factory=list, description="what they do not show")
    images: list[Picture] = Field(default_factory=list, description="pictures like them")
    top: Top = 20
    folder: Text | None = Field(None, description="only pictures below it")
    after: Moment | None = Field(None, description="taken then or later")
    before: Moment | None = Field(None, description="taken earlier")
    model: str | None = None


class Embedding(_Answer):
    """One vector."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str = Field(
        description="numbers, or base64 of float32 (little-endian)"
    )


class Usage(_Answer):
    """Tokens of the texts."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(_Answer):
    """Vectors in the order of the input."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage
    warnings: list[str]


class ClassAnswer(_Answer):
    """A class that a picture may show."""

    index: int
    name: str
    probability: float


class PictureAnswers(_Answer):
    """The answers to one picture, best first."""

    index: int
    answers: list[ClassAnswer]
    error: str | None = Field(description="why the picture cannot be read; then without answers")


class ClassifyAnswer(_Answer):
    """The answers in the order of the pictures."""

    object: Literal["list"] = "list"
    data: list[PictureAnswers]
    model: str
    warnings: list[str]


class FoundPicture(_Answer):
    """A picture of the index."""

    id: int = Field(description="for /v1/pictures/{id}")
    path: str
    member: str
    score: float
    bytes: int
    taken: float
    copies: list[str]


class SearchAnswer(_Answer):
    """The pictures nearest to the query, best first."""

    object: Literal["list"] = "list"
    data: list[FoundPicture]
    model: str
    problems: list[str] = Field(
        description="pictures of the query that cannot be read; then nothing is searched for"
    )
    recall: float = Field(description="of the true ten nearest, the share that is found")
    warnings: list[str]


class ModelAnswer(_Answer):
    """A model of the service."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    embed_dim: int
    parameters: int
    warnings: list[str]
    index: int | None = Field(description="pictures that can be searched; null: none")


class ModelsAnswer(_Answer):
    """The models of the service: one."""

    object: Literal["list"] = "list"
    data: list[ModelAnswer]


class StatusAnswer(_Answer):
    """How the service is."""

    status: str


class ErrorBody(_Answer):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorAnswer(_Answer):
    """An error in OpenAI's shape."""

    error: ErrorBody


ALL: tuple[type[BaseModel], ...] = (
    EmbeddingsRequest, ClassifyRequest, SearchRequest, EmbeddingsAnswer, ClassifyAnswer,
    SearchAnswer, ModelsAnswer, ModelAnswer, StatusAnswer, ErrorAnswer,
)  # fmt: skip


def mistake_of(errors: list[Any]) -> tuple[str, str]:
    """The first mistake of a request in one sentence, and where it is."""
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place or 'the body'}: {first['msg']}", place
