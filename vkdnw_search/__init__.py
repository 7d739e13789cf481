"""Training-free neural architecture search by the spectrum of the Fisher information (VKDNW)."""
