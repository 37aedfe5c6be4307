"""MOTIP's ID decoder: identification of detections as classification over a small vocabulary of identity words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mot_core.nn.mlp import FeedForward
from mot_core.processes import mean_over_processes


@dataclass(frozen=True, eq=False)
class TrackTokens:
    """Embeddings of objects in several frames: a history of tracks, or detections to be identified.

    ``B`` is the number of clips, times the number of augmentation groups if there are any.

    Attributes:
        embeddings: Embeddings of shape ``(B, T, N, C)``.
        valid: Boolean mask of shape ``(B, T, N)``, False where there is no object in the frame.
        times: Frame of every token within the window, ``(B, T, N)`` int64, also where it is not valid.
        words: Identity words of shape ``(B, T, N)``, int64; None if they are to be predicted.
    """

    embeddings: Tensor
    valid: Tensor
    times: Tensor
    words: Tensor | None = None


class IDDecoder(nn.Module):
    """Predict an identity word for every detection from the tokens of earlier frames (MOTIP, Gao et al., CVPR 2025).

    A token is the concatenation of an embedding and the embedding of its word. Detections carry the word "newborn".
    They attend to each other within their frame and to the history before it, and their second half becomes the logits.
    A learned bias per layer, head and time difference is added to the attention to the history.

    Args:
        embed_dim: Number of channels of the embeddings.
        word_dim: Number of channels of the words.
        num_words: Number of identities in the vocabulary; the word with this index is "newborn".
        num_layers: Number of layers.
        head_dim: Number of channels per head of the attentions.
        max_distance: Size of the table of time biases; older tokens use its last entry.
        ffn_ratio: Number of hidden channels of the feed-forward, as a multiple of the token channels.

    >>> decoder = IDDecoder(embed_dim=16, word_dim=16, num_words=4, num_layers=2)
    >>> absent = torch.zeros(1, 2, 3, dtype=torch.int64)
    >>> history = TrackTokens(torch.zeros(1, 2, 3, 16), absent == 0, absent, absent)
    >>> times = torch.ones(1, 1, 5, dtype=torch.int64)
    >>> current = TrackTokens(torch.zeros(1, 1, 5, 16), times > 0, times)
    >>> decoder(history, current).shape  # four words and "newborn"
    torch.Size([1, 1, 5, 5])
    """

    def __init__(
        self,
        embed_dim: int = 256,
        word_dim: int = 256,
        num_words: int = 50,
        num_layers: int = 6,
        head_dim: int = 32,
        max_distance: int = 30,
        ffn_ratio: int = 2,
    ) -> None:
        super().__init__()
        token_dim = embed_dim + word_dim
        if token_dim % head_dim:
            raise ValueError(f"embed_dim + word_dim must be a multiple of head_dim, got {token_dim} and {head_dim}")
        self.word_dim, self.newborn, self.num_heads = word_dim, num_words, token_dim // head_dim
        self.word_to_embed = nn.Linear(num_words + 1, word_dim, bias=False)
        self.embed_to_word = nn.Linear(word_dim, num_words + 1, bias=False)
        self.time_bias = nn.Parameter(torch.zeros(num_layers, max_distance, self.num_heads))

        def attentions(count: int) -> nn.ModuleList:
            # The added zero key, visible to every query, keeps rows without any token finite.
            return nn.ModuleList(
                nn.MultiheadAttention(token_dim, self.num_heads, add_zero_attn=True, batch_first=True)
                for _ in range(count)
            )

        self.self_attns = attentions(num_layers - 1)
        self.self_attn_norms = nn.ModuleList(nn.LayerNorm(token_dim) for _ in range(num_layers - 1))
        self.cross_attns = attentions(num_layers)
        self.cross_attn_norms = nn.ModuleList(nn.LayerNorm(token_dim) for _ in range(num_layers))
        self.ffns = nn.ModuleList(
            FeedForward(token_dim, ffn_ratio * token_dim, activation="gelu") for _ in range(num_layers)
        )
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.xavier_uniform_(parameter)
        # Keys start equal to queries, so that a detection attends to tokens with a similar embedding from the start.
        # With independent random projections, some seeds find this late, or settle for position.
        with torch.no_grad():
            for attention in self.cross_attns:
                assert isinstance(attention, nn.MultiheadAttention)
                query, key, _ = attention.in_proj_weight.chunk(3)
                query *= 2**0.5  # Xavier's rule for one projection; for all three packed, attention starts too flat
                key.copy_(query)

    def forward(self, history: TrackTokens, current: TrackTokens) -> Tensor:
        """Compute the logits of the words.

        Args:
            history: ``T_h`` frames of ``M`` tracks, with their words.
            current: ``T`` frames of ``N`` detections; each attends only to tokens with an earlier time.

        Returns:
            Logits of shape ``(B, T, N, num_words + 1)``.
        """
        if history.words is None:
            raise ValueError("history.words: expected the identity word of every token, got None")
        known = torch.cat([history.embeddings, self._embed(history.words)], -1).flatten(1, 2)
        newborn = torch.full_like(current.times, self.newborn)
        tokens = torch.cat([current.embeddings, self._embed(newborn)], -1)

        forbidden, distance = self._relations(history, current)
        batch, frames, slots = current.valid.shape
        own_frame = ~current.valid.reshape(batch * frames, slots)
        # One mask for all queries of a frame and all heads; additive, like the biases.
        own_frame_mask = torch.zeros_like(own_frame, dtype=tokens.dtype).masked_fill(own_frame, -torch.inf)
        for layer, (cross, cross_norm, ffn) in enumerate(
            zip(self.cross_attns, self.cross_attn_norms, self.ffns, strict=True)
        ):
            if layer > 0:
                x = tokens.flatten(0, 1)
                seen = self.self_attns[layer - 1](x, x, x, key_padding_mask=own_frame_mask, need_weights=False)[0]
                tokens = self.self_attn_norms[layer - 1](x + seen).view_as(tokens)
            bias = self.time_bias[layer][distance].permute(0, 3, 1, 2)  # (B, heads, T * N, T_h * M)
            mask = bias.masked_fill(forbidden[:, None], -torch.inf).flatten(0, 1)
            x = tokens.flatten(1, 2)
            seen = cross(x, known, known, attn_mask=mask.to(x.dtype), need_weights=False)[0]
            tokens = ffn(cross_norm(x + seen)).view_as(tokens)
        return self.embed_to_word(tokens[..., -self.word_dim :])

    def _embed(self, words: Tensor) -> Tensor:
        """Return the embeddings of words: the columns of the matrix that one-hot vectors would select."""
        return F.embedding(words, self.word_to_embed.weight.t())

    def _relations(self, history: TrackTokens, current: TrackTokens) -> tuple[Tensor, Tensor]:
        """Return ``(B, T * N, T_h * M)``: whether a detection must not attend to a token, and the age of the token."""
        age = current.times.flatten(1)[:, :, None] - history.times.flatten(1)[:, None, :]
        forbidden = (age <= 0) | ~history.valid.flatten(1)[:, None, :]
        return forbidden, age.clamp(0, self.time_bias.shape[1] - 1)


def id_loss(logits: Tensor, words: Tensor, valid: Tensor) -> Tensor:
    """Cross-entropy of identity words, averaged over the detections of all processes.

    The first frame has no history and does not count.

    Args:
        logits: Logits of shape ``(B, T, N, K)``.
        words: Correct words of shape ``(B, T, N)``, int64 ("newborn" for objects that are not in the history).
        valid: Boolean mask of shape ``(B, T, N)``, False where there is no detection.

    >>> valid = torch.ones(1, 2, 3, dtype=torch.bool)
    >>> round(id_loss(torch.zeros(1, 2, 3, 51), torch.zeros(1, 2, 3, dtype=torch.int64), valid).item(), 3)  # log 51
    3.932
    """
    counted = valid[:, 1:]
    answers = logits[:, 1:][counted].to(torch.promote_types(logits.dtype, torch.float32))
    loss = F.cross_entropy(answers, words[:, 1:][counted], reduction="sum")
    return loss / mean_over_processes(counted.sum())
