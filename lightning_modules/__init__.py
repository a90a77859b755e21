"""One method per file: wiring between a network, its mathematics and Lightning."""
