"""Lanes of several batch sizes in one stack: equal micro-batches that add up to each lane's batch.

Every lane computes the gradient of the same number of samples at once. A lane whose batch is not
complete yet keeps their sum, each micro-batch weighted by its share of the batch's samples, and
takes its step when the batch is. That is the step of the whole batch where the loss is a mean over
samples and no layer looks at several samples at once; ``adds_up`` finds out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpo.train.fused.kernels.flat_params import fixed_tensors
from hpo.train.fused.kernels.networks import set_active
from hpo.train.fused.kernels.step_checks import are_close, repeated
from hpo.train.fused.stack.stack_template import StackTemplate
from hpo.train.fused.stack.stacked_epoch import Accumulation, epoch_keys
from hpo.train.recipe.counter_based_dropout import LaneDropout, lane_keys, step_keys, threshold_of
from hpo.train.recipe.precision import products
from hpo.train.recipe.random_streams import batch_bounds

_N_LANES: Final = 2
_RATE: Final = 0.5
_KEY: Final = int(step_keys(2, 1)[0])


def accumulation_of(
    n: int,
    micro: int,
    batch_sizes: Sequence[int],
    seeds: Sequence[int],
    epochs: Sequence[int],
    device: torch.device,
) -> Accumulation:
    """Cuts an epoch into micro-batches.

    Args:
        n: Number of samples.
        micro: Samples of a micro-batch, the last one aside. Each batch size is a multiple, or n.
        batch_sizes: Of each lane.
        seeds: Of each lane.
        epochs: Completed by each lane.
        device: Where the tensors are needed.
    """
    bounds = [(begin, min(begin + micro, n)) for begin in range(0, n, micro)]
    begin, end = np.array(bounds).T
    shape = (len(bounds), len(batch_sizes))
    keys, offsets = np.empty(shape, np.int32), np.empty(shape, np.int32)
    shares, ends = np.empty(shape, np.float32), np.empty(shape, np.bool_)
    of_epochs = np.array(epoch_keys(seeds, epochs))
    for size in set(batch_sizes):
        first, last = np.array(batch_bounds(n, size)).T
        of_batch = np.searchsorted(last, end)
        first, last = first[of_batch], last[of_batch]
        lanes = np.flatnonzero(np.array(batch_sizes) == size)
        keys[:, lanes] = lane_keys(of_epochs[lanes].tolist(), of_batch[-1] + 1)[of_batch]
        offsets[:, lanes] = (begin - first)[:, np.newaxis]
        shares[:, lanes] = ((end - begin) / (last - first))[:, np.newaxis]
        ends[:, lanes] = (end == last)[:, np.newaxis]

    def there(values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(device)

    return Accumulation(
        bounds=bounds,
        keys=there(keys),
        offsets=there(offsets),
        shares=there(shares).unsqueeze(2),
        begins=there(offsets == 0).unsqueeze(2),
        ends=there(ends).unsqueeze(2),
        updates=[bool(row.any()) for row in ends],
    )


def adds_up(template: StackTemplate) -> bool:
    """Returns whether micro-batches give a model the gradient of their batch.

    They do not with batch normalization, nor with losses that are no mean over samples. Found by a
    step on real samples, taken at once and in pieces, with dropout whether the model has a rate or
    not: masks have to be the same too.
    """
    n = min(template.n_train, 2 * template.batch_size + 1)
    if n <= template.batch_size:
        return False
    cut = list(range(0, n, template.batch_size))
    # In float32, which shows more than a rounder precision.
    template.network.use("float32")
    with products("float32", template.device):
        whole = _gradients(template, [(0, n)])
        pieces = _gradients(template, list(zip(cut, [*cut[1:], n], strict=True)))
    template.network.use(template.precision)
    return whole is not None and pieces is not None and are_close(pieces, whole[0])


def _gradients(template: StackTemplate, bounds: list[tuple[int, int]]) -> Tensor | None:
    """Returns losses and gradients of the samples up to the last bound, [K, 1 + P].

    None where a forward pass changes a buffer: it would be another value for each cut.
    """
    network, layout, model = template.network, template.layout, template.model
    part, n = template.folds.train, bounds[-1][1]
    grads = torch.zeros(_N_LANES, layout.size, device=template.device)
    network.bind(layout.views(grads))
    set_active(model, lambda name: True)
    named = dict(model.named_parameters())
    weights = repeated({slot.name: named[slot.name] for slot in layout.slots}, _N_LANES)
    before = {**fixed_tensors(model), **_dropping(template)}
    fixed = repeated(before, _N_LANES)
    keys = torch.full((_N_LANES,), _KEY, dtype=torch.int32, device=template.device)
    total = torch.zeros(_N_LANES, 1 + layout.size, device=template.device)
    loss = template.probe_loss(_N_LANES)
    for begin, end in bounds:
        own = repeated({"x": part.x[begin:end], "y": part.y[begin:end]}, _N_LANES)
        offsets = torch.full_like(keys, begin)
        losses = network.train(weights, fixed, own["x"], own["y"], keys, loss, offsets)
        total += torch.cat([losses.view(-1, 1), grads], 1) * ((end - begin) / n)
    same = all(torch.equal(fixed[name][0], value) for name, value in before.items())
    return total if same else None


def _dropping(template: StackTemplate) -> dict[str, Tensor]:
    """Returns the buffers of dropout layers as if they all had a rate."""
    found = {}
    for name, module in template.model.named_modules():
        if isinstance(module, LaneDropout):
            prefix = f"{name}." if name else ""
            found[f"{prefix}threshold"] = torch.full_like(module.threshold, threshold_of(_RATE))
            found[f"{prefix}scale"] = torch.full_like(module.scale, 1 / (1 - _RATE))
    return found
