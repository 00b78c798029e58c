"""DualEncoder with real plugins, small: shapes, lengths, the scale, what is computed and when."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.contracts import PluginRef, State
from engine.core.model import DualEncoder
from engine.core.registry import default_registry
from engine.core.size import PARTS

JOINT = 12
PROJECTIONS: dict[str, dict[str, Any]] = {
    "linear": {"use": "linear"},
    "residual": {"use": "residual"},
    "clustered": {"use": "clustered", "count": 3, "of": {"use": "residual"}},
}


def use(kind: str, name: str, /, **given: Any) -> PluginRef:
    registry = default_registry()
    plugin = registry.get(kind, name)
    validate = plugin.load_settings().model_validate
    return PluginRef(plugin, validate(given, context={"registry": registry}))


def make_model(text_projection: str = "linear", seed: int = 0) -> DualEncoder:
    torch.manual_seed(seed)
    vision = use(
        "vision_tower", "small_vit", image_size=16, convolutions=2, width=16, layers=2, heads=2
    ).create()
    text = use(
        "text_encoder", "bpe_transformer", vocab_size=40, max_tokens=9, width=20, layers=2, heads=2
    ).create()
    projection = dict(PROJECTIONS[text_projection])
    return DualEncoder(
        vision,
        text,
        use("projection", "linear").create(vision.width, JOINT),
        use("projection", projection.pop("use"), **projection).create(
            text.width, JOINT, embedding_width=text.embedding_width
        ),
        math.log(1 / 0.07),
    ).eval()


def some_pixels(rows: int) -> Tensor:
    return torch.randn(rows, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def some_texts(rows: int) -> State:
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(40, (rows, 7), generator=generator)
    mask = torch.arange(7) < torch.randint(1, 8, (rows, 1), generator=generator)
    return {"ids": ids, "mask": mask}


@pytest.fixture(params=sorted(PROJECTIONS))
def model(request: pytest.FixtureRequest) -> DualEncoder:
    return make_model(request.param)


def test_both_sides_end_as_unit_vectors_of_one_space(model: DualEncoder) -> None:
    images, texts = model.encode_image(some_pixels(5)), model.encode_text(**some_texts(4))
    assert (images.shape, texts.shape) == ((5, JOINT), (4, JOINT))
    assert model.embed_dim == JOINT
    for vectors in (images, texts):
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(len(vectors)))


def test_forward_is_the_scaled_cosine(model: DualEncoder) -> None:
    pixels, texts = some_pixels(5), some_texts(4)
    logits = model(pixels, **texts)
    assert logits.shape == (5, 4)
    image = model.image_state({"pixels": pixels})["embedding"]
    text = model.text_state(texts)["embedding"]
    cosine = torch.nn.functional.cosine_similarity(image[:, None], text[None], dim=-1)
    torch.testing.assert_close(logits, cosine / 0.07, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        model.logit_scale.fill_(0.0)
    torch.testing.assert_close(model(pixels, **texts), cosine, rtol=1e-4, atol=1e-5)


def test_every_parameter_learns(model: DualEncoder) -> None:
    model.train()
    logits = model(some_pixels(6), **some_texts(6))
    torch.nn.functional.cross_entropy(logits, torch.arange(6)).backward()
    still = {name for name, p in model.named_parameters() if p.grad is None}
    # A clustered projection leaves the projections of clusters without texts alone.
    assert all(name.startswith("text_projection.projections.") for name in still), still
    assert model.logit_scale.grad is not None
    assert model.logit_scale.grad.abs() > 0


def test_the_state_dict_is_named_by_parts(model: DualEncoder) -> None:
    names = model.state_dict().keys()
    assert {name.split(".", 1)[0] for name in names} == set(PARTS)
    assert model.state_dict()["logit_scale"].item() == pytest.approx(math.log(1 / 0.07))
    assert model.logit_scale.dtype == torch.float32


def test_states_keep_what_they_were_given_and_add_to_it(model: DualEncoder) -> None:
    texts = some_texts(4)
    kept = {name: tensor.clone() for name, tensor in texts.items()}
    out = model.text_state({**texts, "label": torch.arange(4)})
    assert torch.equal(out["label"], torch.arange(4))
    assert {"ids", "mask", "pooled", "embedding"} <= out.keys()
    assert out["pooled"].shape == (4, model.text.width)
    assert all(torch.equal(texts[name], tensor) for name, tensor in kept.items())
    image = model.image_state({"pixels": some_pixels(2), "label": torch.arange(2)})
    assert image["pooled"].shape == (2, model.vision.width)
    assert torch.equal(image["label"], torch.arange(2))


@pytest.mark.parametrize(("projection", "read"), [("residual", False), ("clustered", True)])
def test_token_embeddings_are_computed_only_where_they_are_read(
    projection: str, read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, texts = make_model(projection), some_texts(3)
    asked: list[Tensor] = []
    embed = model.text.embed

    def counting(ids: Tensor) -> Tensor:
        asked.append(ids)
        return embed(ids)

    monkeypatch.setattr(model.text, "embed", counting)
    model.text(texts)
    by_the_tower = len(asked)
    asked.clear()
    out = model.text_state(texts)
    assert len(asked) == by_the_tower + read
    assert ("token_embeddings" in out) == read
    assert ("router_logits" in out) == read
    if read:
        torch.testing.assert_close(out["token_embeddings"], embed(texts["ids"]))


def test_embeddings_that_are_there_are_not_computed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tower may write them itself; so may whoever stored them."""
    model, texts = make_model("clustered"), some_texts(3)
    expected = model.text_state(texts)
    given = {**texts, "token_embeddings": model.text.embed(texts["ids"])}
    features = model.text(texts)
    monkeypatch.setattr(model.text, "forward", lambda state, keep: {**state, **features})
    monkeypatch.setattr(model.text, "embed", lambda ids: pytest.fail("computed again"))
    torch.testing.assert_close(model.text_state(given)["embedding"], expected["embedding"])


@settings(deadline=None, max_examples=20)
@given(rows=st.integers(1, 6), name=st.sampled_from(sorted(PROJECTIONS)), extra=st.integers(0, 2))
def test_a_row_depends_neither_on_the_others_nor_on_padding(
    rows: int, name: str, extra: int
) -> None:
    model, texts, pixels = make_model(name), some_texts(rows), some_pixels(rows)
    together, images = model.encode_text(**texts), model.encode_image(pixels)
    padded = {key: torch.nn.functional.pad(tensor, (0, extra)) for key, tensor in texts.items()}
    torch.testing.assert_close(model.encode_text(**padded), together, rtol=1e-5, atol=1e-5)
    for i in range(rows):
        length = int(texts["mask"][i].sum())
        alone = {key: tensor[i : i + 1, :length] for key, tensor in texts.items()}
        torch.testing.assert_close(model.encode_text(**alone)[0], together[i], rtol=1e-5, atol=1e-5)
        one = model.encode_image(pixels[i : i + 1])[0]
        torch.testing.assert_close(one, images[i], rtol=1e-5, atol=1e-5)
