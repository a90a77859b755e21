"""The mathematics of every method: stateless, free of Lightning and of configuration."""
