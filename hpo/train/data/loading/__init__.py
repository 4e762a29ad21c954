"""Loading: samples of PyTorch data sets, batch by batch, in processes of their own."""
