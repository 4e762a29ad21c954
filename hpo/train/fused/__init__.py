"""Fused engine: many trials train as lanes of one stacked model."""
