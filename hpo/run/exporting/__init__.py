"""Exports of trained models: folders that predict without hpo."""
