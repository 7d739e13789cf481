"""Where candidates are scored: in this process, in others, on a Dask cluster."""
