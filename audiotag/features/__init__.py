"""From a sound file to a spectrogram."""
