"""What drives a search: evaluation, sessions, finalists, neighbours of the winner, the doctor."""
