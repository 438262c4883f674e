"""HTTP service of a trained model: our own app (`app`), and the code of a logged MLflow model (`loader`)."""
