"""The library beside PyTorch, Captum and Quantus, on the same weights and inputs."""
