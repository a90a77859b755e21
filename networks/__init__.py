"""Neural networks as plain nn.Module."""
