"""Metrics of generated images under a stated protocol; they never sit inside a LightningModule."""
