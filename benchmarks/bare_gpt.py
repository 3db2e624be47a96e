"""``python -m benchmarks.bare_gpt``: the training loop that one writes by hand, of the model that ``train_gpt`` trains.

Nothing more than that: no checkpoints, metrics, guards or signs of progress. What the trainer costs is measured
against it.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from bulkhead.gpu_tasks import text
from bulkhead.gpu_tasks.gpt import SIZES, Gpt


def main() -> None:
    """Train, and print every tenth step."""
    parser = argparse.ArgumentParser(prog="benchmarks.bare_gpt")
    parser.add_argument("--size", default="1m")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    shape = SIZES[arguments.size]
    model = Gpt(shape).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    loss_of = torch.compile(model.loss) if arguments.compile else model.loss
    source, random = text.load(), np.random.default_rng(0)
    count = source.samples(shape.block)
    for step in range(1, arguments.steps + 1):
        samples = source.blocks(random.integers(0, count, arguments.batch), shape.block)
        batch = torch.from_numpy(samples).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=arguments.bf16):
            loss = loss_of(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0:
            print(f"step {step}: loss {loss.item():.5g}", flush=True)


if __name__ == "__main__":
    main()
