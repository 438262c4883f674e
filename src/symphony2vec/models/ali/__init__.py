"""Adversarially Learned Inference (ALI) on 32x32 crops of the mel spectrogram (Tables 5 to 7)."""
