"""A race: the shortlist of a search is trained a little on real data, and what learns best goes on."""
