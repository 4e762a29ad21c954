"""Plots of a study: drawn by matplotlib for pictures, and by plotly for HTML pages."""
