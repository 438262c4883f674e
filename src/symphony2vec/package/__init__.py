"""The format of a trained model: everything inference needs, in one folder, without pickle.

A package is the MLflow model of a training run:

    MLmodel, code/                 what MLflow needs to load it anywhere
    card.md                        model card: purpose, training data, accuracy, limits
    artifacts/config.json          network, scaling and frontend (see `contents.Config`)
    artifacts/model.onnx           the network; earlier versions wrote weights.safetensors, which PyTorch loads
    artifacts/example.flac         a synthetic sound
    artifacts/golden.npy           (n, D) the vectors of example.flac at the time the package was written
    artifacts/head.json            the probe that classifies the composer, once the stage `probe` has run
    artifacts/attributes.json      probes of musical attributes, of symphony2vec-base alone
"""
