"""What the service allows. Nothing here imports torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ServeSettings(BaseModel):
    """Limits and addresses; every default is the safe one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="address to listen on; the default: this machine")
    port: int = Field(8080, ge=0, le=65535, description="0: any free one")
    api_keys: tuple[str, ...] = Field((), description="one of them must come with every request")
    origins: tuple[str, ...] = Field((), description="pages of other origins that may call (CORS)")
    hosts: tuple[str, ...] = Field(
        (), description="names by which the service is called; default: those of this machine"
    )
    fetch_urls: bool = Field(False, description="pictures may be given as http(s) URLs")
    max_body: int = Field(32 << 20, ge=1024, description="bytes of a request")
    max_image_bytes: int = Field(16 << 20, ge=1024, description="bytes of a picture's file")
    max_pixels: int = Field(40_000_000, ge=1, le=64_000_000, description="pixels of a picture")
    max_images: int = Field(32, ge=1, description="pictures of a request")
    max_texts: int = Field(256, ge=1, description="texts of a request")
    max_characters: int = Field(8_000, ge=1, description="characters of a text")
    max_classes: int = Field(1_000, ge=1, description="classes of a request")
    queue: int = Field(1_024, ge=1, description="texts and pictures that wait or are computed")
    bytes_in_flight: int = Field(256 << 20, ge=1 << 20, description="of requests being read")
    connections: int = Field(512, ge=1, description="requests at once, from all clients")
    deadline: float = Field(30.0, gt=0, description="seconds until a request is given up")
    body_seconds: float = Field(20.0, gt=0, description="seconds in which a request must arrive")
    idle_seconds: float = Field(30.0, gt=0, description="seconds an idle connection stays open")
    grace: float = Field(30.0, gt=0, description="seconds for requests in work at the end")
    batch: int = Field(16, ge=1, le=256, description="pictures that the model computes at once")
    text_batch: int = Field(64, ge=1, le=1024, description="texts that it computes at once")
    decoders: int = Field(1, ge=1, le=64, description="processes that decode pictures")
    text_cache: int = Field(20_000, ge=0, description="texts whose vectors are kept in memory")
    class_cache: int = Field(64, ge=0, description="lists of classes whose vectors are kept")
