"""The small CNN as tasks: on arrays in memory, and on data sets."""

from __future__ import annotations

from small_cnn import network, tensors
from torch import nn
from torch.utils.data import TensorDataset

import hpo


class Arrays(hpo.Task):
    """Digits as arrays."""

    def data(self) -> hpo.Data:
        """Returns the images in memory."""
        x, y, x_val, y_val = tensors()
        return hpo.Data.fixed(train=(x, y), val=(x_val, y_val))

    def model(self, params: hpo.Params) -> nn.Module:
        """Returns the network."""
        return network(params.width)


class DataSets(Arrays):
    """Digits as data sets, read by a loader."""

    def data(self) -> hpo.Data:
        """Returns the images as data sets."""
        x, y, x_val, y_val = tensors()
        train, val = TensorDataset(x, y), TensorDataset(x_val, y_val)
        return hpo.Data.datasets(train=train, val=val, workers=0, kind="classification", classes=10)
