"""What a network costs: FLOPs by fvcore, parameters, peak memory, latency; and the limits on them."""
