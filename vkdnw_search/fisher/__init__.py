"""The Fisher information of a network, from one forward pass and a few backward passes."""
