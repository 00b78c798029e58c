"""`openai_clip`'s text encoder: open_clip's own numbers, its checkpoints, its segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor, nn

from engine.contracts import PluginRef, State, TowerPlan, pad_tokens
from engine.core.size import tower_plan
from engine.errors import WeightsError
from engine_plugins.text.clip import ClipText
from engine_plugins.tokenizers.bpe import ClipBpe
from engine_plugins.tokenizers.settings import ClipBpeSettings

MakeUse = Callable[..., PluginRef]
Shaken = Callable[..., Any]

SMALL: dict[str, Any] = {
    "width": 48, "layers": 3, "heads": 4, "embed_width": 24, "mlp_ratio": 2.5, "max_tokens": 77,
}  # fmt: skip
TEXTS = (
    "a photo of a cat", "dog", "", "a blurry photo of the space shuttle in the rain", "Кот на окне",
    "dog " * 100, "naïve café &amp; co", "a cat", "zebra crossing", "a photo of a dog", "7 13 42",
    "  A   PHOTO of a   Cat ", "an x-ray of an elephant's tooth, seen by night",
)  # fmt: skip


def original(
    settings: dict[str, Any], *, quick_gelu: bool = True, custom: bool = False
) -> nn.Module:
    """open_clip's own model of these numbers, with a vision tower too small to matter."""
    text = {
        "context_length": settings["max_tokens"], "vocab_size": 49408, "width": settings["width"],
        "heads": settings["heads"], "layers": settings["layers"],
        "mlp_ratio": settings["mlp_ratio"],
    }  # fmt: skip
    vision = {"layers": 1, "width": 16, "head_width": 8, "patch_size": 8, "image_size": 16}
    cls = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    model: nn.Module = cls(settings["embed_width"], vision, text, quick_gelu=quick_gelu)
    return model


@pytest.fixture(scope="module")
def tokenizer() -> ClipBpe:
    return ClipBpe.make(ClipBpeSettings(), lambda: pytest.fail("nothing is to be trained"), 49408)


@pytest.fixture(scope="module")
def state(tokenizer: ClipBpe) -> State:
    """TEXTS as Engine passes them on: padded to the longest (77 tokens here)."""
    return pad_tokens(tokenizer.encode(TEXTS, 77), tokenizer.pad_id)


@pytest.fixture(scope="module")
def tower(make_use: MakeUse, shaken: Shaken) -> ClipText:
    torch.manual_seed(1)
    return shaken(make_use("text_encoder", "openai_clip", **SMALL).create())


@pytest.fixture(autouse=True)
def _seeded_without_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("quick_gelu", [True, False])
@pytest.mark.parametrize(
    "numbers",
    [{}, {"heads": 1, "layers": 1}, {"width": 40, "heads": 5, "mlp_ratio": 4.3231, "layers": 2}],
)
def test_the_features_are_open_clips(
    numbers: dict[str, Any],
    quick_gelu: bool,
    make_use: MakeUse,
    shaken: Shaken,
    tokenizer: ClipBpe,
) -> None:
    settings = {**SMALL, **numbers}
    theirs = shaken(original(settings, quick_gelu=quick_gelu))
    ours = make_use("text_encoder", "openai_clip", quick_gelu=quick_gelu, **settings).create()
    ours.load_weights(theirs.state_dict(), "open_clip")
    ours.eval()
    expected = theirs.encode_text(open_clip.get_tokenizer("ViT-B-32")(list(TEXTS)))
    assert expected.std(dim=0).min() > 1e-3  # the texts differ, so the comparison says much
    for texts in (range(len(TEXTS)), [3, 0, 7], [2]):  # any company, any padding
        rows = tokenizer.encode([TEXTS[i] for i in texts], 77)
        out = ours(pad_tokens(rows, tokenizer.pad_id))
        close(out["pooled"], expected[list(texts)])
    images = torch.randn(50, expected.shape[1], generator=torch.Generator().manual_seed(2))
    different = [text for text in TEXTS if "PHOTO" not in text]  # that one ties with the first
    logits = images @ ours(pad_tokens(tokenizer.encode(different, 77), 0))["pooled"].T
    kept = expected[[TEXTS.index(text) for text in different]]
    assert torch.equal(logits.argmax(1), (images @ kept.T).argmax(1))


def test_activation_and_heads_are_seen_in_the_features(
    make_use: MakeUse, tower: ClipText, state: State
) -> None:
    """Tensors fit whatever these two are, so only the numbers can tell them apart."""
    for changed in ({"quick_gelu": False}, {"heads": 2}):
        other = make_use("text_encoder", "openai_clip", **{**SMALL, **changed}).create()
        other.load_weights(tower.state_dict(), "the same weights")
        assert (other(state)["pooled"] - tower(state)["pooled"]).abs().max() > 1e-4


def test_composes_at_every_cut(tower: ClipText, state: State) -> None:
    count = len(tower.segments())
    assert [segment.name for segment in tower.segments()] == [
        "stem", "block 0", "block 1", "block 2", "head",
    ]  # fmt: skip
    whole = tower.run(state, 0, count)
    assert whole["pooled"].shape == (len(TEXTS), tower.width)
    for cut in range(count + 1):
        first = tower.run(state, 0, cut)
        assert all(len(tensor) == len(TEXTS) for tensor in first.values())
        close(tower.run(first, cut, count)["pooled"], whole["pooled"])
    one_at_a_time = state
    for index in range(count):
        one_at_a_time = tower.run(one_at_a_time, index, index + 1)
    close(one_at_a_time["pooled"], whole["pooled"])
    assert set(one_at_a_time) == set(whole)


def test_a_state_is_never_changed(tower: ClipText, state: State) -> None:
    count = len(tower.segments())
    for start in range(count):
        given = tower.run(state, 0, start)
        kept = {name: tensor.clone() for name, tensor in given.items()}
        tower.run(given, start, count)
        assert set(given) == set(kept)
        assert all(torch.equal(given[name], tensor) for name, tensor in kept.items())


def test_a_row_depends_neither_on_the_others_nor_on_padding(
    tower: ClipText, state: State, tokenizer: ClipBpe
) -> None:
    whole = tower(state)["pooled"]
    for i, ids in enumerate(tokenizer.encode(TEXTS, 77)):
        close(tower(pad_tokens([ids], 0))["pooled"][0], whole[i])
        longer = pad_tokens([ids, [0] * min(77, len(ids) + 9)], tokenizer.pad_id)
        close(tower(longer)["pooled"][0], whole[i])
        longer["ids"][0, len(ids) :] = 321  # nor on what stands in the padding
        close(tower(longer)["pooled"][0], whole[i])


def test_every_parameter_is_in_one_segment(tower: ClipText) -> None:
    counted = [id(p) for segment in tower.segments() for p in segment.parameters()]
    assert sorted(counted) == sorted(id(p) for p in tower.parameters())
    assert not list(tower.buffers())


@pytest.mark.parametrize("numbers", [{}, SMALL, {**SMALL, "width": 20, "vocab_size": 50}])
def test_the_plan_is_the_modules(numbers: dict[str, Any], make_use: MakeUse) -> None:
    use = make_use("text_encoder", "openai_clip", **numbers)
    plan = use.settings.plan()
    assert isinstance(plan, TowerPlan)
    assert tower_plan(use, meta=True) == plan


def test_a_seed_gives_the_weights(make_use: MakeUse) -> None:
    def make(seed: int) -> ClipText:
        torch.manual_seed(seed)
        return make_use("text_encoder", "openai_clip", **SMALL).create()

    first, again, other = make(3).state_dict(), make(3).state_dict(), make(4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["text_projection"], other["text_projection"])


def test_starts_where_open_clip_starts(make_use: MakeUse) -> None:
    """The same spread of every tensor at the start (each has thousands of numbers)."""
    settings = {**SMALL, "width": 96, "heads": 6}
    torch.manual_seed(0)
    ours = make_use("text_encoder", "openai_clip", **settings).create().state_dict()
    theirs = original(settings).state_dict()
    for name, tensor in ours.items():
        if tensor.dim() > 1:
            assert tensor.std().item() == pytest.approx(theirs[name].std().item(), rel=0.1), name
        elif "attn" not in name and "mlp" not in name:
            assert torch.equal(tensor, theirs[name]), name


def test_embed_is_the_table_alone(tower: ClipText, state: State) -> None:
    assert torch.equal(tower.embed(state["ids"]), tower.token_embedding.weight[state["ids"]])
    assert tower.embed(state["ids"]).shape[-1] == tower.embedding_width == 48


def checkpoints(model: nn.Module) -> dict[str, dict[str, Tensor]]:
    """A model's weights in each way in which they are published."""
    plain = model.state_dict()
    custom = original(SMALL, custom=True)
    names = {name for name, _ in custom.named_parameters()}
    renamed = {f"text.{n}" if f"text.{n}" in names else n: t for n, t in plain.items()}
    custom.load_state_dict(renamed)
    numbers = {"input_resolution": 16, "context_length": 77, "vocab_size": 49408}
    openai = {**plain, **{name: torch.tensor(number) for name, number in numbers.items()}}
    mask = torch.full((77, 77), float("-inf")).triu(1)
    return {
        "open_clip": plain,
        "CustomTextCLIP": custom.state_dict(),
        "OpenAI": openai,
        "with a mask": {**plain, "attn_mask": mask},
        "SigLIP-like": {**plain, "logit_bias": torch.tensor(-10.0)},
        "text encoder alone": {n: t for n, t in plain.items() if not n.startswith("visual.")},
    }


def test_loads_every_kind_of_clip_checkpoint(
    make_use: MakeUse, shaken: Shaken, state: State
) -> None:
    theirs = shaken(original(SMALL))
    expected = theirs.encode_text(state["ids"])
    found = checkpoints(theirs)
    assert any(name.startswith("text.transformer") for name in found["CustomTextCLIP"])
    for kind, weights in found.items():
        tower = make_use("text_encoder", "openai_clip", **SMALL).create()
        tower.load_weights(weights, kind)
        close(tower(state)["pooled"], expected)


def test_fewer_places_than_the_checkpoint(
    make_use: MakeUse, shaken: Shaken, tokenizer: ClipBpe
) -> None:
    """A text that fits into `max_tokens` keeps its features; the others lose their end."""
    theirs = shaken(original(SMALL))
    tower = make_use("text_encoder", "openai_clip", **{**SMALL, "max_tokens": 12}).create()
    tower.load_weights(theirs.state_dict(), "open_clip")
    rows = tokenizer.encode(TEXTS, 12)
    ids = pad_tokens(rows, 0)["ids"]
    expected = theirs.encode_text(torch.nn.functional.pad(ids, (0, 77 - 12)))
    close(tower(pad_tokens(rows, 0))["pooled"], expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("ln_final.weight"), "missing: ln_final.weight"),
        (lambda w: w.update(strange=torch.ones(2)), "unknown: strange"),
        (lambda w: w.update(text_projection=torch.ones(3, 4)), "shape of text_projection: (3, 4)"),
        (lambda w: w.update(positional_embedding=torch.ones(9, 48)), "(9, 48) there, (77, 48)"),
        (lambda w: w.update({"transformer.resblocks.3.ln_1.bias": torch.ones(48)}), "unknown: tr"),
        (lambda w: w.update(positional_embedding=torch.tensor(0.0)), "positional_embedding"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    change: Callable[[dict[str, Tensor]], object], message: str, make_use: MakeUse
) -> None:
    weights = dict(original(SMALL).state_dict())
    change(weights)
    tower = make_use("text_encoder", "openai_clip", **SMALL).create()
    before = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        tower.load_weights(weights, "hf:somebody/something")
    assert message in caught.value.message
    assert "hf:somebody/something" in caught.value.message
    assert all(torch.equal(tensor, before[name]) for name, tensor in tower.state_dict().items())


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"width": 50, "heads": 8}, "width 50 is not a multiple of heads 8"),
        ({"arch": "ViT-B-23"}, "did you mean `ViT-B-32`?"),
        ({"arch": "ViT-B-16-SigLIP"}, "not CLIP's plain transformer"),
        ({"arch": "ViT-H-14-worldwide"}, "`tokenizer:`"),
        ({"heads": 0}, "greater than or equal to 1"),
        ({"mlp_ratio": float("nan")}, "mlp_ratio"),
        ({"max_tokens": 1}, "greater than or equal to 2"),
        ({"arch": 7}, "arch"),
        ({"weights": "hf:a/b"}, "weights"),
    ],
)
def test_bad_settings_are_reported(
    numbers: dict[str, Any], message: str, make_use: MakeUse
) -> None:
    with pytest.raises(ValueError, match="validation error") as caught:
        make_use("text_encoder", "openai_clip", **numbers)
    assert message in str(caught.value)


def test_an_architecture_with_a_tokenizer_of_its_own_takes_the_given_one(
    make_use: MakeUse,
) -> None:
    tokenizer = {"use": "wordpiece", "from": "hf:somebody/vocabulary"}
    use = make_use("text_encoder", "openai_clip", arch="ViT-H-14-worldwide", tokenizer=tokenizer)
    assert use.settings.tokenizer.name == "wordpiece"
    assert use.settings.vocab_size > 500_000


def test_the_resolved_settings_build_the_same_again(make_use: MakeUse) -> None:
    weights = {"from": "open_clip:ViT-L-14/openai"}
    use = make_use("text_encoder", "openai_clip", arch="ViT-L-14", layers=2, weights=weights)
    assert (use.settings.width, use.settings.layers, use.settings.quick_gelu) == (768, 2, True)
    saved = use.to_config()
    assert make_use("text_encoder", saved.pop("use"), **saved) == use
