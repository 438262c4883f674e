"""Baseline embeddings: PCA, autoencoder, contractive autoencoder, variational autoencoder (Table 4)."""
