"""AlpacaEval 2: raw and length-controlled win rates from its own files."""
