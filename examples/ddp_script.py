"""A script that trains on several GPUs with DistributedDataParallel, tuned as a command.

Run it with one process, with two, or let hpo search its learning rate with two for each trial::

    python ddp_script.py
    torchrun --standalone --nproc-per-node 2 ddp_script.py --lr 0.1
    hpo run ddp_script.toml

The first process reports; each of them asks whether to continue, and all have the same answer.
"""

from __future__ import annotations

import argparse

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import hpo


def main() -> None:
    """Trains on handwritten digits; each process has a part of the training samples."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--epochs", type=int, default=9)
    options = parser.parse_args()

    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if dist.is_torchelastic_launched():
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, init_method="tcp://localhost:0", rank=0, world_size=1)
    try:
        train(options.lr, options.epochs)
    finally:
        # Also when the trial ends early: run.report raises then, in all processes.
        dist.destroy_process_group()


def train(lr: float, epochs: int) -> None:
    """Trains until the last epoch, or until hpo stops or pauses the trial."""
    rank, size = dist.get_rank(), dist.get_world_size()
    device = torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")
    x, y = (torch.as_tensor(part, device=device) for part in load_digits(return_X_y=True))
    x = x.float() / 16
    own = torch.arange(rank, 1400, size, device=device)

    run = hpo.Run()
    torch.manual_seed(run.seed)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    run.restore(model=model, optimizer=optimizer)  # nothing the first time
    parallel = DistributedDataParallel(model)
    for _ in run.epochs(epochs):
        for rows in torch.split(own, 50):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(parallel(x[rows]), y[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            accuracy = (model(x[1400:]).argmax(1) == y[1400:]).float().mean().item()
        run.report(val_accuracy=accuracy)
    if rank == 0:
        print(f"val_accuracy {run.best:.3f}")


if __name__ == "__main__":
    main()
