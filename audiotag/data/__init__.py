"""Tables, audio files, folds and the spectrogram store: everything up to the batch."""
