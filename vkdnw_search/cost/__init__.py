"""What a network costs: FLOPs by fvcore, parameters, peak memory, latency, what int8 takes; and the limits on them."""
