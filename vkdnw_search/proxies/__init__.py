"""Training-free scores of a network at initialization, one file per family."""
