"""A byte-level GPT, from 1 M to 1 B parameters by its configuration.

Sources: the decoder of Radford et al. 2019 (GPT-2) with rotary positions (Su et al. 2021), RMSNorm (Zhang and Sennrich
2019), no biases, and a head of its own, which 256 rows make cheap; residual projections start smaller by
sqrt(2 * layers), as in GPT-2. FLOPs a token after Kaplan et al. 2020 with the attention's part:
6 N + 12 layers * width * block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from bulkhead.gpu_tasks.entry import at_least
from bulkhead.gpu_tasks.errors import ConfigError

VOCABULARY = 256
"""A token is a byte."""


@dataclass(frozen=True)
class GptConfig:
    """A model's shape.

    Attributes:
        layers: blocks.
        heads: of the attention; divides ``width``.
        width: of the residual stream.
        block: longest context, in bytes.
    """

    layers: int = 4
    heads: int = 4
    width: int = 128
    block: int = 256

    def __post_init__(self) -> None:
        at_least(self, "gpt.", layers=1, heads=1, width=1, block=1)
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ConfigError(f"gpt.width = {self.width}: give an even multiple of the {self.heads} heads")


SIZES = {
    "100k": GptConfig(layers=2, heads=2, width=64, block=128),
    "1m": GptConfig(layers=4, heads=4, width=128, block=256),
    "10m": GptConfig(layers=6, heads=6, width=384, block=512),
    "124m": GptConfig(layers=12, heads=12, width=768, block=1024),
    "1b": GptConfig(layers=24, heads=16, width=1792, block=2048),
}
"""Shapes by name. The names are of GPT-2's sizes; a vocabulary of 256 bytes leaves the larger ones a little smaller."""


class Gpt(nn.Module):
    """The model. Input: bytes as (batch, time) int64. Output: logits of the next byte, (batch, time, 256).

    Args:
        config: its shape.
    """

    cosine: torch.Tensor
    sine: torch.Tensor

    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(VOCABULARY, config.width)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width)
        self.head = nn.Linear(config.width, VOCABULARY, bias=False)
        cosine, sine = _rotations(config.block, config.width // config.heads)
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)
        self.apply(_start)
        for name, weight in self.named_parameters():
            if name.endswith("out.weight"):
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * config.layers))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits of each next byte.

        Args:
            tokens: (batch, time) int64, time at most ``config.block``.
        """
        time = tokens.shape[1]
        if time > self.config.block:
            raise ConfigError(f"context = {time} bytes: the model has {self.config.block}")
        hidden = self.embedding(tokens)
        for block in self.blocks:
            hidden = block(hidden, self.cosine[:time], self.sine[:time])
        logits: torch.Tensor = self.head(self.norm(hidden))
        return logits

    def loss(self, samples: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy in nats a byte.

        Args:
            samples: (batch, time + 1) int64: each byte is told by those before it.
        """
        logits = self(samples[:, :-1])
        return functional.cross_entropy(logits.flatten(0, 1), samples[:, 1:].flatten())

    def parameters_count(self) -> int:
        """Number of trainable numbers."""
        return sum(parameter.numel() for parameter in self.parameters())

    def flops_a_sample(self) -> int:
        """Floating-point operations to train on one block, forward and backward."""
        return self.flops_a_token() * self.config.block

    def flops_a_token(self) -> int:
        """Floating-point operations to train on one byte, forward and backward."""
        config = self.config
        return 6 * self.parameters_count() + 12 * config.layers * config.width * config.block


class _Block(nn.Module):
    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = nn.RMSNorm(config.width), nn.RMSNorm(config.width)
        self.attention, self.mlp = _Attention(config), _Mlp(config.width)

    def forward(self, hidden: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        hidden = hidden + self.attention(self.before_attention(hidden), cosine, sine)
        mixed: torch.Tensor = hidden + self.mlp(self.before_mlp(hidden))
        return mixed


class _Attention(nn.Module):
    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.into = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, hidden: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        batch, time, width = hidden.shape
        parts = self.into(hidden).view(batch, time, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        query, key = _rotated(query, cosine, sine), _rotated(key, cosine, sine)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        output: torch.Tensor = self.out(mixed.transpose(1, 2).reshape(batch, time, width))
        return output


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.into = nn.Linear(width, 4 * width, bias=False)
        self.out = nn.Linear(4 * width, width, bias=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.out(functional.gelu(self.into(hidden)))
        return output


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)


def _rotations(block: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of each position's angles, (block, width / 2) each."""
    frequencies = 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
    angles = torch.arange(block, dtype=torch.float32)[:, None] * frequencies[None, :]
    return angles.cos(), angles.sin()


def _rotated(hidden: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    first, other = hidden.chunk(2, dim=-1)
    cosine, sine = cosine.to(hidden.dtype), sine.to(hidden.dtype)
    return torch.cat((first * cosine - other * sine, first * sine + other * cosine), dim=-1)
