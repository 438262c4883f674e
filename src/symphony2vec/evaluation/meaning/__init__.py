"""What vectors encode of music: linear probes of known properties, retrieval, and walks through the latent space."""
