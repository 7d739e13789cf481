"""Which code a score comes from: versions of packages, and hashes of source files."""
