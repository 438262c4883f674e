"""Mel spectrogram, MFCC and chroma of clips, and the way back from a mel spectrogram to sound."""
