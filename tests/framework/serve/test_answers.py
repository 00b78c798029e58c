"""What the service answers is what the model answers."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.evaluate.predictor import Predictor
from engine.search.building import build_index
from engine.search.index import SearchIndex
from engine.serve import pictures

Colours = dict[str, Image.Image]
Talk = Callable[..., None]
Uri = Callable[..., str]


def test_embeddings(talk: Talk, predictor: Predictor, colours: Colours, uri: Uri) -> None:
    texts, picture = ["синий", "красный дом", "синий"], uri(colours["красный"])

    async def chat(client: Any) -> None:
        body = {"input": [texts[0], picture, *texts[1:]], "model": "colours"}
        answer = await (await client.post("/v1/embeddings", json=body)).json()
        assert [each["index"] for each in answer["data"]] == [0, 1, 2, 3]
        found = np.array([each["embedding"] for each in answer["data"]], np.float32)
        np.testing.assert_allclose(found[[0, 2, 3]], predictor.encode_texts(texts), atol=1e-6)
        np.testing.assert_allclose(
            found[1], predictor.encode_images(colours["красный"])[0], atol=1e-6
        )
        assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
        assert any("RANDOM" in each for each in answer["warnings"])
        body = {"input": "синий", "encoding_format": "base64", "dimensions": 2}
        answer = await (await client.post("/v1/embeddings", json=body)).json()
        row = np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), "<f4")
        expected = found[0, :2] / np.linalg.norm(found[0, :2])
        np.testing.assert_allclose(row, expected, atol=1e-6)
        assert any("first 2 of 3 numbers" in each for each in answer["warnings"])
        long = await (await client.post("/v1/embeddings", json={"input": "дом " * 99})).json()
        assert any("longer than the 12 tokens" in each for each in long["warnings"])

    talk(chat)


def test_classes(talk: Talk, colours: Colours, uri: Uri, predictor: Predictor) -> None:
    names = list(colours)

    async def chat(client: Any) -> None:
        images = [uri(image) for image in colours.values()]
        images[2:2] = ["data:image/png;base64,AAAA", "http://127.0.0.1/x.png"]
        body = {"images": images, "classes": names, "top": 2}
        before = len(predictor.tokenizer.encoded)  # type: ignore[attr-defined]
        for turn in range(3):
            response = await client.post("/v1/classify", json=body)
            assert response.status == 200
            answer = await response.json()
            if turn == 0:
                computed = len(predictor.tokenizer.encoded)  # type: ignore[attr-defined]
        assert computed > before
        assert len(predictor.tokenizer.encoded) == computed  # type: ignore[attr-defined]
        data = answer["data"]
        assert [row["index"] for row in data] == list(range(9))
        right = [row["answers"][0]["name"] for row in data if not row["error"]]
        assert right == names
        assert all(len(row["answers"]) == 2 for row in data if not row["error"])
        assert "cannot be read" in data[2]["error"]
        assert "not a data URI" in data[3]["error"]
        chances = {row["answers"][0]["probability"] for row in data if row["answers"]}
        assert min(chances) > 0.5
        text = await (await client.get("/metrics")).text()
        assert 'engine_cache_total{of="classes",result="hit"} 2.0' in text

    talk(chat)


def test_search(
    talk: Talk,
    index: SearchIndex,
    uri: Uri,
    colours: Colours,
    tmp_path: Path,
    predictor: Predictor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pictures, "_FRESH", 0.0)

    async def chat(client: Any) -> None:
        async def search(**body: Any) -> Any:
            response = await client.post("/v1/search", json=body)
            assert response.status == 200, await response.text()
            return await response.json()

        found = await search(texts=["синий"], top=3)
        assert Path(found["data"][0]["path"]).name == "синий.png"
        assert (found["recall"], found["problems"]) == (1, [])
        found = await search(images=[uri(colours["белый"])], minus=["чёрный"], top=1)
        assert Path(found["data"][0]["path"]).name == "белый.png"
        found = await search(texts=["синий"], folder=str(tmp_path / "фото" / "лето"))
        assert {Path(each["path"]).parent.name for each in found["data"]} == {"лето"}
        assert (await search(texts=["синий"], before="1990"))["data"] == []
        assert (await search(texts=["синий"], minus=["синий"]))["problems"]
        assert (await search(texts=["синий"], images=["data:image/png;base64,AA=="]))["problems"]
        response = await client.get(f"/v1/pictures/{found['data'][0]['id']}")
        assert response.content_type == "image/jpeg"
        assert Image.open(io.BytesIO(await response.read())).size == (40, 30)
        for number in (999_999, 10**30, "x", "-1"):
            assert (await client.get(f"/v1/pictures/{number}")).status == 404
        Image.new("RGB", (9, 9), (0, 0, 250)).save(tmp_path / "фото" / "новый.png")
        build_index(tmp_path / "index", [tmp_path / "фото"], predictor, workers=1)
        names = {Path(each["path"]).name for each in (await search(texts=["синий"]))["data"]}
        assert "новый.png" in names

    talk(chat, index)


def test_models_and_states(talk: Talk, index: SearchIndex) -> None:
    async def chat(client: Any) -> None:
        (model,) = (await (await client.get("/v1/models")).json())["data"]
        assert (model["id"], model["embed_dim"], model["index"]) == ("colours", 3, 7)
        assert (await (await client.get("/v1/models/colours")).json()) == model
        assert (await client.get("/v1/models/other")).status == 404
        for path in ("/health", "/ready", "/openapi.json", "/"):
            assert (await client.get(path)).status == 200
        missing = await client.post("/v1/embeddings", json={"input": "x", "model": "gpt-4"})
        assert (missing.status, (await missing.json())["error"]["code"]) == (404, "model_not_found")

    talk(chat, index)


def test_an_index_of_another_model_is_refused(
    index: SearchIndex, predictor: Predictor, talk: Talk
) -> None:
    from engine.errors import DataError

    predictor.model.text.table.weight.data += 1

    async def chat(client: Any) -> None:
        raise AssertionError

    with pytest.raises(DataError, match="another model"):
        talk(chat, index)
