"""The network and the LightningModule that trains it."""
