"""A trained network as something that hears: sound in, vectors out, with all it needs in one folder and no pickle.

A package is the MLflow model of a training run:
    MLmodel, code/                 what MLflow needs to load it anywhere
    card.md                        what it is, what it was trained on, what it is worth and where it ends
    artifacts/config.json          network, scaling and hearing (see `contents.Config`)
    artifacts/weights.safetensors
    artifacts/example.flac         a sound that the project makes itself
    artifacts/golden.npy           (n, D) what the package said of it when it was made
    artifacts/head.json            the probe that names the composer, once the stage `probe` has run
"""
