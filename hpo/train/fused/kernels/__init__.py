"""Kernels of K models at once: layers, losses, optimizers, and where parameters lie."""
