"""From a prompt's scored responses to its pairs."""
