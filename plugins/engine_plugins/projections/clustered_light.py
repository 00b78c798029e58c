"""K projections, and a router of two small layers that chooses one for each text."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from engine_plugins.projections.clustered import Clustered
from engine_plugins.projections.settings import ClusteredLightSettings


class LightRouter(nn.Module):
    """Mean of a text's token embeddings -> layer norm -> hidden layer, GELU -> logits.

    It cannot see the order of the words, which a topic seldom needs: fastText classifies texts so
    (Joulin et al., 2017, arXiv:1607.01759). The layer norm is there because embeddings of language
    models differ in length by orders of magnitude, and the mean of many tokens is shorter than
    that of few.

    Args:
        width: E, width of the token embeddings.
        hidden: width of the hidden layer.
        count: K, number of clusters.
    """

    def __init__(self, width: int, hidden: int, count: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, hidden)
        self.output = nn.Linear(hidden, count)

    def forward(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """[B, L, E] float, [B, L] bool -> [B, K]."""
        shown = mask.unsqueeze(-1)
        # Padding is set to zero rather than multiplied: whatever stands there may be infinite.
        total = embeddings.masked_fill(~shown, 0).sum(dim=1)
        mean = total / shown.sum(dim=1).clamp(min=1).to(total.dtype)
        logits: Tensor = self.output(functional.gelu(self.hidden(self.norm(mean))))
        return logits


class ClusteredLight(Clustered):
    """:class:`~engine_plugins.projections.clustered.Clustered` with :class:`LightRouter`."""

    def make_router(self, width: int) -> nn.Module:
        """See the base class."""
        assert isinstance(self.settings, ClusteredLightSettings)
        return LightRouter(width, self.settings.router_width, self.settings.count)
