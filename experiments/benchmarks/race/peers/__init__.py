"""The other side of each job: PyTorch, Captum or Quantus."""
