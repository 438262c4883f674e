"""Baseline embeddings: PCA, autoencoder, contractive autoencoder and variational autoencoder (Table 4)."""
