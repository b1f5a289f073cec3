"""The library's side of each job."""
