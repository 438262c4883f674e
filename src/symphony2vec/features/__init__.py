"""Mel spectrogram, MFCC and chroma of every clip, and back from a mel spectrogram to sound."""
