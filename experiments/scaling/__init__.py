"""How a training step scales over devices: what the benchmarks of it share."""
