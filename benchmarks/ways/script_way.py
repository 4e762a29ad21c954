"""The small CNN as a script of argparse and print that knows nothing of hpo."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from small_cnn import EPOCHS, accuracy, network, tensors, train


def main() -> None:
    """Trains a network, prints its accuracy after each epoch, and resumes from its own file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--momentum", type=float)
    parser.add_argument("--width", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    x, y, x_val, y_val = tensors()
    torch.manual_seed(given.seed)
    model = network(given.width)
    optimizer = torch.optim.SGD(model.parameters(), given.learning_rate, given.momentum)
    file, begun = given.out / "last.pt", 0
    if file.exists():
        saved = torch.load(file, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        begun = saved["epoch"]
    for epoch in range(begun + 1, EPOCHS + 1):
        train(model, optimizer, x, y)
        value = accuracy(model, x_val, y_val)
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
        torch.save(state, file.with_suffix(".new"))
        file.with_suffix(".new").replace(file)
        print(f"epoch {epoch}: val_accuracy {value:.6f}", flush=True)  # noqa: T201 - a user's script


if __name__ == "__main__":
    main()
