"""A script that knows nothing of hpo: arguments, prints, and a checkpoint of its own.

By hand it trains once; as a command it is tuned::

    python unedited_script.py
    hpo run unedited_script.toml
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn


def main() -> None:
    """Trains a network on handwritten digits, and resumes where it was killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path())
    args = parser.parse_args()

    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, args.width), nn.ReLU(), nn.Linear(args.width, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9)
    checkpoint, begun = args.out / "last.pt", 0
    if checkpoint.exists():
        model_state, optimizer_state, begun = torch.load(checkpoint)
        model.load_state_dict(model_state)
        optimizer.load_state_dict(optimizer_state)

    for epoch in range(begun + 1, args.epochs + 1):
        for rows in torch.split(torch.randperm(1400), 64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            accuracy = (model(x[1400:]).argmax(1) == y[1400:]).float().mean()
        torch.save((model.state_dict(), optimizer.state_dict(), epoch), checkpoint)
        print(f"Epoch {epoch}/{args.epochs}: accuracy {accuracy:.4f}", flush=True)


if __name__ == "__main__":
    main()
