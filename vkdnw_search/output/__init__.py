"""What a run leaves: the module of the winner, other formats, the report."""
