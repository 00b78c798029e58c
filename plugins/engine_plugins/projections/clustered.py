"""K projections, and a router that chooses one for each text."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from engine.contracts import Projection, State, last_place, take_place
from engine.errors import PluginError
from engine_plugins.layers import ClipBlock, clip_blocks
from engine_plugins.projections.few_rows import FewRows
from engine_plugins.projections.settings import (
    ClusteredSettings,
    RoutedSettings,
    RouterSettings,
)


class Router(nn.Module):
    """Token embeddings -> logits over the clusters, read at the end-of-text place.

    CLIP transformer blocks over the text encoder's own token embeddings, without positions, then a
    linear layer. The blocks are not causal: the contest entry's were CLIP's ``Transformer`` without
    a mask, so that every place saw every other. There padding was seen as well; here it is masked,
    and a text's logits depend on that text alone. With one block the question is moot, since the
    end-of-text place sees the whole text either way.

    Source: github.com/SkylarPro/YandexCupCV, ``distribution_cls``. It read the router at
    ``argmax(token ids)``, which is not the end of the text for ruGPT-3's vocabulary.

    Args:
        settings: the router's settings.
        width: E, width of the token embeddings.
        count: K, number of clusters.
    """

    def __init__(self, settings: RouterSettings, width: int, count: int) -> None:
        super().__init__()
        self.blocks = clip_blocks(width, settings.blocks, settings.heads_for(width), 4 * width)
        self.output = nn.Linear(width, count)

    def forward(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """[B, L, E] float, [B, L] bool -> [B, K]."""
        hidden = embeddings
        for block in self.blocks[:-1]:
            hidden = block(hidden, mask=mask)
        last = cast("ClipBlock", self.blocks[-1])
        logits: Tensor = self.output(last.at(hidden, last_place(mask), mask=mask))
        return logits


class Clustered(Projection):
    """Each text goes through the projection of its cluster (hard), or through a mixture (soft).

    Reads ``pooled``, ``token_embeddings`` and ``mask``, and ``cluster`` where it is given. Adds to
    the
    state:

    ================= =========== ======= ==========================================================
    ``embedding``     [B, J]      float   see below
    ``router_logits`` [B, K]      float   before the temperature; the training's losses read them
    ``routed``        [B]         int64   whose projection was used (soft: the likeliest one)
    ================= =========== ======= ==========================================================

    **A given choice.** Where the state has ``cluster`` [B] int64, those clusters' projections are
    used, whatever the router says, in both modes (teacher forcing); -1 leaves a row to the router.
    No gradient then reaches the router through the embedding, only through its logits.

    **Hard.** The embedding is that of the router's first choice k, exactly. Straight-through
    (Bengio et al., 2013, arXiv:1308.3432): backwards the router gets the gradient that the mixture
    would give it, the sum over clusters j of ``grad p_j * <g, P_j(x)>`` with g the gradient at the
    embedding; the projections get theirs through the chosen one alone. The cheaper estimator of the
    Switch Transformer (arXiv:2101.03961), ``P_k(x) * p_k``, gives nothing here: the embedding is
    normalised afterwards, so g stands at a right angle to it. As probabilities sum to one, the sum
    equals the expectation of ``(1 - p_k) * grad log p_j * <g, P_j(x) - P_k(x)>`` over a rival j
    drawn from the others by their probabilities. ``rivals: 1`` draws one for each text and step:
    the right gradient on average, for the price of one more projection, forwards only.
    ``rivals: all`` computes the whole sum. Where no gradient is tracked nothing is drawn.

    **Soft.** ``sum over j of p_j P_j(x)`` with ``p = softmax(router_logits / temperature)``.

    Rows are sorted by cluster and each used projection runs once, on its own slice of them.
    A cluster without rows gets no gradient (``None``).

    Args:
        settings: the settings.
        in_width: width of the features.
        out_width: J, the embedding dimension.
        embedding_width: E, width of the token embeddings.
    """

    reads: frozenset[str] = frozenset({"token_embeddings", "mask"})
    settings: RoutedSettings

    def __init__(
        self,
        settings: RoutedSettings,
        in_width: int,
        out_width: int,
        *,
        embedding_width: int | None = None,
    ) -> None:
        super().__init__(settings, in_width, out_width, embedding_width=embedding_width)
        assert embedding_width is not None  # the base class says so to the user
        self.projections = nn.ModuleList(
            settings.of.create(in_width, out_width, embedding_width=embedding_width)
            for _ in range(settings.count)
        )
        self.router = self.make_router(embedding_width)
        self.reads = type(self).reads | self._read_by_one

    def make_router(self, width: int) -> nn.Module:
        """``router(token_embeddings [B, L, width], mask [B, L])`` -> logits [B, K]."""
        assert isinstance(self.settings, ClusteredSettings)
        return Router(self.settings.router, width, self.settings.count)

    def forward(self, state: State) -> State:
        """See the class."""
        logits = self.router(state["token_embeddings"], state["mask"])
        routed = logits.argmax(dim=-1)
        given = state.get("cluster")
        if given is not None:
            routed = torch.where(given >= 0, given, routed)
        if given is None and self.settings.choice == "soft":
            embedding = self._mixture(state, logits)
        else:
            embedding = self.by_cluster(state, routed)
            if given is None and logits.requires_grad and self.settings.rivals != 0:
                embedding = embedding + self._straight_through(state, logits, routed, embedding)
        return {**state, "embedding": embedding, "router_logits": logits, "routed": routed}

    def by_cluster(self, state: State, cluster: Tensor, rows: Tensor | None = None) -> Tensor:
        """Rows through the projections of their clusters, each used projection run once.

        Args:
            state: the state of the whole batch.
            cluster: [R] int64, the cluster of each row.
            rows: [R] int64, places in the batch; default: all of it in order.

        Returns:
            [R, J].
        """
        if torch.compiler.is_exporting():  # a fixed graph cannot sort rows into used projections
            assert rows is None  # training's alone
            return take_place(self._all(state), cluster)
        counts = torch.bincount(cluster, minlength=len(self.projections)).tolist()
        if len(counts) > len(self.projections):
            raise PluginError(
                f"cluster {len(counts) - 1} is given, and the projection has"
                f" {len(self.projections)} (0 to {len(self.projections) - 1})",
                hint="set the projection's `count` to the number of clusters",
            )
        order = cluster.argsort(stable=True)
        taken = order if rows is None else rows[order]
        names = {"pooled", *self._read_by_one} & state.keys()
        slices = {name: torch.split(state[name][taken], counts) for name in names}
        used = [k for k, count in enumerate(counts) if count] or [0]  # an empty batch has a width
        with FewRows():
            found = [
                self.projections[k]({n: some[k] for n, some in slices.items()})["embedding"]
                for k in used
            ]
        return torch.cat(found)[order.argsort()]

    @property
    def _read_by_one(self) -> frozenset[str]:
        return cast("Projection", self.projections[0]).reads

    def _all(self, state: State) -> Tensor:
        """The batch through every projection: [B, K, J]."""
        return torch.stack([one(state)["embedding"] for one in self.projections], dim=1)

    def _mixture(self, state: State, logits: Tensor) -> Tensor:
        """[B, J]: what the projections give, weighted by the router's probabilities."""
        weights = (logits / self.settings.temperature).softmax(dim=-1)
        return torch.einsum("bk,bkj->bj", weights, self._all(state))

    def _straight_through(
        self, state: State, logits: Tensor, routed: Tensor, embedding: Tensor
    ) -> Tensor:
        """[B, J], all zero, whose gradient is the mixture's with respect to the router."""
        log_p = (logits / self.settings.temperature).log_softmax(dim=-1)
        rivals = self.settings.rivals
        if rivals == "all":
            p = log_p.exp()
            with torch.no_grad():
                every = self._all(state)
            return torch.einsum("bk,bkj->bj", p - p.detach(), every)
        with torch.no_grad():
            others = log_p.scatter(1, routed[:, None], -torch.inf)
            drawn = others.softmax(dim=-1).multinomial(rivals, replacement=True)  # [B, rivals]
            rows = torch.arange(len(routed), device=routed.device).repeat_interleave(rivals)
            theirs = self.by_cluster(state, drawn.flatten(), rows).view(
                *drawn.shape, self.out_width
            )
            difference = theirs - embedding.detach()[:, None]
            share = (1 - log_p.exp().gather(1, routed[:, None])) / rivals
        chosen = log_p.gather(1, drawn)
        return torch.einsum("br,brj->bj", share * (chosen - chosen.detach()), difference)
