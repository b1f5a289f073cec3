"""What every experiment shares: flags, the run directory, the loop, results, report."""
