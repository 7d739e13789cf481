"""What a run keeps and what can be read back: the store, the run folder, results and judgements."""
