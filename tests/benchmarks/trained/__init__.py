"""The steps of ``trained_networks.py``: images, networks, one training, the files, what they say."""
