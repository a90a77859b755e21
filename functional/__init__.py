"""The mathematics of every method: stateless functions on tensors, free of Lightning and of configuration."""
