"""Where data sets come from: packages, files and generated decoys."""
