"""Runs side by side: in what their recipes differ, and which of them found the better network."""
