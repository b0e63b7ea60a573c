"""vifx: declare two joint distributions, get pure loss functions."""
